"""What goes wrong in one rank of two: really stopped, looping, short of memory, spoilt, or told to end."""

import os
import resource
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from app.contract.events import CheckpointSaved, Noted, Stopped
from app.contract.failures import POLICY, FailureCode
from tests.training_runs import Run, WarmParent, when
from worker.training.finite import all_finite

SPEC: dict[str, Any] = {
    "dataset": {"kind": "builtin", "name": "digits"},
    "model": {"kind": "timm", "name": "test_resnet"},
    "augment": [{"kind": "resize", "size": [16, 16]}],
    "distributed": {"kind": "ddp", "processes": 2},
    "training": {"epochs": 1000, "batch_size": 64},  # none of these runs is to end by itself
}
OFTEN = {"TRAINYARD_COUNCIL_S": "0.05"}
METRICS = b'"type":"metrics"'


def last_rank(launcher: int) -> int:
    """The youngest child: ranks are forked in their order."""
    return max(int(each) for each in Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split())


def stop(pid: int) -> None:
    os.kill(last_rank(pid), signal.SIGSTOP)


def notes(run: Run, code: str) -> list[Noted]:
    return [event for event in run.events if isinstance(event, Noted) and event.code == code]


LOOP = """
import torch.nn.functional as F
whole, calls = F.cross_entropy, 0

def endless(*arguments, **options):
    global calls
    calls += 1
    while calls > 12 and os.environ["LOOPING"] == str(torch.distributed.get_rank()):
        pass
    return whole(*arguments, **options)

F.cross_entropy = endless
"""


@pytest.mark.parametrize("kind", ["stopped", "loop"])
def test_a_hang_ends_itself_with_the_stacks_of_all_ranks_and_the_job_is_tried_again(
    warm: WarmParent, tmp_path: Path, kind: str
) -> None:
    hang: dict[str, Callable[[int], None]] = {"stopped": when(tmp_path, METRICS, 1, stop), "loop": lambda _pid: None}
    code = {"TRAINYARD_TEST_CODE": LOOP, "LOOPING": "1"} if kind == "loop" else {}
    run = warm.run(SPEC, tmp_path, meanwhile=hang[kind], TRAINYARD_STALL_S="2", **code)
    assert run.exit_code == 1
    assert run.failure.code == "stalled"
    assert POLICY[FailureCode.STALLED].requeue
    for number in (0, 1):
        assert "most recent call first" in (tmp_path / f"logs/rank{number}.log").read_text(), number
    if kind == "loop":
        assert "in endless" in (tmp_path / "logs/rank1.log").read_text()


def test_a_rank_that_runs_out_of_memory_makes_all_go_on_with_smaller_pieces(warm: WarmParent, tmp_path: Path) -> None:
    """One of two alone is limited, in the middle of an epoch."""
    spec = SPEC | {
        "augment": [{"kind": "resize", "size": [64, 64]}],
        "training": {"epochs": 2, "batch_size": 128},
    }

    def limit(pid: int) -> None:
        resource.prlimit(last_rank(pid), resource.RLIMIT_DATA, (1, 1))  # no more than it has

    run = warm.run(
        spec, tmp_path, meanwhile=when(tmp_path, b'"checkpoint"', 1, limit), **OFTEN, TRAINYARD_CHECKPOINT_S="0"
    )
    assert run.exit_code == 0, run.events[-1]
    (halved,) = notes(run, "micro_batch_halved")
    assert halved.data == {"micro_batch": 32}
    assert "batch stays 128" in halved.message
    steps = list(run.metric("train/loss"))
    assert steps == list(range(1, len(steps) + 1))
    (resumed,) = notes(run, "resumed")
    assert resumed.data["step"] >= 1
    assert halved.message.endswith(f"Going on from training-{resumed.data['step']:08d}.")


def test_a_run_that_does_not_fit_at_all_ends_at_once_with_a_hint(warm: WarmParent, tmp_path: Path) -> None:
    spec = SPEC | {"augment": [{"kind": "resize", "size": [1024, 1024]}], "distributed": {"kind": "single"}}
    run = warm.run(spec | {"training": {"epochs": 1, "batch_size": 8}}, tmp_path, spare_bytes=120 << 20)
    assert run.exit_code == 1
    assert run.failure.code == "out_of_memory"
    assert not POLICY[FailureCode.OUT_OF_MEMORY].requeue
    assert "smaller batch_size, images or model" in run.failure.hint
    assert not run.metric("train/loss")


