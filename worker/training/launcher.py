"""Starts and watches the processes of a run, and writes how it ended. It trains nothing itself.

Order matters: the libraries are imported with a single thread and no operation is run, so that processes can be forked;
only then come the threads of the store at which the ranks meet. The store lives here because peers of a rank that
leaves first would hang if it lived there.
"""

import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import FrameType

import torch.distributed as dist

from app.contract.data import Builtin
from app.contract.events import Failed, Noted, PhaseBegun, Planned, Succeeded
from app.contract.events import Stopped as StoppedEvent
from app.contract.failures import POLICY, Failure, FailureCode
from app.contract.faults import Point, reach
from app.contract.report import Report
from app.contract.work import RunOrder
from worker.training import causes, checkpoint, data, gates, measuring, notes, planning, side_process
from worker.training.board import Board
from worker.training.errors import RunFailure
from worker.training.events import EventLog, Reporter
from worker.training.measuring import ORDER, PIPE, Measuring
from worker.training.memory import TooLarge
from worker.training.precision import refuse_unsupported
from worker.training.processes import DISK_FULL, STOPPED, Child, fork
from worker.training.rank import Place, work
from worker.training.site import Start
from worker.training.watch import Limits, Stopped, Watch
from worker.training.watchdog import START_FACTOR, Watchdog

SUCCEEDED, FAILED = 0, 1
PLAN_WAITS_S = 0.7
PREPARE_S = 6 * 3600.0
"""How long checking and decoding a data set may take: as long as its import."""

log = logging.getLogger(__name__)


def launch(order: RunOrder) -> int:
    """Do a run from beginning to end in `order.paths.run_dir`; returns the exit code, the last event says the same.

    Call it in a process with a single thread that has run no torch operation: it forks.
    """
    run_dir = Path(order.paths.run_dir)
    try:
        for name in ("logs", "checkpoints", "artifacts"):
            (run_dir / name).mkdir(parents=True, exist_ok=True)
        (run_dir / ORDER).write_text(order.model_dump_json(), encoding="utf-8")
    except OSError as error:
        if causes.full_disk(error):
            return DISK_FULL
        raise
    kind = _kind(order)
    launch = kind(order, run_dir, EventLog(run_dir / "events.jsonl"), Board(order.processes))
    with _stop_signals(launch.limits):
        return launch.to_the_end()


def _kind(order: RunOrder) -> "type[Launch]":
    if order.spec.framework == "torch":
        return Launch
    from worker.training.apart import ApartLaunch

    return ApartLaunch


