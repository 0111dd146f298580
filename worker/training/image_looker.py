"""Reads, hashes and decodes image files for another process: `python -m worker.training.image_looker FOLDER LIMITS`.

Image decoders are where hostile files strike, so this is a process that may die: bounded in memory, and by an alarm in
the time that a file may take. A line of stdin is a JSON list of names; each name is answered by a line of stdout, as
soon as it is known. Whoever asks knows by the missing answer which file it died of. It ends when stdin does.
"""

import hashlib
import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

from worker.training import image_files

READY = "ready"


def main(folder: str, memory_bytes: int, file_s: float) -> None:
    """Answer until stdin ends. `memory_bytes` is what it may allocate beyond its libraries."""
    _bound(memory_bytes)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    _say(answers, READY)
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)  # a library that prints must not be taken for an answer,
    os.dup2(silence, 2)  # and a million damaged files must not fill the log
    for line in sys.stdin:
        for name in json.loads(line):
            signal.setitimer(signal.ITIMER_REAL, file_s)  # nobody handles the alarm: it kills
            _say(answers, _look(folder, name, memory_bytes))
        signal.setitimer(signal.ITIMER_REAL, 0)


def _look(folder: str, name: str, memory_bytes: int) -> dict[str, Any]:
    """What a file is, or why it is refused."""
    try:
        content = image_files.read(folder, name)
        kind = image_files.verify(content)
        height, width, _ = image_files.decode(content, 3).shape
    except image_files.Unusable as error:
        return {"reason": str(error)}
    except MemoryError:
        return {"reason": f"needs more than {memory_bytes >> 20} MiB of memory to be decoded"}
    digest = hashlib.sha256(content).hexdigest()
    return {"size": (height, width), "size_bytes": len(content), "sha256": digest, "format": kind}


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
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
