"""The three children of `serve`: what an earlier run left of them, their start in order, their restarts, their end."""

import json
import time
from collections.abc import Callable
from pathlib import Path

from app.cli.broker import Broker
from app.cli.exits import CommandFailed
from app.cli.processes import Child, Identity, PidFile, alive, end

READY_S = 60.0  # a database that must be migrated, on a slow disk
STOP_S = 15.0  # what `serve` promises
TICK_S = 0.1
BACKOFF_S = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
SETTLED_S = 60.0  # a child that ran so long is restarted at once when it dies
# With a drain of 10 s these make less than 15 s together, however badly each behaves.
WORKER_EXTRA_S = 2.5  # for the last words of supervisors that had to be killed
API_STOP_S = 1.5
BROKER_STOP_S = 0.7
# A leftover worker is killed, not asked: asked to stop, it would drain its running attempts, and those must live on.
LEFTOVER_GRACE_S = {"worker": 0.0, "api": 5.0, "broker": 5.0}

Ready = Callable[[], bool]
Tell = Callable[[str], None]


def end_leftover(run_dir: Path, name: str) -> bool:
    """End the child that an earlier `serve` of this home left behind. Whether there was one."""
    pid_file = PidFile(run_dir / f"{name}.pid")
    who = pid_file.living()
    if who:
        end(who, LEFTOVER_GRACE_S[name])
    pid_file.remove()
    return who is not None


def end_everything(run_dir: Path) -> None:
    """End what a home has running, attempts included: for a home that is to be thrown away."""
    serve = PidFile(run_dir / "serve.pid").living()
    if serve:
        end(serve, STOP_S)
    for name in LEFTOVER_GRACE_S:
        end_leftover(run_dir, name)
    for who in living_attempts(run_dir).values():
        end(who, 0.0)


def end_strange_broker(broker: Broker) -> None:
    """A broker on our socket that no file knows of: two servers on one append-only file would spoil it."""
    if broker.answers():
        broker.say("SHUTDOWN")


class Kept:
    """A child that is started again when it dies."""

    def __init__(self, child: Child, ready: Ready, tell: Tell) -> None:
        self.child = child
        self._ready = ready
        self._tell = tell
        self._started_at = 0.0
        self._again_at: float | None = None
        self._failures = 0

    @property
    def name(self) -> str:
        """`broker`, `api` or `worker`."""
        return self.child.name

    def start(self, stopping: Callable[[], bool]) -> None:
        """Start it and wait until it is ready, or until we are asked to stop. Raises `CommandFailed`."""
        self._start()
        deadline = time.monotonic() + READY_S
        while not self._ready() and not stopping():
            if not self.child.running or time.monotonic() > deadline:
                raise CommandFailed(self._not_ready_block())
            time.sleep(TICK_S)

    def look(self) -> None:
        """Start it again when it is gone, at once or after a pause that grows while it dies young."""
        now = time.monotonic()
        if self.child.running:
            return
        if self._again_at is None:
            self._failures = 0 if now - self._started_at > SETTLED_S else self._failures + 1
            pause_s = BACKOFF_S[min(self._failures, len(BACKOFF_S)) - 1] if self._failures else 0.0
            self._again_at = now + pause_s
            again = f"starting it again in {pause_s:.0f} s" if pause_s else "starting it again"
            self._tell(f"{self.name} {self.child.ending()}; {again} (log: {self.child.log})")
        if now >= self._again_at:
            self._start()

    def _start(self) -> None:
        self._again_at = None
        self._started_at = time.monotonic()
        self.child.start()

    def _not_ready_block(self) -> str:
        fate = "does not get ready" if self.child.running else self.child.ending()
        tail = "\n".join(f"  | {line}" for line in self.child.tail())
        return f"{self.name} {fate}. The end of {self.child.log}:\n{tail}"


class Yard:
    """The children in the order of their start. `signals` counts the stops that were asked for so far."""

    def __init__(self, kept: list[Kept], run_dir: Path, signals: Callable[[], int], tell: Tell) -> None:
        self._kept = kept
        self._run_dir = run_dir
        self._signals = signals
        self._tell = tell

    def start(self) -> None:
        """Start all, each when the one before is ready. Raises `CommandFailed` when one cannot be started."""
        for kept in self._kept:
            if not self._signals():
                kept.start(lambda: self._signals() > 0)

    def keep_running(self) -> None:
        """Until the first signal."""
        while not self._signals():
            for kept in self._kept:
                kept.look()
            time.sleep(TICK_S)

    def stop(self, drain_s: float) -> None:
        """The worker first, which lets running jobs save; then whoever it speaks to. A second signal hurries."""
        limits_s = {"worker": drain_s + WORKER_EXTRA_S, "api": API_STOP_S, "broker": BROKER_STOP_S}
        for kept in reversed(self._kept):
            self._stop_one(kept, limits_s[kept.name])
            if kept.name == "worker":
                self._end_attempts()

    def _stop_one(self, kept: Kept, limit_s: float) -> None:
        kept.child.ask_to_stop()
        deadline = time.monotonic() + limit_s
        while kept.child.running and time.monotonic() < deadline and self._signals() < 2:
            time.sleep(TICK_S)
        kept.child.kill()

    def _end_attempts(self) -> None:
        """Those that did not end in their time: killed, their jobs go on from the last checkpoint at the next start."""
        for name, who in living_attempts(self._run_dir).items():
            self._tell(f"{name} did not stop in time and was killed; it goes on from its last checkpoint")
            end(who, 0.0)


def living_attempts(run_dir: Path) -> dict[str, Identity]:
    """The supervisors of running attempts, by `<job>-<attempt>`, from the records that the worker keeps."""
    found = {}
    for path in sorted((run_dir / "attempts").glob("*.json")):
        try:
            who = Identity(**json.loads(path.read_text())["supervisor"])
        except (OSError, ValueError, TypeError, KeyError):
            continue
        if alive(who):
            found[path.stem] = who
    return found


def port_of(run_dir: Path) -> int | None:
    """The port of the API that an earlier run of this home left, by its `api.json`."""
    from urllib.parse import urlsplit

    try:
        return urlsplit(str(json.loads((run_dir / "api.json").read_text())["url"])).port
    except (OSError, ValueError, TypeError, KeyError):
        return None
