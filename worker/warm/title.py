"""What `ps` and /proc/PID/cmdline show of a forked process: who looks for a run finds it by its command line."""

import ctypes
import os
from collections.abc import Sequence
from pathlib import Path

ROOM = " " * 1000
"""An argument of the parent that makes its command line long enough for those of its children."""
_ARGUMENTS = 45  # fields 48 and 49 of /proc/PID/stat, from the third on: where the arguments begin and end in memory


def show(arguments: Sequence[str]) -> None:
    """Write `arguments` over the command line that this process was forked with, as far as that reaches."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    begin, end = map(int, fields[_ARGUMENTS : _ARGUMENTS + 2])
    if begin < end:  # zeros: the kernel does not tell
        text = b"\0".join(map(os.fsencode, arguments))[: end - begin - 1]
        ctypes.memmove(begin, text.ljust(end - begin, b"\0"), end - begin)
