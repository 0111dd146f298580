"""A contender's side of the pipe: a line with a number comes, so many images are made, a line of JSON answers.

Imports nothing that an environment of peers may lack.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterable

import torch

Batches = Callable[[int], Iterable[torch.Tensor]]


def serve(batches: Batches, clean: Callable[[], None] = lambda: None) -> None:
    """Answer until the input ends. `batches` gives float32 N x 3 x H x W, as many images as it is asked for. `clean` is
    done behind each round, when the clock stands still, and before anybody else's."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not look like an answer
    for line in sys.stdin:
        made = _round(batches, int(line))
        clean()
        print(json.dumps(made), file=answers, flush=True)


def _round(batches: Batches, count: int) -> dict[str, object]:
    made, last = 0, torch.empty(0)
    begun = time.perf_counter()
    for batch in batches(count):
        made, last = made + len(batch), batch
    seconds = time.perf_counter() - begun
    return {
        "images": made,
        "seconds": seconds,
        "shape": list(last.shape[1:]),
        "dtype": str(last.dtype),
        "mean": float(last.mean()),
        "std": float(last.std()),
    }
