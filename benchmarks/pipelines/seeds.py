"""Trainings of several seeds, side by side: networks this small keep one processor busy, and hardly a second one."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import TypeVar

T = TypeVar("T")


def each_on_a_processor(train: Callable[[int], T], seeds: int) -> list[T]:
    """What `train` answers for the seeds from 0 on; each has one processor to itself, and so have its programs."""
    free: SimpleQueue[int] = SimpleQueue()
    for processor in os.sched_getaffinity(0):
        free.put(processor)

    def alone(seed: int) -> T:
        mine = free.get()
        os.sched_setaffinity(0, {mine})  # of this thread, and of what it starts
        try:
            return train(seed)
        finally:
            free.put(mine)

    with ThreadPoolExecutor(free.qsize()) as pool:
        return list(pool.map(alone, range(seeds)))
