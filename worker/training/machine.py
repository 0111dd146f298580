"""Where figures are taken."""

import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING

from app.contract.report import Machine

if TYPE_CHECKING:
    import torch

MOST_THREADS = 4
"""More threads than this make the latency of one image worse on many hosts, and the figure less repeatable."""


def threads() -> int:
    """With how many this process measures: from now on torch uses as many."""
    import torch

    torch.set_num_threads(most_threads())
    return torch.get_num_threads()


def most_threads() -> int:
    """With how many any library measures here."""
    return min(MOST_THREADS, len(os.sched_getaffinity(0)))


def described(device: "torch.device", onnxruntime: str | None) -> Machine:
    """This host, with its libraries."""
    import torch

    return Machine(
        host=platform.node(),
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        processor=processor(),
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        onnxruntime=onnxruntime,
    )


def processor() -> str:
    """What the kernel calls it; Python's own answer is empty on Linux."""
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
