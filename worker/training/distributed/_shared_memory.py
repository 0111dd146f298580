"""Memory that the ranks of one host share, without a name that would have to be cleaned away.

Rank 0 makes a file in memory (memfd), the others open it through `/proc`, and it is gone with the last of them, however
they end. `/dev/shm` has 64 MB in a container unless it is told otherwise; such a file has what the host has.
"""

import json
import logging
import mmap
import os
from typing import Any, Protocol

import torch

# R = ranks of the run

log = logging.getLogger(__name__)


class Group(Protocol):
    """What is asked of the ranks to agree; see `Ranks`."""

    rank: int
    world: int

    def gather(self, message: bytes) -> list[bytes]:
        """What each rank says."""
        ...


def shared(group: Group, bytes_each: int) -> torch.Tensor | None:
    """R x `bytes_each` bytes that all ranks see, zeros. Called by all.

    Null, on all of them, where one cannot have it: other users' processes and those of other PID namespaces cannot be
    opened, and memory may be short. The log of rank 0 says why.
    """
    own, offer = _made(group.world * bytes_each) if group.rank == 0 else (None, {})
    try:
        offer = json.loads(group.gather(json.dumps(offer).encode())[0])
        memory, trouble = _opened(offer, group, bytes_each)
        told = [json.loads(each) for each in group.gather(json.dumps(trouble).encode())]
    finally:
        if own is not None:
            os.close(own)
    troubles = [f"rank {rank}: {each}" for rank, each in enumerate(told) if each]
    if troubles and group.rank == 0:
        log.warning("Gradients are exchanged through gloo, not through shared memory; %s", "; ".join(troubles))
    return None if troubles else memory


def _made(size: int) -> tuple[int | None, dict[str, Any]]:
    """A descriptor of new memory, and where others find it or why there is none."""
    if not hasattr(os, "memfd_create"):
        return None, {"trouble": "this system has no memfd_create"}
    descriptor = None
    try:
        descriptor = os.memfd_create("gradients", os.MFD_CLOEXEC)
        os.ftruncate(descriptor, size)
    except OSError as error:
        if descriptor is not None:
            os.close(descriptor)
        return None, {"trouble": str(error)}
    return descriptor, {"path": f"/proc/{os.getpid()}/fd/{descriptor}", "identity": _identity(descriptor)}


def _opened(offer: dict[str, Any], group: Group, bytes_each: int) -> tuple[torch.Tensor | None, str | None]:
    """The memory as this rank sees it, or why it does not."""
    if "trouble" in offer:
        return None, offer["trouble"]
    try:
        descriptor = os.open(offer["path"], os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        return None, str(error)
    try:
        if _identity(descriptor) != offer["identity"]:  # in another PID namespace the number is another process's
            return None, f"{offer['path']} is not the memory of rank 0"
        os.posix_fallocate(descriptor, group.rank * bytes_each, bytes_each)  # a first touch that fails would be SIGBUS
        mapped = mmap.mmap(descriptor, group.world * bytes_each)
    except OSError as error:
        return None, str(error)
    finally:
        os.close(descriptor)
    return torch.frombuffer(mapped, dtype=torch.uint8).view(group.world, bytes_each), None


def _identity(descriptor: int) -> list[int]:
    found = os.fstat(descriptor)
    return [found.st_dev, found.st_ino, found.st_size]
