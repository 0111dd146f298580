"""Jobs that are paused and resumed while something befalls them. While they rest, nothing of them runs or is held."""

import os
import signal
from collections.abc import Callable
from typing import Any

from app.contract.faults import Point
from tests.faults import crossings
from tests.faults.scenarios import FINAL, SLOW_MS, JobScenario, Scenario, Training, freeze
from tests.faults.settled import check_idle

GONE_ON = 409  # to a resume that was not answered the first time: the job has succeeded meanwhile


class Pause(JobScenario):
    """A job that is paused while it runs, rests, and then goes on to its success."""

    every_ms = 4 * SLOW_MS
    steps = 40  # 40 s: longer than any trouble keeps the pause from being heard

    def begin(self) -> None:
        """Submit it, and pause it when it runs."""
        super().begin()
        self._job = self.submitted()
        self.when(self._job, "running")
        self._ask(f"/v1/jobs/{self._job}/pause")

    def end(self) -> None:
        """It rests; resumed, it makes every step that is left."""
        if self._rests():
            self._ask(f"/v1/jobs/{self._job}/resume")
            self._answer()
        self.check(self._over(self._job))

    def _rests(self) -> bool:
        """Wait until its client is answered and it has given back all that it held. False: a full disk has ended it."""
        answer = self._told()
        assert answer.is_success or self.full, answer.text
        self.yard.until(lambda: self._state() in {"paused", *FINAL}, f"{self._job} is paused")
        check_idle(self.yard)
        if self.full and self._state() != "paused":
            return False
        assert self._state() == "paused"
        # slow until now, whichever attempt it is: one that was lost to a busy machine must not end before it is paused
        (self.yard.folder / "data" / "storage" / "jobs" / self._job / "quick").touch()
        return True

    def _state(self) -> str:
        return str(self.yard.get(f"/v1/jobs/{self._job}")["state"])


class FrozenPause(Pause):
    """Its supervisor stands still for longer than its lease, and has not heard of the pause."""

    def begin(self) -> None:
        """Freeze it when the job runs, and pause the job then."""
        JobScenario.begin(self)
        self._job = self.submitted()
        self.when(self._job, "running")
        self._supervisor = freeze(self.yard)
        self._ask(f"/v1/jobs/{self._job}/pause")

    def end(self) -> None:
        """The thawed one finds itself fenced: the job is paused without it."""
        os.kill(self._supervisor, signal.SIGCONT)
        super().end()


class Resume(Pause):
    """Paused without trouble; the point is armed before it is resumed."""

    def meet(self, point: Point) -> None:
        """Bring it to rest, and ask for it to go on."""
        self.begin()
        assert self._rests()
        self.yard.arm(point)
        self._ask(f"/v1/jobs/{self._job}/resume")

    def end(self) -> None:
        """It went on, whether its client heard so at the first time or not."""
        answer = self._told()
        assert answer.is_success or (answer.status_code, answer.json()["state"]) == (GONE_ON, "succeeded"), answer.text
        self.check(self._over(self._job))


class PausedTraining(Training, Pause):
    """A job of the real training program: wherever it is paused, it comes to the same losses."""

    epochs = 12  # the pause is heard by the end of the second or third; more take minutes on a busy machine
    _first: dict[str, Any] = {}  # noqa: RUF012  (shared by all: every run must train the same network)

    def when(self, job_id: str, state: str) -> None:
        """It runs when it has saved something."""
        saved = f"/v1/jobs/{job_id}/checkpoints"
        self.yard.until(lambda: self.yard.get(saved)["items"], f"{job_id} has a checkpoint")


PAUSING: dict[str, Callable[..., Scenario]] = {
    crossings.PAUSE: Pause,
    crossings.RESUME: Resume,
    crossings.FROZEN_PAUSE: FrozenPause,
    crossings.PAUSED_TRAINING: PausedTraining,
}
