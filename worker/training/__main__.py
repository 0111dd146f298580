"""`python -m worker.training SPEC.json RUN_DIR`: one training run, with or without a service.

SPEC.json is a job spec, or the RunOrder that a supervisor writes. Running it again on the same folder goes on from the
newest checkpoint there. Exit codes: 0 succeeded, 1 failed, 74 failed for want of room on the disk, 75 stopped after
SIGTERM or Ctrl-C; the last line of RUN_DIR/events.jsonl says the same, if there was room for it. RUN_DIR/artifacts
holds the model and its report.
"""

import os
import sys

from worker.training import environment


def main(arguments: list[str]) -> int:
    """Read the order, then import what trains: a spec that cannot be read is refused at once."""
    environment.prepare()
    if len(arguments) != 2:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    from worker.training.order import UnreadableOrder, read_order

    try:
        order = read_order(*arguments)
    except UnreadableOrder as problem:
        sys.stderr.write(f"{problem}\n")
        return 1
    from worker.training.processes import die_with

    if os.environ.get("TRAINYARD_SUPERVISED"):
        die_with(os.getppid())
    from worker.training.launcher import launch

    return launch(order)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
