"""Environment variables that the numerical libraries read when they are loaded: call `prepare` before that."""

import os

_REQUIRED = {
    # A pool of threads in the process that forks would be missing in its children.
    "OPENBLAS_NUM_THREADS": "1",
}
_DEFAULTS = {
    # OpenMP threads that wait by spinning take the core from the one they wait for, when jobs share a host: one rank
    # with 2 threads on 2 busy cores took 36 s spinning and 7 s sleeping, for the same 44 steps.
    "OMP_WAIT_POLICY": "PASSIVE",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # sums on GPUs come out the same every time
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",  # counting GPUs must not create a context in the process that forks
}


def prepare() -> None:
    """Set what the launcher needs, and what is best unless somebody decided otherwise."""
    os.environ.update(_REQUIRED)
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
