"""How the C library's allocator treats memory that is freed."""

import ctypes

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
    gone when it has: its resident memory only grows. Other C libraries than glibc do as they always do.
    """
    set_option = getattr(_libc, "mallopt", None)
    if set_option is None:
        return False
    options = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: NEVER}
    return all(set_option(option, value) for option, value in options.items())
