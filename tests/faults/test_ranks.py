"""What goes wrong in one rank of two, or where they meet: all end, the cause is told, the next run is unaffected.

Ranks that are killed, stopped, loop, spoil their numbers or run out of memory: tests/worker/training/test_launcher.py
and test_one_rank.py.
"""

import errno
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.contract.failures import POLICY
from tests.training_runs import Run, WarmParent, trained, warm

__all__ = ["warm"]

pytestmark = pytest.mark.timeout(600)

SPEC: dict[str, Any] = {
    "dataset": {"kind": "builtin", "name": "digits"},
    "model": {"kind": "timm", "name": "test_resnet"},
    "augment": [{"kind": "resize", "size": [16, 16]}],
    "distributed": {"kind": "ddp", "processes": 2},
    "training": {"epochs": 2, "batch_size": 256},
}

FIRST_STEP = """
from worker.training import loop
def spoilt(*arguments):
    if arguments[-1].rank == 1:
        raise ArithmeticError("the first step of rank 1")
    return whole(*arguments)
whole, loop._step = loop._step, spoilt
"""
EVALUATION = """
from worker.training import phase
def spoilt(*arguments):
    if arguments[2].rank == 1:
        raise ArithmeticError("the evaluation of rank 1")
    return whole(*arguments)
whole, phase.evaluate = phase.evaluate, spoilt
"""
CHECKPOINT = """
from worker.training import checkpoint
def spoilt(*arguments):
    raise ArithmeticError("the checkpoint of rank 0")
checkpoint.save = spoilt
"""
SNAPSHOT = """
from worker.training import state
def spoilt(site, trainee, **more):
    if site.ranks.rank == 1:
        raise ArithmeticError("the checkpoint of rank 1")
    return whole(site, trainee, **more)
whole, state.snapshot = state.snapshot, spoilt
"""
FAULTS = {
    "first step": (FIRST_STEP, 1, "the first step of rank 1"),
    "evaluation": (EVALUATION, 1, "the evaluation of rank 1"),
    "checkpoint": (CHECKPOINT, 0, "the checkpoint of rank 0"),
    "snapshot": (SNAPSHOT, 1, "the checkpoint of rank 1"),
}


def children(pid: int) -> list[int]:
    try:
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def watched(seen: set[int]) -> Callable[[int], None]:
    """Notes the processes of a run as long as it lasts."""

    def look(pid: int) -> None:
        while Path(f"/proc/{pid}/exe").exists():
            seen.update(children(pid))
            time.sleep(0.01)

    return look


def fails(warm: WarmParent, folder: Path, code: str, **environment: str) -> Run:
    """Runs with a fault; afterwards nothing is left running."""
    seen: set[int] = set()
    run = warm.run(SPEC, folder, meanwhile=watched(seen), TRAINYARD_TEST_CODE=code, **environment)
    assert run.exit_code == 1
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{pid}/exe").exists() for pid in seen):  # a planner dies with its launcher, a moment later
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return run


def assert_next_run_is_well(warm: WarmParent, folder: Path) -> None:
    next_run = warm.run(SPEC, folder, meanwhile=trained(folder))
    assert next_run.metric("val/accuracy")
    assert next_run.weights


@pytest.mark.parametrize("place", FAULTS)
def test_a_rank_that_raises_ends_all_with_its_message_and_its_stack_in_the_log(
    warm: WarmParent, tmp_path: Path, place: str
) -> None:
    code, rank, message = FAULTS[place]
    run = fails(warm, tmp_path / "spoilt", code)
    assert run.failure.code == "internal"
    assert message in run.failure.message
    log = (run.folder / f"logs/rank{rank}.log").read_text()
    assert "Traceback" in log
    assert "in spoilt" in log


NO_STORE = """
import torch.distributed as dist
def gone(*arguments, **options):
    if options["is_master"]:
        return os.close(options["master_listen_fd"])
    return whole(*arguments, **options)
whole, dist.TCPStore = dist.TCPStore, gone
"""


def test_a_store_that_vanishes_before_the_ranks_have_met_ends_the_attempt_which_is_tried_again(
    warm: WarmParent, tmp_path: Path
) -> None:
    run = fails(warm, tmp_path / "spoilt", NO_STORE)
    assert run.failure.code == "crashed"
    assert POLICY[run.failure.code].requeue
    logs = [path.read_text() for path in run.folder.glob("logs/rank*.log")]
    assert any("Traceback" in log for log in logs)  # the first that is refused ends the other
    assert_next_run_is_well(warm, tmp_path / "next")


PORT_TAKEN = """
import socket
def taken(address, **options):
    return whole((address[0], int(os.environ["PORT"])), **options)
whole, socket.create_server = socket.create_server, taken
"""


def test_without_a_port_to_meet_at_the_attempt_is_tried_again(warm: WarmParent, tmp_path: Path) -> None:
    """The kernel chooses a free one, so none is left at all."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        run = fails(warm, tmp_path, PORT_TAKEN, PORT=str(other.getsockname()[1]))
    assert run.failure.code == "crashed"
    assert POLICY[run.failure.code].requeue
    assert f"[Errno {errno.EADDRINUSE}]" in run.failure.message


@pytest.mark.slow
def test_a_rank_that_stops_after_its_start_is_waited_for_no_longer_than_the_spec_says(
    warm: WarmParent, tmp_path: Path
) -> None:
    """Long before the watchdog's 5 minutes. The stacks of all ranks are in their logs."""
    code = """
import signal
from worker.training import phase
def stopped(site, *arguments):
    if site.ranks.rank == 1:
        os.kill(os.getpid(), signal.SIGSTOP)
    return whole(site, *arguments)
whole, phase._trainee = phase._trainee, stopped
"""
    spec = SPEC | {"distributed": SPEC["distributed"] | {"timeout_s": 5}}
    run = warm.run(spec, tmp_path, TRAINYARD_TEST_CODE=code)
    assert run.exit_code == 1
    assert run.failure.code == "stalled"
    assert POLICY[run.failure.code].requeue
    assert "Traceback" in (tmp_path / "logs/rank0.log").read_text()
    assert "in stopped" in (tmp_path / "logs/rank1.log").read_text()
