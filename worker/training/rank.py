"""One training process: takes its seat, does the run, and tells the launcher why when it cannot."""

import logging
import os
from dataclasses import dataclass

import torch

from app.contract.work import RunOrder
from worker.training import causes, logs
from worker.training.allocation import keep_freed_memory
from worker.training.board import Board
from worker.training.distributed import Seat, connect
from worker.training.events import Reporter
from worker.training.memory import TooLarge
from worker.training.processes import STOPPED, STOPPED_UNSAVED
from worker.training.run import run
from worker.training.run_place import StopRun
from worker.training.site import Start

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Place:
    """What the launcher hands to every rank before it forks."""

    order: RunOrder
    board: Board
    start: Start
    port: int | None


def work(place: Place, number: int, pipe: int) -> int:
    """The body of rank `number`; its result is the process's exit code."""
    logs.to_stderr()
    reporter = Reporter(pipe, muted=number > 0)
    try:
        _run(place, number, reporter)
    except StopRun as stop:
        reporter.close()
        return STOPPED if stop.saved else STOPPED_UNSAVED
    except BaseException as error:
        log.exception("The rank cannot go on")
        reporter.fail(causes.explain(error), error.smaller if isinstance(error, TooLarge) else None)
        return 1
    reporter.close()
    return 0


def _run(place: Place, number: int, reporter: Reporter) -> None:
    world = place.order.processes
    threads = max(1, len(os.sched_getaffinity(0)) // world)
    device = _device(place.order, number)
    torch.set_num_threads(threads)
    keep_freed_memory()
    ranks = connect(place.order.spec.distributed, Seat(number, world, device, place.port))
    run(place.order, ranks, place.board, reporter, place.start, threads)
    ranks.close()


def _device(order: RunOrder, number: int) -> torch.device:
    """The rank's own device. On a GPU, results are made repeatable: a resumed run equals an uninterrupted one."""
    if order.device_kind == "cpu":
        return torch.device("cpu")
    device = torch.device("cuda", order.devices[number])
    torch.cuda.set_device(device)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    return device
