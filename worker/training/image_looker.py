"""Reads, hashes and decodes image files for another process: `python -m worker.training.image_looker FOLDER LIMITS`.

Image decoders are where hostile files strike, so this is a process that may die: bounded in memory, and by an alarm in
the time that a file may take. A line of stdin is a JSON list of names; each name is answered by a line of stdout, as
soon as it is known. Whoever asks knows by the missing answer which file it died of. It ends when stdin does.

With a third argument, a `Keep`, the pixels of each file that can be used are written to a folder, as they are trained
on, and the answer says where. For each file that it begins there, it asks for a number: a line `{"room": bytes}` on
stdout is answered by a line of stdin, `null` where there is no room. What cannot be kept is looked at all the same.
"""

import errno
import hashlib
import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any, NamedTuple

from worker.training import image_files, stored_size
from worker.training.cache.shards import ShardWriter
from worker.training.image_files import Image
from worker.training.stored_size import Reduction

READY = "ready"


class Keep(NamedTuple):
    """In which folder pixels are kept, and how: as JSON, an argument of this program."""

    folder: str
    channels: int
    lists: Any
    """Of a Reduction."""


def main(folder: str, memory_bytes: int, file_s: float, keep: str = "") -> None:
    """Answer until stdin ends. `memory_bytes` is what it may allocate beyond its libraries."""
    _bound(memory_bytes)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    _say(answers, READY)
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)  # a library that prints must not be taken for an answer,
    os.dup2(silence, 2)  # and a million damaged files must not fill the log
    keeper = _Keeper(Keep(*json.loads(keep)), answers) if keep else None
    for line in iter(sys.stdin.readline, ""):
        for name in json.loads(line):
            signal.setitimer(signal.ITIMER_REAL, file_s)  # nobody handles the alarm: it kills
            told, image = _look(folder, name, memory_bytes, keeper)
            signal.setitimer(signal.ITIMER_REAL, 0)
            _say(answers, told if keeper is None or image is None else told | keeper.keep(image))


class _Keeper:
    """Decodes as is trained on, and writes, until there is a trouble, which is told once."""

    def __init__(self, keep: Keep, answers: Any) -> None:
        self._channels = keep.channels
        self._reduction = Reduction(keep.lists)
        self._answers = answers
        self._trouble: OSError | None = None
        self._writer: ShardWriter | None = None
        try:
            self._writer = ShardWriter(keep.folder, self._number)
        except OSError as error:
            self._trouble = error

    def decode(self, content: bytes) -> tuple[Image, tuple[int, int]]:
        """The pixels to be kept, and the (h, w) of the whole image. Raises Unusable.

        What cannot be read in colour is refused whatever the job wants, so that a set is the same for all jobs.
        """
        if self._channels == 1:
            image_files.decode(content, 3)
        return stored_size.decode(content, self._channels, self._reduction)

    def keep(self, image_HWC: Image) -> dict[str, Any]:
        """Where it was written, or why it was not."""
        if self._writer is not None:
            try:
                return {"slot": self._writer.add(image_HWC)}
            except OSError as error:
                self._trouble = error
                self._writer.close()
                self._writer = None
        trouble, self._trouble = self._trouble, None
        return {"trouble": [trouble.errno, trouble.strerror]} if trouble else {}

    def _number(self, size_bytes: int) -> int:
        _say(self._answers, {"room": size_bytes})
        number = json.loads(sys.stdin.readline() or "null")
        if number is None:
            raise OSError(errno.ENOSPC, "there is no room")
        return int(number)


def _look(folder: str, name: str, memory_bytes: int, keeper: _Keeper | None) -> tuple[dict[str, Any], Image | None]:
    """What a file is, and the pixels to be kept; or why it is refused."""
    try:
        content = image_files.read(folder, name)
        kind = image_files.verify(content)
        image_HWC, size = keeper.decode(content) if keeper else _decoded(content)
    except image_files.Unusable as error:
        return {"reason": str(error)}, None
    except MemoryError:
        return {"reason": f"needs more than {memory_bytes >> 20} MiB of memory to be decoded"}, None
    digest = hashlib.sha256(content).hexdigest()
    return {"size": size, "size_bytes": len(content), "sha256": digest, "format": kind}, image_HWC


def _decoded(content: bytes) -> tuple[Image, tuple[int, int]]:
    image_HWC = image_files.decode(content, 3)
    return image_HWC, (image_HWC.shape[0], image_HWC.shape[1])


def _say(answers: Any, value: Any) -> None:
    answers.write(json.dumps(value) + "\n")
    answers.flush()


def _bound(memory_bytes: int) -> None:
    """A limit on addresses would not do: libraries reserve more than they use. This one counts what can be written."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmData:")]
    limit = (int(line.split()[1]) << 10) + memory_bytes
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), *sys.argv[4:])
