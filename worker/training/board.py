"""A page of memory that the launcher shares with its ranks: the stop wish goes down, signs of life come up.

Ranks therefore need no signal handlers, and neither do the threads and libraries inside them.
"""

import mmap
import os

_WORD_BYTES = 8


class Board:
    """Made before the ranks are forked. Each word has one writer, and aligned words are written whole."""

    def __init__(self, ranks: int, descriptor: int | None = None) -> None:
        """`descriptor`: of a board that the launcher made; null: a new one."""
        size = _WORD_BYTES * (ranks + 1)
        if descriptor is None:
            descriptor = os.memfd_create("board", os.MFD_CLOEXEC)
            os.ftruncate(descriptor, size)
        self.descriptor = descriptor
        """Of its memory: a program that is started instead of forked finds it by that."""
        self._words = memoryview(mmap.mmap(descriptor, size)).cast("q")

    @property
    def stop_wished(self) -> bool:
        """Whether the ranks should save and leave."""
        return self._words[0] != 0

    def wish_stop(self) -> None:
        """Ask the ranks to save and leave; they agree on the step among themselves."""
        self._words[0] = 1

    def restart(self) -> None:
        """Forget the signs of life of ranks that are gone; a wish to stop stays."""
        for number in range(1, len(self._words)):
            self._words[number] = 0

    def tick(self, rank: int) -> None:
        """Called by a rank after each step and each validation batch: it is alive."""
        self._words[rank + 1] += 1

    def slowest(self) -> int:
        """The signs of life of the rank that gave the fewest: in a collective, one that hangs holds up all."""
        return min(self._words[1:])
