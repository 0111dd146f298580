"""The model names of the pinned timm: `python -m worker.training.names > app/contract/timm_models.txt`.

The service knows models by that file and imports no torch; a test holds the file and timm equal.
"""

import sys

from worker.training.libraries import timm


def known() -> list[str]:
    """Architectures, and architectures with the tag of pretrained weights, sorted."""
    return sorted({*timm.list_models(), *timm.list_pretrained()})


if __name__ == "__main__":
    sys.stdout.writelines(f"{name}\n" for name in known())
