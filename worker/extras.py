"""Optional libraries of this worker, told to the service, which gives jobs that need one to no other worker.

Looked for among the installed packages, without loading any: TensorFlow takes seconds and 500 MB.
"""

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from app.contract.spec import Extra
from app.contract.work import Device

_TENSORFLOW = "tensorflow"
_WITHOUT_GPUS = "tensorflow-cpu"
"""Sees no GPU: a host whose devices are GPUs could not run a job with it on what it reserves."""


def usable(devices: Sequence[Device]) -> list[Extra]:
    """Those that can train on these devices. Read anew at every claim: what was installed meanwhile is told."""
    has_gpus = any(device.kind == "cuda" for device in devices)
    builds = [_TENSORFLOW] if has_gpus else [_TENSORFLOW, _WITHOUT_GPUS]
    return ["tensorflow"] if any(_is_installed(each) for each in builds) else []


def _is_installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True
