"""The environment of the programs that touch users' data and weights: an allow-list, so that no secret gets in."""

import os
from collections.abc import Mapping, Sequence
from typing import Literal

from app.contract import faults

ALLOWED = frozenset(
    {
        "PATH", "HOME", "USER", "LANG", "LANGUAGE", "TZ", "TMPDIR", "VIRTUAL_ENV", "PYTHONPATH", "LD_LIBRARY_PATH",
        "TRAINYARD_FASHION_MNIST",  # where a built-in data set's files lie
        "TRAINYARD_AUGMENT_ON",  # cpu or device: where images are augmented, see worker/training/executors.py
        "TRAINYARD_CACHE_DIR", "TRAINYARD_CACHE_BYTES", "TRAINYARD_DEVICE_CACHE_BYTES",
        faults.VARIABLE,  # set by tests alone
    }
)  # fmt: skip
OF_A_RUN = frozenset({"CUDA_VISIBLE_DEVICES", "TRACEPARENT"})
"""What one run has otherwise than the next on the same worker; no library reads it as it is loaded."""
ALLOWED_PREFIXES = ("LC_", "CUDA_", "NVIDIA_", "NCCL_", "OMP_", "MKL_", "PYTORCH_", "TORCH_NCCL_")


def allowed(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """What a training program may know: where its libraries are and how many threads to use."""
    source = os.environ if environment is None else environment
    return {name: value for name, value in source.items() if name in ALLOWED or name.startswith(ALLOWED_PREFIXES)}


def for_run(kind: Literal["cpu", "cuda"], devices: Sequence[int], traceparent: str | None) -> dict[str, str]:
    """Of a training run: it sees exactly its own GPUs, numbered from 0, and dies with its supervisor."""
    result = allowed() | {"TRAINYARD_SUPERVISED": "1", "PYTHONUNBUFFERED": "1"}
    # NVML counts GPUs by bus, CUDA by speed unless told otherwise: the indices of the order are NVML's.
    result["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    result["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, devices)) if kind == "cuda" else ""
    if traceparent:
        result["TRACEPARENT"] = traceparent
    return result


def for_task() -> dict[str, str]:
    """Of a background task: no GPU at all."""
    return allowed() | {"CUDA_VISIBLE_DEVICES": "", "TRAINYARD_SUPERVISED": "1", "PYTHONUNBUFFERED": "1"}
