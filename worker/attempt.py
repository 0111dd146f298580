"""One attempt at a job, from its start to the acknowledged finish: the run beside it, the service before it.

Everything that talks to the service repeats itself until it is heard, so that an outage costs the run nothing. The one
thing that ends an attempt from outside is `Fenced`: then the group is killed and nothing more is written.
"""

import asyncio
import contextlib
import errno
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from app.contract.failures import FailureCode
from app.contract.faults import Point, reach
from app.contract.work import Finish, HeartbeatReply, JobWork, ReportReply
from worker import environment, outcome
from worker.launcher import TRAINING, Launcher, Start
from worker.log_merge import LogMerge
from worker.server import Gap, Refused, Server, patiently
from worker.settings import WorkerSettings
from worker.spool import Spool
from worker.stop import Stop
from worker.together import beside
from worker.warm import client
from worker.warm.messages import address

log = logging.getLogger(__name__)

POLL_S = 0.25  # how late an event or a log line may be seen
BATCH_EVENTS = 1000
WISH_WAIT_S = 25.0
LAST_WORDS_S = 1.5  # under a drain: for reports and finish, when the service does not answer


class Attempt:
    """A running attempt of this process. `begun` hears of the launcher, so that it can be found from outside."""

    def __init__(
        self, work: JobWork, server: Server, settings: WorkerSettings, begun: Callable[[Launcher], None]
    ) -> None:
        self._work = work
        self._server = server
        self._settings = settings
        self._begun = begun
        self._run_dir = Path(work.order.paths.run_dir)
        self._spool = Spool(self._run_dir / "events.jsonl")
        self._logs = LogMerge(self._run_dir, work.attempt)
        self._over = asyncio.Event()
        self.stop = Stop()

    async def run(self) -> bool:
        """Do the work. True when the service has taken its end, False when it could not be told (drain)."""
        try:
            launcher = self._launch()
        except OSError as error:
            end = self._not_started(error)
            self._over.set()
            return await self._hand_over(lambda: end)
        try:
            return await self._supervise(launcher)
        finally:
            await launcher.end_group()

    async def conclude(self) -> bool:
        """Hand over what the run of a dead supervisor left behind: its events, then its end. Nothing of it may live."""
        self._over.set()
        return await self._hand_over(lambda: outcome.of_abandoned(self._work, self._spool.last), self._catch_up())

    def _launch(self) -> Launcher:
        self._run_dir.mkdir(parents=True, exist_ok=True)
        order_path = self._run_dir / "order.json"
        order_path.write_text(self._work.order.model_dump_json())
        order = self._work.order
        reach(Point.SUPERVISOR_BEFORE_LAUNCH)
        known = environment.for_run(order.device_kind, order.devices, self._work.traceparent)
        start = Start(
            [str(order_path), str(self._run_dir)],
            known | self._settings.cache_environment,
            self._run_dir / "logs" / "launcher.log",
        )
        launcher = self._begin(start)
        reach(Point.LAUNCHED_BEFORE_NAME)
        self._begun(launcher)
        reach(Point.NAMED_BEFORE_GO)
        launcher.go()
        return launcher

    def _begin(self, start: Start) -> Launcher:
        """Forked from the warm parent if the job wants that and there is one, else as a program of its own."""
        launcher: Launcher | None = None
        if self._settings.warms and self._work.order.spec.start == "warm":
            launcher = client.begin(address(self._settings.run_dir, self._settings.worker_id), start)
        if launcher is None:
            launcher = Launcher.begin(self._settings.training_command or TRAINING, start)
        log.info("started the run %s: process %d", "warm" if launcher.steward else "cold", launcher.pid)
        return launcher

    async def _supervise(self, launcher: Launcher) -> bool:
        async with beside(self._announce(), self._hear_wishes(), self._merge_logs(), self._report()):
            exit_code = await self._until_ended(launcher)
        log.info("the run %s, and nothing of it is left", outcome.describe(exit_code))
        reach(Point.GONE_BEFORE_REPORT)
        self._over.set()
        self._try_logs(self._logs.close)
        stopped = self.stop.wished.is_set()
        return await self._hand_over(lambda: outcome.of_run(self._work, self._spool.last, exit_code, stopped=stopped))

    async def _until_ended(self, launcher: Launcher) -> int:
        """Wait for the run, stop it when that is wished, and return when its group is gone."""
        exited = asyncio.create_task(launcher.ended())
        wished = asyncio.create_task(self.stop.wished.wait())
        try:
            await asyncio.wait({exited, wished}, return_when=asyncio.FIRST_COMPLETED)
            if not exited.done():
                reach(Point.STOP_BEFORE_SIGNAL)
                launcher.ask_to_stop()
            while not exited.done() and self.stop.left_s() > 0:
                await asyncio.wait({exited}, timeout=min(self.stop.left_s(), POLL_S))
            if not exited.done():
                log.warning("the run did not stop in time: killing it")
            await launcher.end_group()
            return await exited
        finally:
            wished.cancel()
            exited.cancel()

    async def _announce(self) -> None:
        """Say that the run has started, then hold the lease."""
        reach(Point.LAUNCHED_BEFORE_START)
        await patiently(lambda: self._server.start(self._work))
        reach(Point.STARTED_BEFORE_HEARTBEAT)
        await self._hold_lease()

    async def _hold_lease(self) -> None:
        while True:
            await asyncio.sleep(self._work.heartbeat_s)
            reach(Point.BEFORE_HEARTBEAT)
            self._heed(await patiently(lambda: self._server.heartbeat(self._work), self._work.heartbeat_s))

    async def _hear_wishes(self) -> None:
        while not self.stop.wished.is_set():
            asked = asyncio.get_running_loop().time()
            self._heed(await patiently(lambda: self._server.wish(self._work, WISH_WAIT_S)))
            # A service that does not wait must not be asked a thousand times a second.
            await asyncio.sleep(max(0.0, asked + 1 - asyncio.get_running_loop().time()))

    def _heed(self, reply: HeartbeatReply | ReportReply) -> None:
        if reply.stop is not None:
            self.stop.wish(f"the user wishes to {reply.stop.value}", self._work.grace_s)

    async def _merge_logs(self) -> None:
        while True:
            if self._try_logs(self._logs.step):
                await asyncio.sleep(0)  # a flood of lines must not hold up the heartbeats
            else:
                await self._pause()

    def _try_logs(self, step: Callable[[], bool]) -> bool:
        try:
            return step()
        except OSError as error:  # a full disk: the run itself will tell
            log.warning("log lines were lost: %s", error)
            return False

    async def _report(self) -> None:
        """Hand over events until the run is over and none is left."""
        while True:
            over = self._over.is_set()  # asked before reading: nothing is written after it
            batch = self._spool.batch(BATCH_EVENTS)
            if batch:
                await self._send()
            elif over:
                return
            if not over and not self._spool.more:
                await self._pause()

    async def _send(self, limit: int = BATCH_EVENTS) -> None:
        """Hand over one batch. One that is refused is sent piece by piece, down to the event that is to blame."""
        batch = self._spool.batch(limit)
        reach(Point.BEFORE_REPORT)
        try:
            reply = await patiently(lambda: self._server.report(self._work, batch))
        except Gap as gap:
            log.warning("sending the report again from where the service is: %s", gap)
            await self._catch_up()
            await asyncio.sleep(POLL_S)
        except Refused as refusal:
            log.error("a report was refused: %s", refusal)
            if len(batch) > 1:
                await self._send(len(batch) // 2)
            elif not self._spool.replace(batch[0].seq, str(refusal)):
                raise
        else:
            reach(Point.REPORTED_BEFORE_NOTED)
            self._spool.acknowledge(reply.acknowledged)
            self._heed(reply)

    async def _hand_over(self, end: Callable[[], Finish], first: Awaitable[None] | None = None) -> bool:
        """Report the rest and finish, holding the lease meanwhile."""
        async with beside(self._hold_lease()):
            return await self._within_drain(asyncio.create_task(self._tell(end, first)))

    async def _catch_up(self) -> None:
        """Find out what the service has already, and report from there."""
        await patiently(lambda: self._server.heartbeat(self._work), self._work.heartbeat_s)
        reply = await patiently(lambda: self._server.report(self._work, []))
        self._spool.rewind(reply.acknowledged)

    async def _tell(self, end: Callable[[], Finish], first: Awaitable[None] | None) -> None:
        if first is not None:
            await first
        await self._report()
        message = end()
        log.info("the attempt %s", message.outcome)
        reach(Point.ENDED_BEFORE_FINISH)
        try:
            await patiently(lambda: self._server.finish(self._work, message))
        except (Refused, Gap) as refusal:
            log.error("the end was refused: %s", refusal)
            text = f"The service did not take the end of the run: {refusal}"
            other = outcome.failed(self._work, FailureCode.INTERNAL, text)
            await patiently(lambda: self._server.finish(self._work, other))

    async def _within_drain(self, telling: "asyncio.Task[None]") -> bool:
        """Wait for `telling`: for ever, but only `LAST_WORDS_S` once this process was told to end."""
        drained = asyncio.create_task(self.stop.drained.wait())
        try:
            await asyncio.wait({telling, drained}, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait({telling}, timeout=LAST_WORDS_S)
            if telling.done():
                await telling
                return True
            log.warning("the service could not be told of the end: the next worker here will")
            return False
        finally:
            drained.cancel()
            telling.cancel()

    def _not_started(self, error: OSError) -> Finish:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        code = FailureCode.DISK_FULL if full else FailureCode.INTERNAL
        return outcome.failed(self._work, code, f"The run could not be started: {error}")

    async def _pause(self) -> None:
        """Wait for the next look at the files; no longer than to the end of the run."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._over.wait(), POLL_S)
