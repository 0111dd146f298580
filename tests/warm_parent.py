"""A process with the libraries loaded, which forks a whole run for each order it reads: `launch` must bear that.

stdin: one line of JSON a run, {"order": RunOrder, "environment": {}}. stdout: its pid, later its pid and exit code.
"""

import json
import os
import resource
import sys
from pathlib import Path

from worker.training import environment

environment.prepare()

import torch._dynamo  # noqa: E402, F401  (as the launcher does)

from app.contract.work import RunOrder  # noqa: E402
from worker.training.launcher import launch  # noqa: E402


def run(request: dict) -> int:
    os.environ.update(request["environment"])
    if request["spare_bytes"] is not None:
        limit_bytes = data_bytes() + request["spare_bytes"]
        resource.setrlimit(resource.RLIMIT_DATA, (limit_bytes, limit_bytes))  # ranks inherit it
    exec(request["environment"].get("TRAINYARD_TEST_CODE", ""), globals())  # a fault, in launcher and ranks
    return launch(RunOrder.model_validate(request["order"]))


def data_bytes() -> int:
    """What this process has allocated, as RLIMIT_DATA counts it."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmData:")]
    return int(line.split()[1]) << 10


def main() -> None:
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            os._exit(run(json.loads(line)))
        print(pid, flush=True)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


main()
