"""torch, torchvision and timm, imported so that they work together. Import timm and torchvision from here only.

The torchvision wheel is built against CUDA: next to a CPU torch its library does not load, the operators it would
define are missing, and `import torchvision` ends in "operator torchvision::nms does not exist", which also breaks timm.
Declaring the two operators that it refers to while importing is enough: models and transforms then work;
`torchvision.ops.nms` and `torchvision.io` do not, and nobody here needs them. With a CUDA torch the library loads and
everything is native.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_fragments: list[Any] = []  # torch forgets a library's operators when the object is collected


def _library_loads() -> bool:
    spec = find_spec("torchvision")
    if spec is None or not spec.submodule_search_locations:
        return False
    try:
        torch.ops.load_library(Path(spec.submodule_search_locations[0]) / "_C.so")
    except (OSError, RuntimeError):  # CUDA libraries are missing, or the file belongs to another torch
        return False
    return True


def prepare() -> None:
    """Make `import torchvision` possible in this process. Does nothing the second time, or when it is native."""
    if _fragments or hasattr(torch.ops.torchvision, "nms") or _library_loads():
        return
    fragment = torch.library.Library("torchvision", "FRAGMENT")
    for schema in _SCHEMAS:
        fragment.define(schema)
    _fragments.append(fragment)


prepare()

import timm  # noqa: E402 - after prepare()
import torchvision  # noqa: E402 - after prepare()
from timm.layers.conv2d_same import Conv2dSame  # noqa: E402 - after prepare()
from timm.layers.linear import Linear  # noqa: E402 - after prepare()
from timm.layers.norm_act import BatchNormAct2d  # noqa: E402 - after prepare()

__all__ = ["BatchNormAct2d", "Conv2dSame", "Linear", "prepare", "timm", "torch", "torchvision"]
