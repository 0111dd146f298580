"""A background task: a small program with a bound on time and memory, which sees no GPU, and its result."""

import asyncio
import contextlib
import logging
import os
import shutil
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from app.contract.datasets import ImportProgress
from app.contract.failures import Failure, FailureCode, failure
from app.contract.faults import Point, reach
from app.contract.work import ImportTask, PlanTask, TaskResult, TaskWork
from worker import environment, outcome, processes
from worker.launcher import Launcher, Start
from worker.server import Fenced, Refused, Server, patiently
from worker.settings import WorkerSettings
from worker.stop import Stop
from worker.together import beside

log = logging.getLogger(__name__)

WATCH_S = 0.1  # between two looks at the memory
TELL_S = 1.0  # between two looks at how far the program is
PROGRESS_BYTES = 1000
LARGEST_RESULT_BYTES = 8 << 20
RESULT = TypeAdapter(dict[str, Any])
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
MODULES = {"plan": "planning", "import": "data_check", "preview": "preview"}
NAMES = {"plan": "Planning", "import": "The data set's check", "preview": "The preview"}


class BackgroundTask:
    """A claimed task of this process. `folder` is its own and is removed behind it."""

    def __init__(self, work: TaskWork, server: Server, settings: WorkerSettings, folder: Path) -> None:
        self._work = work
        self._server = server
        self._settings = settings
        self._folder = folder
        self._out_of_memory = False
        self._may_be_taken = False
        self.stop = Stop()

    async def run(self) -> bool:
        """Do the work and hand over its result. False when this process was told to end first: the lease will end."""
        try:
            async with beside(self._hold_lease()):
                return await self._unless_stopped()
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)
            if not self._may_be_taken:
                self._forget_results()

    def _forget_results(self) -> None:
        """Nobody will ask for what this try wrote; where the data set is gone, nothing of it stays."""
        order = self._work.order
        if not isinstance(order, ImportTask) or order.results is None:
            return
        folder = Path(order.results)
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # not empty, or not there
            folder.parent.rmdir()
            folder.parent.parent.rmdir()

    async def _unless_stopped(self) -> bool:
        doing = asyncio.create_task(self._do())
        stopped = asyncio.create_task(self.stop.wished.wait())
        try:
            await asyncio.wait({doing, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if not doing.done():
                return False
            await doing
            return True
        finally:
            stopped.cancel()
            doing.cancel()
            await asyncio.gather(doing, return_exceptions=True)  # its program is killed before we go

    async def _do(self) -> None:
        result = await self._result()
        reach(Point.TASK_BEFORE_FINISH)
        try:
            await self._offer(result)
        except Refused as refusal:
            other = failure(FailureCode.INTERNAL, f"The service did not take the result: {refusal}")
            refused = TaskResult(token=self._work.token, failure=other)
            await patiently(lambda: self._server.task_finish(self._work, refused))

    async def _offer(self, result: TaskResult) -> None:
        """Until the service says no it may have taken the result, whatever ends us before its answer: a drain, or the
        answer to a heartbeat that was under way with the result and finds the task over."""
        self._may_be_taken = True
        try:
            await patiently(lambda: self._server.task_finish(self._work, result))
        except (Fenced, Refused):
            self._may_be_taken = False
            raise

    async def _result(self) -> TaskResult:
        try:
            launcher = self._launch()
        except OSError as error:
            reason = failure(FailureCode.INTERNAL, f"The task's program could not be started: {error}")
            return TaskResult(token=self._work.token, failure=reason)
        try:
            async with asyncio.timeout(self._timeout_s()), beside(self._watch_memory(launcher)):
                exit_code = await launcher.ended()
        except TimeoutError:
            return self._failed(FailureCode.TIMEOUT, f"it took longer than {self._timeout_s():g} s")
        finally:
            await launcher.end_group()
        return self._read(exit_code)

    def _launch(self) -> Launcher:
        self._folder.mkdir(parents=True, exist_ok=True)
        order = self._folder / "order.json"
        order.write_text(self._order_text())
        known = environment.for_task() | self._settings.cache_environment
        start = Start([str(order), str(self._folder / "result.json")], known, self._folder / "task.log")
        return Launcher.begin(self._program(), start)

    def _order_text(self) -> str:
        """The planning program reads a run order, like the run itself; the others read the whole task."""
        order = self._work.order
        return order.order.model_dump_json() if isinstance(order, PlanTask) else order.model_dump_json()

    def _program(self) -> list[str]:
        if self._settings.training_command:
            return [*self._settings.training_command, self._work.order.kind]
        order = self._work.order
        plans_apart = isinstance(order, PlanTask) and order.order.spec.framework == "tensorflow"
        package = "tensorflow" if plans_apart else "training"
        return [sys.executable, "-m", f"worker.{package}.{MODULES[order.kind]}"]

    def _timeout_s(self) -> float:
        importing = isinstance(self._work.order, ImportTask)
        return self._settings.import_timeout_s if importing else self._settings.plan_timeout_s

    async def _watch_memory(self, launcher: Launcher) -> None:
        """Kill the program when it holds too much. A limit on addresses (RLIMIT_AS) does not do: torch maps 10 GB."""
        while True:
            if sum(_resident_bytes(pid) for pid in processes.members(launcher.pid)) > self._memory_bytes:
                self._out_of_memory = True
                await launcher.end_group()
            await asyncio.sleep(WATCH_S)

    @property
    def _memory_bytes(self) -> int:
        return self._settings.task_memory_bytes

    async def _hold_lease(self) -> None:
        """Say that we are there, and more often how far the program is, while that changes."""
        last, told_s, heartbeat_s = None, time.monotonic(), self._work.lease_s / 6
        while True:
            await asyncio.sleep(min(TELL_S, heartbeat_s))
            progress = self._progress()
            if progress != last or time.monotonic() - told_s >= heartbeat_s:
                await patiently(partial(self._server.task_heartbeat, self._work, progress), heartbeat_s)
                last, told_s = progress, time.monotonic()

    def _progress(self) -> ImportProgress | None:
        try:
            with (self._folder / "progress.json").open("rb") as file:
                return ImportProgress.model_validate_json(file.read(PROGRESS_BYTES))
        except (OSError, ValueError):
            return None

    def _read(self, exit_code: int) -> TaskResult:
        if self._out_of_memory:
            limit_mb = self._memory_bytes >> 20
            return self._failed(FailureCode.OUT_OF_MEMORY, f"it needed more than {limit_mb} MiB of memory")
        with contextlib.suppress(OSError, ValueError):  # pydantic's errors are ValueErrors
            if exit_code == 0:
                return TaskResult(token=self._work.token, result=RESULT.validate_json(self._content()))
            if exit_code == 1:
                reason = Failure.model_validate_json(self._content())
                return TaskResult(token=self._work.token, failure=reason)
        return self._failed(FailureCode.CRASHED, f"it {outcome.describe(exit_code)}{self._last_words()}")

    def _content(self) -> bytes:
        with (self._folder / "result.json").open("rb") as file:
            return file.read(LARGEST_RESULT_BYTES)

    def _last_words(self) -> str:
        try:
            text = (self._folder / "task.log").read_text(errors="replace")
        except OSError:
            return ""
        return f". The end of its log:\n{text[-3500:]}" if text else ""

    def _failed(self, code: FailureCode, why: str) -> TaskResult:
        what = NAMES[self._work.order.kind]
        log.warning("%s failed: %s", what, why)
        self._forget_results()
        reason = failure(code, f"{what} failed: {why}")
        return TaskResult(token=self._work.token, failure=reason)


def _resident_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES
    except (OSError, IndexError):
        return 0
