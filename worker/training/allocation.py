"""How the allocators of the C library and of the GPU treat memory that is freed."""

import ctypes
import gc
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

# malloc.h of glibc
M_TRIM_THRESHOLD = -1
M_MMAP_MAX = -4
NEVER = -1
_libc = ctypes.CDLL(None)


def keep_freed_memory() -> bool:
    """From now on memory that this process frees stays with it, for what is allocated next. Whether that can be done.

    A step allocates and frees each activation. By default (mallopt(3)) a block of more than 32 MiB goes back to the
    kernel at once and comes again as pages that must be cleared: with ResNet-18's depthwise separable twin a quarter of
    a training step on 2 cores, more when other processes want memory too. Call it in a process that trains, and is
    gone when it has: its resident memory only grows, but for `give_back`. Other C libraries than glibc do as they do.
    """
    set_option = getattr(_libc, "mallopt", None)
    if set_option is None:
        return False
    options = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: NEVER}
    return all(set_option(option, value) for option, value in options.items())


def give_back(device: "torch.device") -> None:
    """Return to the system what is free by now, cycles of objects included: networks and what wraps them refer to each
    other. For between two networks, which share nothing: on a CPU tens of milliseconds, and pages come anew.
    """
    gc.collect()
    if device.type == "cuda":
        import torch

        torch.cuda.empty_cache()
        return
    trim = getattr(_libc, "malloc_trim", None)
    if trim is not None:
        trim(0)
