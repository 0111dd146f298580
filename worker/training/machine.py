"""Where figures are taken."""

import os
import platform
from pathlib import Path

import torch

from app.contract.report import Machine

MOST_THREADS = 4
"""More threads than this make the latency of one image worse on many hosts, and the figure less repeatable."""


def threads() -> int:
    """With how many this process measures: from now on torch uses as many."""
    torch.set_num_threads(min(MOST_THREADS, len(os.sched_getaffinity(0))))
    return torch.get_num_threads()


def described(device: torch.device, onnxruntime: str | None) -> Machine:
    """This host, with its libraries."""
    return Machine(
        host=platform.node(),
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        processor=_processor(),
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        onnxruntime=onnxruntime,
    )


def _processor() -> str:
    """What the kernel calls it; Python's own answer is empty on Linux."""
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
