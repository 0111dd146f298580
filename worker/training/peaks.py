"""How much memory a training process took at most, phase by phase: measured, beside the plan's estimate."""

import json
import logging
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

FILE = "peaks.json"
_RESET_PEAK = "5"  # proc(5), clear_refs: sets VmHWM back to what is used now

log = logging.getLogger(__name__)


def begin(device: "torch.device | None") -> None:
    """From now on a new peak is measured. Null: of the process, whatever trains on whatever device."""
    if device is not None and device.type == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats(device)
        return
    with suppress(OSError):  # not allowed in some containers: then the peak is that of the whole process
        Path("/proc/self/clear_refs").write_text(_RESET_PEAK, encoding="ascii")


def keep(run_dir: Path, phase: str, peak_bytes: int) -> None:
    """Keep a peak for the report: where steps were made since `begin`, for a run that goes on from the end of a phase
    only loads what it trained, which tells nothing of training.
    """
    known = read(run_dir) | {phase: peak_bytes}
    (run_dir / FILE).write_text(json.dumps(known), encoding="utf-8")


def read(run_dir: Path) -> dict[str, int]:
    """What was noted in this attempt, by phase."""
    path = run_dir / FILE
    return dict(json.loads(path.read_bytes())) if path.exists() else {}


def of_training(device: "torch.device | None") -> int:
    """The peak since `begin`, in bytes: of the device's memory, or this process's own."""
    if device is not None and device.type == "cuda":
        import torch

        return int(torch.cuda.max_memory_reserved(device))
    return of_process()


def of_process() -> int:
    """The same of this process's own memory, in bytes; 0 where it cannot be read."""
    found = re.search(r"^VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text("utf-8"), re.MULTILINE)
    return int(found[1]) * 1024 if found else 0
