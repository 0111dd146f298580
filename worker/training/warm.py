"""What a warm parent loads before it forks runs of the training program: see worker/warm.

Nothing here may run an operation, start a thread or look for a GPU; the parent refuses to serve if it did.
"""

import multiprocessing
import os
import random
from importlib import import_module
from importlib.util import find_spec

from worker.training import __main__ as program
from worker.training import environment

LOADED = (
    "torch._dynamo",  # DDP and the optimizers import it when first used: a second and more
    "worker.training.opencv",
    "worker.training.launcher",
    # What the ranks of a small job import as they begin, each for itself and all at once.
    "importlib.resources.readers",
    "numpy.ctypeslib",
    "numpy.ma",
    "torch.profiler._cupti_monitor",
    "torch.utils.serialization",
    "worker.training.augment.normalize",
    "worker.training.augment.resize",
    "worker.training.data.builtin",
    "worker.training.distributed.ddp",
    "worker.training.models.timm",
    "worker.training.optim.adamw",
    "worker.training.optim.cosine",
    "worker.training.order",
)


def load() -> None:
    """Import what every run needs, and nothing that only some kinds do."""
    environment.prepare()
    for name in LOADED:
        if find_spec(name):  # other versions of a library have other parts
            import_module(name)
    import torch

    if torch.cuda.is_initialized():
        raise RuntimeError("loading the libraries has initialised CUDA: nothing may be forked from this process")


def main(arguments: list[str]) -> int:
    """A whole run, in a process that was forked from one that has loaded."""
    _be_fresh()
    return program.main(arguments)


def _be_fresh() -> None:
    """What an interpreter draws as it starts, drawn anew. torch and OpenCV begin with the same numbers in each."""
    import numpy as np

    random.seed()
    np.random.seed()
    multiprocessing.current_process().authkey = os.urandom(32)
