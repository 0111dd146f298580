"""What a supervisor stands on: its record, and the folder of its run. Without them its work can lead to nothing.

A service that is away is waited for without end, since it comes back; a home that was deleted does not.
"""

import asyncio
from pathlib import Path


class Uprooted(Exception):
    """A path that the work needs has been missing for a whole lease."""


async def until_uprooted(paths: list[Path], lease_s: float) -> None:
    """Watch for as long as all are there. Raises `Uprooted` when one of them is missing for a lease."""
    while True:
        await asyncio.sleep(lease_s / 4)
        missing = [path for path in paths if not _there(path)]
        for _ in range(4):
            if missing:
                await asyncio.sleep(lease_s / 4)
                missing = [path for path in missing if not _there(path)]
        if missing:
            raise Uprooted(f"{missing[0]} is gone")


def _there(path: Path) -> bool:
    """A file system that does not answer right now (ESTALE, EIO) has not lost the path."""
    try:
        return path.exists()
    except OSError:
        return True
