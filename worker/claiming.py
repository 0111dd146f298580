"""The one thread of a worker that asks for work and starts supervisors for it.

It asks when it is nudged, when a supervisor ends (its devices are free), when the service says that a job is due, and
every 15 s in any case: so the broker may be down. It never holds a lease itself: stop it, kill it, start it again, and
what runs goes on.
"""

import asyncio
import logging
import shutil
import threading
from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from socket import gethostname

from app.contract.failures import FailureCode
from app.contract.faults import Point, reach
from app.contract.work import JobWork, TaskWork, WorkerInfo
from worker import extras, gpus, leftovers, outcome, processes, pulse, records, spare
from worker.clean_ground import set_aside
from worker.records import Record
from worker.server import Fenced, Gap, Nothing, Refused, Server, Unreachable
from worker.settings import WorkerSettings
from worker.spare import Spare

log = logging.getLogger(__name__)

MOST_RECOVERIES = 3
FIRST_PAUSE_S = 0.25  # a service that is just being started answers soon; it doubles from here
PACKAGES = ("trainyard", "torch", "timm", "tensorflow", "tensorflow-cpu")


class Claiming(threading.Thread):
    """Start it once per process. `nudge` may be called from anywhere, signal handlers included."""

    def __init__(self, settings: WorkerSettings) -> None:
        super().__init__(name="claiming", daemon=True)
        self._settings = settings
        self._nudged = threading.Event()
        self._stopped = threading.Event()
        self._watched: set[Path] = set()
        self._reached = True
        self._pause_s = settings.idle_ask_s
        self._spare = Spare(kept=settings.warm_start)

    def nudge(self) -> None:
        """There may be work: ask at once, or once more when it is asking now."""
        self._nudged.set()

    @property
    def stopping(self) -> bool:
        """Whether `stop` was called."""
        return self._stopped.is_set()

    def stop(self) -> None:
        """Claim nothing from now on. What is claimed already still gets its supervisor."""
        self._stopped.set()
        self._nudged.set()

    def run(self) -> None:
        """Look after what runs, ask until nothing fits, wait; until stopped."""
        while not self._stopped.is_set():
            self._nudged.clear()
            self._guarded(lambda: pulse.beat(self._settings))
            self._guarded(self.look_after)
            self._guarded(lambda: asyncio.run(self._claim_all()))
            self._spare.prepare_soon()
            self._nudged.wait(self._pause_s)
        self._spare.close()

    def look_after(self) -> None:
        """Watch every running supervisor of this worker, those of an earlier process too; revive dead ones' work."""
        for path, record in records.all_of(self._settings.records_dir, self._settings.worker_id).items():
            if path in self._watched:
                continue
            if records.running(path, record):
                if record.supervisor is not None:
                    self._watch(path, partial(processes.wait_for, record.supervisor))
            else:
                self._revive(path, record)

    def _revive(self, path: Path, record: Record) -> None:
        """A supervisor died without finishing: another one tells the service, so that no one waits for the lease."""
        if record.recoveries >= MOST_RECOVERIES or isinstance(record.work, TaskWork):
            log.error("%s is left to the end of its lease", path.stem)
            self._clear(path, record)
            return
        log.warning("the supervisor of %s died before its time: telling the service", path.stem)
        if record.supervisor is None:
            gone = processes.Identity(pid=0, start_ticks=0, boot="")
            records.write(path, record.model_copy(update={"supervisor": gone}))
        self._start_supervisor(path, record.work)

    def _clear(self, path: Path, record: Record) -> None:
        """Nothing of dead work may live on."""
        leftovers.end(record)
        shutil.rmtree(self._settings.run_dir / "tasks" / path.stem, ignore_errors=True)
        records.remove(path)

    async def _claim_all(self) -> None:
        info = _about_us(self._settings)
        async with Server(self._settings) as server:
            try:
                while not self._stopped.is_set():
                    work = await server.claim(info)
                    self._note_reached()
                    if isinstance(work, Nothing):
                        self._pause_s = min(self._pause_s, work.ask_again_s or self._pause_s)
                        return
                    await self._begin(work, server)
            except (Unreachable, Refused, Gap, Fenced) as error:
                self._note_unreached(error)

    async def _begin(self, work: JobWork | TaskWork, server: Server) -> None:
        name = records.name_of(work)
        path = self._settings.records_dir / f"{name}.json"
        reach(Point.CLAIMED_BEFORE_RECORD)
        try:
            if isinstance(work, JobWork):
                set_aside(Path(work.order.paths.run_dir))
            records.write(path, Record(worker=self._settings.worker_id, work=work))
            reach(Point.RECORDED_BEFORE_SPAWN)
            self._start_supervisor(path, work)
        except OSError as error:
            log.exception("no supervisor for %s", name)
            records.remove(path)
            if isinstance(work, JobWork):
                text = f"The worker could not start a supervisor: {error}"
                await server.finish(work, outcome.failed(work, FailureCode.LOST_WORKER, text))
            return
        log.info("claimed %s", name)

    def _start_supervisor(self, path: Path, work: JobWork | TaskWork) -> None:
        output = _supervisor_log(work, self._settings)
        output.parent.mkdir(parents=True, exist_ok=True)
        process = self._spare.take(path, output) or spare.start(path, output)
        reach(Point.SPAWNED_BEFORE_WATCH)
        self._watch(path, process.wait)

    def _watch(self, path: Path, wait: Callable[[], object]) -> None:
        """Notice the end of a supervisor at once. One thread each: few, and asleep."""
        self._watched.add(path)

        def until_ended() -> None:
            wait()
            self._watched.discard(path)
            self.nudge()

        threading.Thread(target=until_ended, name=f"watch {path.stem}", daemon=True).start()

    def _guarded(self, step: Callable[[], None]) -> None:
        """This thread must not die: whatever went wrong now may go well at the next try."""
        try:
            step()
        except Exception:
            log.exception("claiming failed; trying again in %g s", self._settings.idle_ask_s)

    def _note_reached(self) -> None:
        if not self._reached:
            log.info("the service answers again")
        self._reached = True
        self._pause_s = self._settings.idle_ask_s

    def _note_unreached(self, error: Exception) -> None:
        if self._reached:
            log.warning("the service cannot be asked for work: %s", error)
            self._pause_s = FIRST_PAUSE_S
        self._reached = False
        self._pause_s = min(self._pause_s * 2, self._settings.idle_ask_s)


def _about_us(settings: WorkerSettings) -> WorkerInfo:
    """Read anew at every claim: a GPU that fell out is not offered again."""
    devices = gpus.devices(settings.worker_slots)
    return WorkerInfo(
        id=settings.worker_id,
        host=gethostname()[:255],
        devices=devices,
        versions=_versions(),
        task_slots=settings.task_slots,
        extras=extras.usable(devices),
    )


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _supervisor_log(work: JobWork | TaskWork, settings: WorkerSettings) -> Path:
    """A job's supervisor writes among the logs of its run, where users see why it was stopped."""
    if isinstance(work, JobWork):
        return Path(work.order.paths.run_dir) / "logs" / "supervisor.log"
    return settings.home.expanduser() / "logs" / "tasks.log"
