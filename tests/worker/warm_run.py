"""A program for a warm parent without libraries: the label `mode` of its job says what of `fake_run` it does.

`look` writes down everything about its process that one run could leave to the next. `python -m tests.worker.warm_run
ORDER.json RUN_DIR` does the same from a fresh interpreter.
"""

import ctypes
import gc
import json
import locale
import logging
import os
import random
import resource
import signal
import sys
import threading
import warnings
from pathlib import Path

from tests.worker import fake_run

STATUS = ("Umask", "Threads", "SigBlk", "SigIgn", "SigCgt", "Cpus_allowed", "CapEff", "NoNewPrivs", "Seccomp", "Uid")
PR_GET_CHILD_SUBREAPER = 37


def load() -> None:
    """Nothing to load. A variable is set, as libraries do while they are imported."""
    os.environ["SET_BY_LOADING"] = "1"


def look(run):
    """What this process has got from others."""
    found = {
        "files": {path.name: _target(path) for path in Path("/proc/self/fd").iterdir()},
        "environment": dict(os.environ),
        "environment in C": _c_environment(),
        "arguments": sys.argv[2:],
        "folder": str(Path.cwd()),
        "status": _status(),
        "limits": {name: resource.getrlimit(getattr(resource, name)) for name in dir(resource) if "RLIMIT" in name},
        "niceness": os.getpriority(os.PRIO_PROCESS, 0),
        "policy": os.sched_getscheduler(0),
        "oom score": Path("/proc/self/oom_score_adj").read_text(),
        "control group": Path("/proc/self/cgroup").read_text(),
        "signals": {each.name: repr(signal.getsignal(each)).partition(" at ")[0] for each in signal.Signals},
        "adopts": _adopts(),
        "leads": [os.getpgid(0) == os.getpid(), os.getsid(0) == os.getppid()],
        "python": _python(),
    }
    (run.run_dir / "look.json").write_text(json.dumps(found, default=str))
    (run.run_dir / "drawn").write_text(str(random.random()))
    return fake_run.quick(run)


def _target(path):
    try:
        return str(path.readlink())
    except FileNotFoundError:  # the folder that is being listed
        return "gone"


def _c_environment():
    """As `getenv` of a library sees it, which need not be as Python does."""
    array = ctypes.POINTER(ctypes.c_char_p).in_dll(ctypes.CDLL(None), "environ")
    found = []
    while array[len(found)]:
        found.append(array[len(found)].decode())
    return sorted(found)


def _status():
    lines = Path("/proc/self/status").read_text().splitlines()
    return [line for line in lines if line.partition(":")[0] in STATUS]


def _adopts():
    found = ctypes.c_int()
    ctypes.CDLL(None).prctl(PR_GET_CHILD_SUBREAPER, ctypes.byref(found), 0, 0, 0)
    return found.value


def _python():
    streams = [sys.stdin, sys.stdout, sys.stderr]
    return {
        "threads": [each.name for each in threading.enumerate()],
        "collects": gc.isenabled(),
        "log": [str(logging.root.handlers), logging.root.level],
        "warnings": str(warnings.filters),
        "locale": locale.setlocale(locale.LC_ALL),
        "flags": str(sys.flags),
        "streams": [[each.fileno(), each.encoding, each.errors, each.line_buffering] for each in streams],
        "limits": [sys.getrecursionlimit(), sys.getswitchinterval()],
        "wakes": signal.set_wakeup_fd(-1),
    }


def main(arguments):
    """As `fake_run.main`, with the mode from the job."""
    mode = json.loads(Path(arguments[0]).read_text())["spec"]["labels"]["mode"]
    sys.argv[1:] = [mode, *arguments]
    fake_run.look = look
    fake_run.main()


if __name__ == "__main__":
    load()
    main(sys.argv[1:])
