"""A process with TensorFlow beside the test's own, which may have torch loaded: it runs code that it is sent.

Started once a file of tests, since loading TensorFlow takes seconds.
"""

import json
import os
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
needs_tensorflow = pytest.mark.skipif(
    find_spec("tensorflow") is None, reason="the extra is not installed: make setup EXTRAS=tensorflow"
)


class Beside:
    """Speaks to it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def __call__(self, code: str, **given: Any) -> Any:
        """Run `code`, in which what is given has its name; answers what it put into `answer`. Both as JSON."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps({"code": code, "given": given}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the process with TensorFlow died"
        told = json.loads(line)
        assert "error" not in told, told["error"]
        return told["answer"]


@contextmanager
def started(devices: int = 2) -> Iterator[Beside]:
    """With so many logical devices of the CPU, in fp32."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "tests.support.beside", str(devices)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT
    ) as process:
        yield Beside(process)
        assert process.stdin
        process.stdin.close()


def _serve(devices: int) -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    from worker.tensorflow import library

    library.load()
    from worker.tensorflow import devices as made

    known = {"strategy": made.mirrored(made._cpus(devices))}
    for line in sys.stdin:
        asked = json.loads(line)
        names = {**known, **asked["given"]}
        try:
            exec(asked["code"], names)
            told = {"answer": names.get("answer")}
        except Exception:  # noqa: BLE001 - the test is to show it
            told = {"error": traceback.format_exc()}
        answers.write(json.dumps(told) + "\n")
        answers.flush()


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