@dataclass
class Launch:
    """One run under way."""

    order: RunOrder
    run_dir: Path
    events: EventLog
    board: Board
    limits: Limits = field(init=False)

    def __post_init__(self) -> None:
        left_s = self.order.time_left_s
        self.limits = Limits(self.board, None if left_s is None else time.monotonic() + left_s)

    def to_the_end(self) -> int:
        """The run, and its last line."""
        try:
            report = self._run()
        except Stopped as stop:
            reach(Point.SAVED_BEFORE_STOPPED)
            self.events.write(StoppedEvent, saved=stop.saved)
            return STOPPED
        except Exception as error:
            if not isinstance(error, RunFailure):
                log.exception("The launcher cannot go on")
            return self._tell(causes.explain(error))
        if missed := gates.missed(report):
            reach(Point.JUDGED_BEFORE_END)
            return self._tell(missed, report)
        artifacts = measuring.artifacts(self.run_dir)
        reach(Point.MEASURED_BEFORE_END)
        self.events.write(Succeeded, report=report, artifacts=artifacts)
        return SUCCEEDED

    def _tell(self, told: Failure, report: Report | None = None) -> int:
        """Write the last line; what a full disk holds of an unfinished checkpoint makes room for it.

        The exit code says it too, for there may be no room for a line.
        """
        checkpoint.remove_unfinished(self.run_dir / "checkpoints")
        kept = measuring.artifacts(self.run_dir) if POLICY[told.code].keeps_files else []
        try:
            self.events.write(Failed, failure=told, report=report, artifacts=kept)
        except OSError as error:
            log.error("%s (events.jsonl cannot say so: %s)", told.message, error)
            return DISK_FULL if causes.full_disk(error) else FAILED
        return DISK_FULL if told.code is FailureCode.DISK_FULL else FAILED

    def _run(self) -> Report:
        self.events.write(PhaseBegun, phase="planning")
        self._train(Start(self._resumed()))
        reach(Point.EXPORTED_BEFORE_MEASURE)
        self.events.write(PhaseBegun, phase="measuring")
        return Measuring(self.order, self.run_dir, self._run_program).report()

    def _train(self, start: Start) -> None:
        """Start the ranks, and again with fewer images at a time as long as they say that this may do."""
        import_module("torch._dynamo")  # DDP and the optimizers do when first used: once here, not in every rank

        planned = prepared = False
        while True:
            planner = None if planned else self._fork_beside("planner", "There is no plan", self._plan)
            try:
                if not prepared:
                    self._prepare(planner)
                    prepared = True
                return self._start_ranks(start, planner)
            except TooLarge as trouble:
                planned = planner is None or planner.exit_code == 0
                start = self._with_less(start, trouble)

    def _prepare(self, planner: Child | None) -> None:
        """Check and decode what is not kept from a time before, in a process of its own: it tells how far it is, and
        what it needs of memory is not the ranks'. Built-in sets are read by each rank in no time.
        """
        if isinstance(self.order.spec.dataset, Builtin):
            return
        preparer = self._fork_beside("data", "The data cannot be used", self._prepare_data)
        children = [planner, preparer] if planner else [preparer]
        patience = Watchdog(time.monotonic(), PREPARE_S / START_FACTOR)
        Watch(children, self.events, self.limits, patience, planner).until_ended(preparer)

    def _prepare_data(self, reporter: Reporter) -> None:
        """The body of the preparer."""
        data.prepare(self.order, notes.to(reporter))

    def _start_ranks(self, start: Start, planner: Child | None) -> None:
        """Fork the ranks, host the store, and wait for all; the planner works beside the first seconds of training."""
        world = self.order.processes
        reach(Point.PREPARED_BEFORE_FORK)
        with socket.create_server(("127.0.0.1", 0), backlog=world) as door:
            port: int = door.getsockname()[1]
            place = Place(self.order, self.board, start, port)
            ranks = [self._fork(f"rank{number}", _rank_body(place, number, door)) for number in range(world)]
            store = dist.TCPStore(  # type: ignore[attr-defined]
                "127.0.0.1", port, world, is_master=True, wait_for_workers=False, master_listen_fd=door.detach()
            )
        try:
            self._watch([planner, *ranks] if planner else ranks, Watchdog(time.monotonic()), planner)
        finally:
            del store  # its thread ends: from here on this process may fork again

    def _with_less(self, start: Start, trouble: TooLarge) -> Start:
        """After the ranks ran out of memory: from their last checkpoint, with fewer images at a time."""
        folder = self.run_dir / "checkpoints"
        checkpoint.remove_unfinished(folder)
        self.board.restart()
        found = checkpoint.newest_good(checkpoint.newest_first(folder))[0] or start.checkpoint
        message = (
            f"{trouble} All processes now take at most {trouble.smaller} at a time and add up the gradients; the batch "
            f"stays {self.order.spec.training.batch_size}. Going on from {found.name if found else 'the beginning'}."
        )
        data = {"micro_batch": trouble.smaller}
        self.events.write(Noted, level="warning", code="micro_batch_halved", message=message[-4000:], data=data)
        return Start(found, trouble.smaller)

    def _run_program(self, name: str, longest_s: float, command: list[str]) -> None:
        """See `measuring.Start`."""
        children = [self._fork(name, self._body(command))]
        Watch(children, self.events, self.limits, ends_s=time.monotonic() + longest_s).until_all_end()

    def _body(self, command: list[str]) -> Callable[[int], int]:
        """One of our programs needs no interpreter of its own: what it loads is loaded here."""
        return _own_program(*command[1:]) if command[0] == "-m" else program(command)

    def _watch(self, children: list[Child], watchdog: Watchdog | None = None, planner: Child | None = None) -> None:
        Watch(children, self.events, self.limits, watchdog, planner).until_all_end()

    def _fork(self, name: str, body: Callable[[int], int]) -> Child:
        return fork(name, self.run_dir / "logs" / f"{name}.log", body)

    def _fork_beside(self, name: str, trouble: str, body: Callable[[Reporter], None]) -> Child:
        return self._fork(name, lambda pipe: side_process.run(pipe, trouble, body))

    def _plan(self, reporter: Reporter) -> None:
        """The body of the planner: the plan as an event, or the failure that spares the ranks their work."""
        refuse_unsupported(self.order.spec.training.precision, self.order.device_kind)
        self._let_ranks_begin()
        reporter.send(Planned, plan=planning.make_plan(self.order))

    def _let_ranks_begin(self) -> None:
        """A plan takes 0.3 s of a processor. Where the ranks want them all, it waits a little for their first step.

        A data set that is being prepared is waited for no longer either.
        """
        if len(os.sched_getaffinity(0)) > self.order.processes:
            return
        deadline = time.monotonic() + PLAN_WAITS_S
        while not self.board.slowest() and time.monotonic() < deadline:
            time.sleep(0.02)

    def _resumed(self) -> Path | None:
        """What to go on from: the checkpoint ordered or the newest here; a damaged one gives way to the one before.

        Those that were ordered are known by rows; a folder is looked through only in a run by hand, where none is.
        """
        paths = self.order.paths
        older = [each for each in map(Path, paths.resume_older) if each.exists()]  # only the last are kept
        ordered = [Path(paths.resume), *older] if paths.resume else []
        found, problems = checkpoint.newest_good(ordered or checkpoint.newest_first(self.run_dir / "checkpoints"))
        if problems:
            where = f"going on from {found.name}" if found else "starting anew"
            message = f"Damaged checkpoints are passed over, {where}: {'; '.join(problems)}"[:4000]
            self.events.write(Noted, level="warning", code="checkpoint_damaged", message=message)
        return found


def _rank_body(place: Place, number: int, door: socket.socket) -> Callable[[int], int]:
    def body(pipe: int) -> int:
        door.close()  # the launcher's alone: a port that outlives it would keep clients waiting
        return work(place, number, pipe)

    return body


def _own_program(module: str, *arguments: str) -> Callable[[int], int]:
    """The body of a child that runs a module's `main`; to load the libraries anew would take it 4 s."""

    def body(pipe: int) -> int:
        found: int = import_module(module).main([str(pipe) if each == PIPE else each for each in arguments])
        return found

    return body


def program(command: list[str], *inherited: int) -> Callable[[int], int]:
    """The body of a child that becomes `python COMMAND`, which may use these descriptors."""

    def body(pipe: int) -> int:
        for descriptor in (pipe, *inherited):
            os.set_inheritable(descriptor, True)
        os.execv(sys.executable, [sys.executable, *(str(pipe) if each == PIPE else each for each in command)])

    return body


@contextmanager
def _stop_signals(limits: Limits) -> Iterator[None]:
    """SIGTERM, and Ctrl-C where a person runs it, are wishes to stop."""

    def wish(_number: int, _frame: FrameType | None) -> None:
        limits.signalled = True

    before = {number: signal.signal(number, wish) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
