"""Whether the worker of this home still asks for work: `python -m worker.pulse` exits with 0 when it does.

The claiming thread touches a file at every turn, also when the service or the broker is away: their trouble is not the
worker's. A container's health check needs no more, and no key.
"""

import sys
import time

from worker.settings import WorkerSettings

SLACK_S = 90.0
"""Beyond one pause: a turn may wait 30 s for an answer, and on a loaded machine for its own processor."""


def beat(settings: WorkerSettings) -> None:
    """The worker lives. Raises OSError when the home cannot be written to."""
    settings.run_dir.mkdir(parents=True, exist_ok=True)
    (settings.run_dir / "worker.pulse").touch()


def age_s(settings: WorkerSettings) -> float | None:
    """Seconds since the last beat; None when there was none."""
    try:
        return time.time() - (settings.run_dir / "worker.pulse").stat().st_mtime
    except FileNotFoundError:
        return None


def check(settings: WorkerSettings) -> str | None:
    """What is wrong, or None."""
    age = age_s(settings)
    if age is None:
        return f"no worker has run on {settings.home}"
    limit_s = settings.idle_ask_s + SLACK_S
    return f"the worker has not asked for work for {age:.0f} s" if age > limit_s else None


if __name__ == "__main__":
    sys.exit(check(WorkerSettings()))
