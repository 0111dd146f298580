"""One process per claimed work, in a session of its own: `python -m worker.supervisor HOME/run/attempts/NAME.json`, or

with `--wait`, to be told that path later (see `worker.spare`).

It owns what runs for that work, holds the lease, and leaves nothing behind. A record that already names a supervisor
tells that one died before its time: then its leftovers are killed, what it spooled is handed over, its end is told.
"""

import asyncio
import logging
import os
import signal
import sys
from pathlib import Path

from app.contract.faults import Point, reach
from app.contract.work import JobWork, TaskWork
from worker import leftovers, logs, processes, records, spare
from worker.attempt import Attempt
from worker.background import BackgroundTask
from worker.foothold import Uprooted, until_uprooted
from worker.launcher import Launcher
from worker.records import Record
from worker.server import Fenced, Refused, Server
from worker.settings import WorkerSettings
from worker.stop import Stop
from worker.together import beside
from worker.warm import title

log = logging.getLogger(__name__)


def main(path: Path) -> None:
    """Do the work of one record. Raises nothing that the service could be told instead."""
    settings = WorkerSettings()
    record = records.read(path)
    if record is None:
        sys.exit(f"{path} holds no work")
    logs.set_up("text")  # into the attempt's own log, which the service shows to users
    processes.adopt_orphans()
    # Named in the record we can be told to stop, but until there is a handler SIGTERM would only kill us.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    previous = record if record.supervisor else None
    reach(Point.SUPERVISOR_BEFORE_NAME)
    record = _take_over(path, record)
    if previous is not None:
        leftovers.end(previous)
    done = asyncio.run(_work(path, record, settings, recovering=previous is not None))
    if done:
        reach(Point.FINISHED_BEFORE_FORGET)
        _forget(path, record)


def _forget(path: Path, record: Record) -> None:
    """Unless the name is another claim's by now: a restored database gives the number of an attempt again."""
    now = records.read(path)
    if now is None or now.work == record.work:
        records.remove(path)


def _take_over(path: Path, record: Record) -> Record:
    """Write down that this process now owns the work."""
    mine = record.model_copy(
        update={
            "supervisor": processes.identity(os.getpid()),
            "recoveries": record.recoveries + (record.supervisor is not None),
        }
    )
    records.write(path, mine)
    return mine


async def _work(path: Path, record: Record, settings: WorkerSettings, *, recovering: bool) -> bool:
    """True when the work is over for us: done, or no longer ours."""
    try:
        async with Server(settings) as server, beside(until_uprooted(_needed(path, record.work), record.work.lease_s)):
            if isinstance(record.work, TaskWork):
                return await _task(record.work, server, settings, path)
            return await _job(record, record.work, server, settings, path, recovering=recovering)
    except Fenced as fenced:
        log.warning("the work is no longer ours: %s", fenced)
    except Uprooted as uprooted:
        log.error("giving up, the lease will end: %s", uprooted)
    except Refused as refusal:
        log.error("the service refuses our messages, the lease will end: %s", refusal)
    return True


def _needed(path: Path, work: JobWork | TaskWork) -> list[Path]:
    """The paths without which there is nothing to work for: the record, by which others find us, and the run's."""
    return [path, Path(work.order.paths.run_dir)] if isinstance(work, JobWork) else [path]


async def _job(
    record: Record, work: JobWork, server: Server, settings: WorkerSettings, path: Path, *, recovering: bool
) -> bool:
    def begun(launcher: Launcher) -> None:
        named = {"launcher": launcher.who, "steward": launcher.steward}
        try:
            records.write(path, record.model_copy(update=named))
        except OSError as error:  # a full disk; the session is enough to find the run
            log.warning("the record does not name the run: %s", error)

    attempt = Attempt(work, server, settings, begun)
    # A user's stop has the grace of the order; a drain must not outlast the worker that waits for it.
    _on_sigterm(attempt.stop, min(work.grace_s, settings.drain_s))
    return await (attempt.conclude() if recovering else attempt.run())


async def _task(work: TaskWork, server: Server, settings: WorkerSettings, path: Path) -> bool:
    task = BackgroundTask(work, server, settings, settings.run_dir / "tasks" / path.stem)
    _on_sigterm(task.stop, 0.0)
    await task.run()
    return True


def _on_sigterm(stop: Stop, grace_s: float) -> None:
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.drain, grace_s)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


if __name__ == "__main__":
    if sys.argv[1] != "--wait":
        main(Path(sys.argv[1]))
    elif given := spare.wait_for_task():
        title.show([*sys.orig_argv[:-2], str(given)])  # whoever looks for a job's processes finds it
        main(given)
