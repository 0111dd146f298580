"""Ranks that divide the weights compute what one rank computes, in fp64, and go on from each other's checkpoints."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from app.contract.events import Noted, Planned, Succeeded
from tests.numerics.test_distributed import AUGMENT, FELT, MIXED, STEPS, assert_same_losses, seen, spec
from tests.numerics.test_distributed import trained_on as counted
from tests.numerics.test_ranks import TOLERANCE, assert_equal_weights
from tests.support.networks import exported
from tests.training_runs import Run, WarmParent, trained, when
from worker.training import checkpoint, parts

pytestmark = pytest.mark.timeout(600)  # several runs in a test, and the machine may be busy

BATCH, FEW = 132, 14
OPTIONS = {
    "label_smoothing": 0.1,
    "max_gradient_norm": 0.5,
    "ema": {"decay": 0.9},
    "export_best": "val/loss",
    "optimizer": {"kind": "adamw", "learning_rate": 0.003},
}


def job(ranks: int, steps: int = FEW, augment: list[dict[str, Any]] = MIXED, **options: Any) -> dict[str, Any]:
    """One rank is `ddp`'s; more divide the weights."""
    made = spec(ranks, BATCH, 2, augment, steps)
    made["training"] |= OPTIONS
    if ranks > 1:
        made["distributed"] |= {"kind": "fsdp", **options}
    return made


def stopped(warm: WarmParent, folder: Path, made: dict[str, Any]) -> Run:
    """After some steps, with a checkpoint."""
    stop = when(folder, b'"metrics"', 3, lambda pid: os.kill(pid, signal.SIGTERM))
    run = warm.run(made, folder, meanwhile=stop, TRAINYARD_COUNCIL_S="0.03")
    assert run.exit_code == 75
    return run


def assert_goes_on(whole: Run, first: Run, rest: Run) -> None:
    """With the curve of a run that was not stopped, and to its weights."""
    assert_same_losses(whole, rest)
    before, after = first.metric("train/loss"), rest.metric("train/loss")
    assert before
    assert before | after == pytest.approx(whole.metric("train/loss"), abs=TOLERANCE, rel=0)
    assert len(after) < len(before | after)
    assert_equal_weights(whole.weights, rest.weights, relative=TOLERANCE)


def kept(run: Run) -> list[float]:
    """The share of the weights that each rank keeps."""
    (told,) = [event for event in run.events if isinstance(event, Noted) and event.code == "weights_divided"]
    return [each / told.data["parameters"] for each in told.data["kept"]]


