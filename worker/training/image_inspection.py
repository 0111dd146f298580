"""Looks at many image files in a few processes that may die of them: a file that kills its process is named, and the
others are looked at all the same."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock
from typing import IO, Any, NamedTuple, Protocol

from worker.training.image_looker import READY, Keep

MOST_LOOKERS = 3
"""Three times what each may allocate stays below what a background task may hold (`TRAINYARD_TASK_MEMORY_BYTES`)."""
MEMORY_BYTES = 1 << 30
"""Of one process beyond its libraries. The largest image, 100 million pixels, takes 300 MB; as a progressive JPEG whose
coefficients are all held at once, 900 MB."""
FILE_S = 120.0
"""Time that one file may take. The largest takes 5 s on a busy core, and some more over a slow network."""
END_S = 10.0
_AT_ONCE = 32  # names that a process is given: few enough for the answers to fit into a pipe

Told = Callable[[int], None]


class Seen(NamedTuple):
    """A file that can be used."""

    size: tuple[int, int]
    """(h, w) in pixels, after orientation."""
    size_bytes: int
    sha256: str
    format: str


Look = Seen | str
"""What a file is, or why it is refused."""


class LookerFailed(Exception):
    """The program that looks at files does not even start."""


class Keeper(Protocol):
    """Whoever wants the pixels of the files that can be used. Called from several threads."""

    keep: Keep

    def number(self, size_bytes: int) -> int | None:
        """Of a file of pixels that is begun with so many bytes; null where there is no room for it."""

    def kept(self, file: str, slot: Sequence[int]) -> None:
        """The pixels of a file are there: the values of a `Slot`."""

    def failed(self, error: OSError) -> None:
        """Pixels could not be written. The look goes on without them."""


@dataclass(frozen=True)
class Limits:
    """Bounds of one process. `program` is run with the folder and the limits behind it."""

    memory_bytes: int = MEMORY_BYTES
    file_s: float = FILE_S
    program: tuple[str, ...] = (sys.executable, "-m", "worker.training.image_looker")


def inspect(
    folder: str,
    names: Sequence[str],
    told: Told = lambda _: None,
    limits: Limits | None = None,
    keeper: Keeper | None = None,
) -> list[Look]:
    """A look at each file, in the order of `names`. `told` hears now and then how many there are so far.

    Raises LookerFailed, and what `told` raises. `folder` is absolute and has no links in it.
    """
    looks: list[Look] = ["was not looked at"] * len(names)
    work = _Work(names, looks, told)
    count = min(MOST_LOOKERS, len(os.sched_getaffinity(0)), -(-len(names) // _AT_ONCE))
    with ThreadPoolExecutor(max(count, 1)) as pool:
        lookers = [_Looker(folder, limits or Limits(), keeper) for _ in range(count)]
        for done in [pool.submit(work.do, looker) for looker in lookers]:
            done.result()
    return looks


@dataclass
class _Work:
    """What several threads take from, and put their results into."""

    names: Sequence[str]
    looks: list[Look]
    told: Told
    _next: int = 0
    _seen: int = 0
    _lock: Lock = field(default_factory=Lock)

    def do(self, looker: "_Looker") -> None:
        try:
            with looker:
                for start in self._starts():
                    for index, look in enumerate(looker.look(self.names[start : start + _AT_ONCE]), start):
                        self.looks[index] = look
                    self._count(start)
        except BaseException:
            self._next = len(self.names)  # the other threads need not go on to the end
            raise

    def _starts(self) -> Iterator[int]:
        while True:
            with self._lock:
                start = self._next
                self._next += _AT_ONCE
            if start >= len(self.names):
                return
            yield start

    def _count(self, start: int) -> None:
        with self._lock:
            self._seen += min(_AT_ONCE, len(self.names) - start)
            self.told(self._seen)


class _Looker:
    """A process that looks at files, started when it is needed and again when it died."""

    def __init__(self, folder: str, limits: Limits, keeper: Keeper | None) -> None:
        self._limits = limits
        self._keeper = keeper
        self._command = [*limits.program, folder, str(limits.memory_bytes), str(limits.file_s)]
        if keeper is not None:
            self._command.append(json.dumps(keeper.keep))
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> "_Looker":
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._end(self._process)

    def look(self, names: Sequence[str]) -> Iterator[Look]:
        """One look a name. A file of which a process died twice is refused: the first time may have been chance."""
        suspect = -1
        done = 0
        while done < len(names):
            process = self._process or self._begin()
            for answer in _answers(process, names[done:], self._keeper):
                yield answer
                done += 1
            if done == len(names):
                return
            code = self._end(process)
            if suspect != done:
                suspect = done
                continue
            yield _reason(code, self._limits.file_s)
            done += 1
            suspect = -1

    def _begin(self) -> "subprocess.Popen[str]":
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8")
        if _line(self._process.stdout) != json.dumps(READY) + "\n":
            code = self._end(self._process)
            raise LookerFailed(f"The program that looks at images does not start: it ended with {code}.")
        return self._process

    def _end(self, process: "subprocess.Popen[str]") -> int:
        """Its exit code, negative for a signal. It ends by itself when stdin is closed, unless it hangs."""
        self._process = None
        for pipe in (process.stdin, process.stdout):
            _close(pipe)
        try:
            return process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()


def _answers(process: "subprocess.Popen[str]", names: Iterable[str], keeper: Keeper | None) -> Iterator[Look]:
    """Those that come before the process dies."""
    asked = list(names)
    if not _tell(process, asked):
        return
    for name in asked:
        told = _answer(process, keeper)
        if told is None:
            return
        if keeper is not None and "slot" in told:
            keeper.kept(name, told["slot"])
        if keeper is not None and "trouble" in told:
            keeper.failed(OSError(*told["trouble"]))
        yield _look(told)


def _answer(process: "subprocess.Popen[str]", keeper: Keeper | None) -> dict[str, Any] | None:
    """What is said of a file, once all that the process asks for meanwhile is given; null when it has died."""
    while (line := _line(process.stdout)).endswith("\n"):
        told: dict[str, Any] = json.loads(line)
        if keeper is None or "room" not in told:
            return told
        _tell(process, keeper.number(told["room"]))
    return None


def _tell(process: "subprocess.Popen[str]", value: Any) -> bool:
    """Whether the process could still be told."""
    assert process.stdin is not None
    try:
        process.stdin.write(json.dumps(value) + "\n")
        process.stdin.flush()
    except BrokenPipeError:
        return False
    return True


def _line(stream: IO[str] | None) -> str:
    assert stream is not None
    return stream.readline()


def _close(pipe: IO[str] | None) -> None:
    try:
        if pipe is not None:
            pipe.close()
    except BrokenPipeError:
        pass  # what was left to write, nobody is there to read


def _look(told: dict[str, Any]) -> Look:
    if "reason" in told:
        return str(told["reason"])
    height, width = told["size"]
    return Seen((height, width), told["size_bytes"], told["sha256"], sys.intern(told["format"]))


def _reason(code: int, file_s: float) -> str:
    if code == -signal.SIGALRM:
        return f"takes longer than {file_s:g} s to be read"
    if code == -signal.SIGKILL:
        return "ended its decoder by SIGKILL, as the system does when memory is short"
    how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
    return f"makes the image decoder crash ({how})"