@pytest.fixture
def small_group() -> Iterator[Path]:
    """A memory control group for a process that may take next to nothing more."""
    root = Path("/sys/fs/cgroup")
    old = (root / "memory").is_dir()
    folder = root / ("memory" if old else "") / f"trainyard-test-{os.getpid()}"
    limit = folder / ("memory.limit_in_bytes" if old else "memory.max")
    try:
        folder.mkdir()
        limit.write_text(str(8 << 20))
    except OSError as error:
        pytest.skip(f"no memory control group can be made here: {error}")
    yield folder
    for _ in range(100):  # until the killed process has left it
        with suppress(OSError):
            folder.rmdir()
            break
        time.sleep(0.1)


def test_a_rank_that_the_kernel_kills_for_memory_is_tried_again_and_the_cause_is_named(
    warm: WarmParent, tmp_path: Path, small_group: Path
) -> None:
    def limit(pid: int) -> None:
        (small_group / "cgroup.procs").write_text(str(last_rank(pid)))

    spec = SPEC | {"augment": [{"kind": "resize", "size": [64, 64]}]}
    run = warm.run(spec, tmp_path, meanwhile=when(tmp_path, METRICS, 1, limit))
    assert run.exit_code == 1
    assert run.failure.code == "crashed"
    assert POLICY[FailureCode.CRASHED].requeue
    assert "rank1 was killed by SIGKILL, as the kernel does when memory runs out" in run.failure.message


def test_sigterm_to_every_process_saves_as_one_to_the_launcher_does(warm: WarmParent, tmp_path: Path) -> None:
    """As the end of a session or a shell's group has it."""

    def terminate_all(pid: int) -> None:
        for each in [*map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()), pid]:
            os.kill(each, signal.SIGTERM)

    run = warm.run(SPEC, tmp_path, meanwhile=when(tmp_path, METRICS, 3, terminate_all), **OFTEN)
    assert run.exit_code == 75
    last = run.events[-1]
    assert isinstance(last, Stopped)
    assert last.saved
    assert run.newest_checkpoint.name == f"training-{max(run.metric('train/loss')):08d}"


SPOILT = """
from worker.training import phase
whole = phase.all_finite
phase.all_finite = lambda tensors: torch.distributed.get_rank() == 0 and whole(tensors)
"""


def test_no_rank_saves_when_the_numbers_of_one_are_not_finite(warm: WarmParent, tmp_path: Path) -> None:
    """Running statistics are each rank's own: rank 0, which writes, cannot tell alone."""
    code = {"TRAINYARD_TEST_CODE": SPOILT, "TRAINYARD_CHECKPOINT_S": "0"}
    stop = when(tmp_path, METRICS, 5, lambda pid: os.kill(pid, signal.SIGTERM))
    run = warm.run(SPEC, tmp_path, meanwhile=stop, **OFTEN, **code)
    assert run.exit_code == 75
    last = run.events[-1]
    assert isinstance(last, Stopped)
    assert not last.saved
    assert not any(isinstance(event, CheckpointSaved) for event in run.events)
    assert list((tmp_path / "checkpoints").iterdir()) == []


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_statistics_and_moments_must_be_finite_as_weights_must(bad: float) -> None:
    good = {"model": {"weight": torch.ones(2), "batches": torch.ones(1, dtype=torch.int64)}, "state": [{"step": 3}]}
    assert all_finite(good)
    assert not all_finite(good | {"model": {"running_var": torch.tensor([1.0, bad])}})
    assert not all_finite(good | {"state": ({0: {"exp_avg": torch.tensor(bad)}},)})
    filters = torch.ones(2, 3, 4, 4).to(memory_format=torch.channels_last)
    assert all_finite(good | {"state": filters})
    filters[1, 2, 3, 3] = bad
    assert not all_finite(good | {"state": filters})