@pytest.fixture(scope="module")
def one(warm: WarmParent, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One rank."""
    return counted(warm, tmp_path_factory.mktemp("one") / "run", job(1))


def test_two_ranks_that_divide_the_weights_compute_what_one_does(warm: WarmParent, one: Run, tmp_path: Path) -> None:
    two = counted(warm, tmp_path / "two", job(2))
    assert_same_losses(one, two)
    assert len(two.metric("train/loss")) == len(one.metric("train/loss")) == FEW
    assert_equal_weights(one.weights, two.weights, relative=TOLERANCE)
    assert seen(two, 2) == seen(one, 1)
    norms = one.metric("train/gradient_norm")
    assert two.metric("train/gradient_norm") == pytest.approx(norms, abs=TOLERANCE, rel=0)
    assert sum(kept(two)) == pytest.approx(1)
    assert max(kept(two)) < 0.51


def test_one_rank_goes_on_from_what_two_wrote_a_part_of_each(warm: WarmParent, one: Run, tmp_path: Path) -> None:
    first = stopped(warm, tmp_path / "first", job(2))
    files = checkpoint.verify(first.newest_checkpoint)["files"]
    written = [files[parts.file_name(rank)]["size_bytes"] for rank in (0, 1)]
    assert written[1] == pytest.approx(written[0], rel=0.05)
    assert files["state.pt"]["size_bytes"] < 0.2 * sum(written)
    rest = warm.run(job(1), tmp_path / "rest", first.newest_checkpoint, trained(tmp_path / "rest"))
    assert_goes_on(one, first, rest)


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [(2, 3), (3, 2), (1, 2), (2, 2)])
def test_any_number_goes_on_from_any_other(warm: WarmParent, one: Run, tmp_path: Path, before: int, after: int) -> None:
    first = stopped(warm, tmp_path / "first", job(before))
    rest = warm.run(job(after), tmp_path / "rest", first.newest_checkpoint, trained(tmp_path / "rest"))
    assert_goes_on(one, first, rest)


@pytest.mark.slow
def test_ddp_goes_on_from_a_checkpoint_of_fsdp(warm: WarmParent, one: Run, tmp_path: Path) -> None:
    first = stopped(warm, tmp_path / "first", job(2))
    other = job(2)
    other["distributed"] |= {"kind": "ddp", "zero_optimizer": True}
    rest = warm.run(other, tmp_path / "rest", first.newest_checkpoint, trained(tmp_path / "rest"))
    assert_goes_on(one, first, rest)


@pytest.mark.slow
def test_a_stopped_run_of_as_many_ranks_is_the_same_bit_for_bit(warm: WarmParent, tmp_path: Path) -> None:
    made = job(2)
    made["training"] |= {"precision": "fp32"}
    whole = warm.run(made, tmp_path / "whole", meanwhile=trained(tmp_path / "whole"))
    first = stopped(warm, tmp_path / "first", made)
    rest = warm.run(made, tmp_path / "rest", first.newest_checkpoint, trained(tmp_path / "rest"))
    assert first.metric("train/loss") | rest.metric("train/loss") == whole.metric("train/loss")
    assert rest.weights == whole.weights


SAVED = [{"kind": "saved_activations", "bits": 8}]
TAUGHT = [{"kind": "distillation", "job": "job_teacher", "weight": 0.3, "temperature": 2.0}]
SPLIT = [{"kind": "depthwise_separable"}, {"kind": "activation_compression"}, {"kind": "channel_pruning"}]


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [2, 3])
@pytest.mark.parametrize(
    ("methods", "options"),
    [
        ([], {}),
        ([], {"reshard_after_forward": False}),
        (FELT, {}),
        (TAUGHT, {"reshard_after_forward": False}),
        (SPLIT, {}),
    ],
    ids=["plain", "kept", "computed twice and felt", "taught", "split and pruned"],
)
def test_every_number_of_ranks_gives_the_losses_weights_and_samples_of_one(
    warm: WarmParent, tmp_path: Path, ranks: int, methods: list[dict[str, Any]], options: dict[str, Any]
) -> None:
    teacher = exported(tmp_path / "earlier/artifacts") if methods is TAUGHT else None
    runs = []
    for number in (1, ranks):
        folder = tmp_path / str(number)
        made = job(number, STEPS, AUGMENT, **(options if number > 1 else {})) | {"compression": methods}
        runs.append(warm.run(made, folder, meanwhile=trained(folder), teacher=teacher))
    alone, several = runs
    assert_same_losses(alone, several)
    assert len(several.metric("train/loss")) == len(alone.metric("train/loss")) >= STEPS
    assert_equal_weights(alone.weights, several.weights, relative=TOLERANCE)
    assert max(kept(several)) < 1.1 / ranks


@pytest.mark.slow
def test_activations_in_fewer_bits_go_with_divided_weights(warm: WarmParent, tmp_path: Path) -> None:
    """They round what is divided among ranks, so the curves are near, not equal."""
    losses = []
    for ranks in (1, 2):
        folder = tmp_path / str(ranks)
        made = job(ranks, STEPS, AUGMENT) | {"compression": SAVED}
        run = warm.run(made, folder, meanwhile=trained(folder))
        losses.append(list(run.metric("train/loss").values()))
    assert losses[1][0] == pytest.approx(losses[0][0], abs=TOLERANCE)
    assert losses[1] == pytest.approx(losses[0], abs=0.1)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_whole_run_ends_with_a_verified_network_and_a_plan_that_needs_less(warm: WarmParent, tmp_path: Path) -> None:
    """With a network of 5 million weights, most of which stand in blocks; its baseline is trained first.

    The first rank evaluates 180 images in two batches, the second 179 in one: it has to compute along.
    """
    made = job(2)
    made |= {"model": {"kind": "timm", "name": "resnet10t"}, "baseline": {"kind": "train"}}
    made["training"] |= {"epochs": 1, "precision": "fp32", "batch_size": 358}
    made["dataset"]["validation_fraction"] = 0.2
    planned = []
    for kind in ("fsdp", "ddp"):
        made["distributed"] = {"kind": kind, "processes": 2}
        folder = tmp_path / kind
        run = warm.run(made, folder, meanwhile=(lambda _pid: None) if kind == "fsdp" else trained(folder))
        planned += [event.plan.memory_bytes for event in run.events if isinstance(event, Planned)]
        if kind == "fsdp":
            ended = run.events[-1]
            assert isinstance(ended, Succeeded)
            assert ended.report.verified
    assert planned[0] < planned[1]


PART = """
from pathlib import Path
from worker.training import part_saver
def spoilt(path, part):
    if path.name == "part-00001.pt":
        raise ArithmeticError("the part of rank 1")
    whole(path, part)
whole, part_saver._write_part = part_saver._write_part, spoilt
"""


@pytest.mark.slow
def test_a_rank_that_cannot_write_its_part_ends_the_run(warm: WarmParent, tmp_path: Path) -> None:
    run = warm.run(job(2), tmp_path / "run", TRAINYARD_TEST_CODE=PART)
    assert run.exit_code == 1
    assert run.failure.code == "internal"
    assert "the part of rank 1" in run.failure.message
    assert not list((tmp_path / "run/checkpoints").glob("training-*"))
