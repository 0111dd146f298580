"""Run in a process of its own: what is set stays set."""

import subprocess
import sys

STEPS = """
import resource, sys
import torch
from worker.training.allocation import keep_freed_memory

torch.set_num_threads(1)
if "keep" in sys.argv:
    assert keep_freed_memory()
for number in range(21):
    if number == 1:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [torch.full((48 << 20,), number, dtype=torch.uint8) for _ in range(3)]
    del blocks
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _faults(*arguments: str) -> int:
    command = [sys.executable, "-c", STEPS, *arguments]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def test_large_blocks_come_from_what_was_freed() -> None:
    """By default each page is new each time; else few are, where small blocks have split what was freed."""
    assert _faults("keep") < _faults() / 3
