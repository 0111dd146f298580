"""Any number of ranks computes what one rank computes, in fp64, where only a mistake can make a difference.

With batch statistics over all ranks, in several passes a step, at an end of the epoch that leaves a rank without
samples, and with every option that must not change the numbers.
"""

import json
import os
import signal
from collections import Counter
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pytest

from app.contract.events import Planned
from tests.numerics.test_ranks import TOLERANCE, assert_equal_weights
from tests.training_runs import Run, WarmParent, trained, when
from worker.training import checkpoint

pytestmark = pytest.mark.timeout(600)  # several runs in a test, and the machine may be busy

AUGMENT = [
    {"kind": "random_crop", "size": [16, 16], "scale": [0.6, 1.0]},
    {"kind": "random_rotate", "degrees": 9},
]
MIXED = [*AUGMENT, {"kind": "mixup"}, {"kind": "cutmix"}]
ALL_OPTIONS = {"zero_optimizer": True, "static_graph": True, "bucket_mb": 1}

# What each rank was trained on, step by step: the samples that count.
SEEN = """
import json
from worker.training import loop
whole = loop._accumulate

def told(trainee, share, ranks):
    own = [int(each) for portion in share.portions if portion.counts for each in portion.indices_N]
    with open(os.environ["SEEN"] + str(ranks.rank), "a") as file:
        file.write(json.dumps([trainee.position.epoch, own]) + chr(10))
    return whole(trainee, share, ranks)

loop._accumulate = told
"""

BY_GLOO = """
from worker.training.distributed import _shared_sum
_shared_sum.MOST_RANKS = 1
"""
"""Gradients as more ranks exchange them, or those that cannot share memory."""


STEPS = 100
SHORT = 45


def spec(
    ranks: int, batch_size: int, passes: int, augment: list[dict[str, Any]], steps: int = STEPS, **options: Any
) -> dict[str, Any]:
    """At least so many steps."""
    return {
        "dataset": {"kind": "builtin", "name": "digits", "validation_fraction": 0.5},
        "model": {"kind": "timm", "name": "test_resnet"},
        "augment": augment,
        "distributed": {
            "kind": "ddp",
            "processes": ranks,
            "gradient_accumulation": passes,
            "sync_batchnorm": True,
            **options,
        },
        "training": {
            "epochs": -(-steps // -(-898 // batch_size)),
            "batch_size": batch_size,
            "precision": "fp64",
            "optimizer": {"kind": "sgd", "learning_rate": 0.01},
        },
    }


def seen(run: Run, ranks: int) -> dict[int, Counter[int]]:
    """By epoch, how often each sample counted, over all ranks."""
    found: dict[int, Counter[int]] = {}
    for rank in range(ranks):
        for line in Path(f"{run.folder}.seen{rank}").read_text().splitlines():
            epoch, samples = json.loads(line)
            found.setdefault(epoch, Counter()).update(samples)
    return found


def trained_on(warm: WarmParent, folder: Path, job: dict[str, Any], code: str = "") -> Run:
    """A run to the end of its training. `code` is run in each rank before."""
    told = {"TRAINYARD_TEST_CODE": SEEN + code, "SEEN": f"{folder}.seen"}
    return warm.run(job, folder, meanwhile=trained(folder), **told)


def assert_same(ours: Run, theirs: Run, ranks: int) -> None:
    """The losses, weights and samples of one rank and of several."""
    assert_same_losses(ours, theirs)
    assert len(ours.metric("train/loss")) >= SHORT
    assert theirs.metric("train/loss").keys() == ours.metric("train/loss").keys()
    assert_equal_weights(ours.weights, theirs.weights, relative=TOLERANCE)
    samples = seen(ours, 1)
    assert seen(theirs, ranks) == samples
    images = train_images(ours)
    assert all(each == Counter(range(images)) for each in samples.values())


def assert_same_losses(ours: Run, theirs: Run) -> None:
    """Of the steps that the second made."""
    for name in ("train/loss", "train/accuracy", "train/learning_rate", "val/loss", "val/accuracy"):
        found, expected = theirs.metric(name), ours.metric(name)
        assert found
        assert found == pytest.approx({step: expected[step] for step in found}, abs=TOLERANCE, rel=0)


def train_images(run: Run) -> int:
    return next(event.plan.train_images for event in run.events if isinstance(event, Planned))


@pytest.fixture(scope="module")
def one(warm: WarmParent, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One rank, in two passes a step."""
    return trained_on(warm, tmp_path_factory.mktemp("one") / "run", spec(1, 64, 2, MIXED, SHORT))


def test_two_ranks_in_two_passes_with_all_options(warm: WarmParent, one: Run, tmp_path: Path) -> None:
    two = trained_on(warm, tmp_path / "two", spec(2, 64, 2, MIXED, SHORT, **ALL_OPTIONS))
    assert_same(one, two, ranks=2)
    losses = list(one.metric("train/loss").values())
    assert mean(losses[-10:]) < 0.9 * mean(losses[:10]), "it must have learned something, or equality shows little"


def test_a_rank_that_has_no_images_in_the_last_steps_computes_along(warm: WarmParent, tmp_path: Path) -> None:
    one, two = (spec(ranks, 4, 1, MIXED, SHORT) for ranks in (1, 2))
    for job in (one, two):  # statistics of 3 images blow rounding up tenfold a step, where weights move fast
        job["training"]["optimizer"] |= {"learning_rate": 1e-5}
    ours, theirs = trained_on(warm, tmp_path / "one", one), trained_on(warm, tmp_path / "two", two, BY_GLOO)
    assert_same(ours, theirs, ranks=2)
    assert (4 + train_images(ours) % 4) // 2 < 2 * 2, "or each rank has 2 images of its own"


def test_one_rank_goes_on_from_the_moments_that_two_had_divided(warm: WarmParent, one: Run, tmp_path: Path) -> None:
    """And has the losses of a run that was always one rank's."""
    folder = tmp_path / "divided"
    stop = when(folder, b'"metrics"', 3, lambda pid: os.kill(pid, signal.SIGTERM))
    job = spec(2, 64, 2, MIXED, SHORT, zero_optimizer=True)
    first = warm.run(job, folder, meanwhile=stop, TRAINYARD_COUNCIL_S="0.03")
    assert first.exit_code == 75
    state = checkpoint.load(first.newest_checkpoint).tensors["optimizer"]
    assert len(state["state"]) == sum(len(group["params"]) for group in state["param_groups"])

    rest = warm.run(
        spec(1, 64, 2, MIXED, SHORT), tmp_path / "rest", first.newest_checkpoint, trained(tmp_path / "rest")
    )
    assert_same_losses(one, rest)
    assert len(rest.metric("train/loss")) < len(one.metric("train/loss"))
    assert_equal_weights(one.weights, rest.weights, relative=TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize("augment", [AUGMENT, MIXED], ids=["plain", "mixed"])
@pytest.mark.parametrize("options", [{}, ALL_OPTIONS], ids=["default", "all"])
@pytest.mark.parametrize("passes", [1, 2])
@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_every_number_of_ranks_gives_the_losses_weights_and_samples_of_one(
    warm: WarmParent, tmp_path: Path, ranks: int, passes: int, options: dict[str, Any], augment: list[dict[str, Any]]
) -> None:
    batch_size = 66 if ranks == 3 else 64
    alone = trained_on(warm, tmp_path / "1", spec(1, batch_size, passes, augment))
    several = trained_on(warm, tmp_path / "2", spec(ranks, batch_size, passes, augment, **options))
    assert_same(alone, several, ranks)
    assert len(alone.metric("train/loss")) >= STEPS
    assert train_images(alone) % batch_size, "or the end is even"


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [2, 3])
def test_compressed_gradients_and_divided_moments_go_on_bit_for_bit(
    warm: WarmParent, tmp_path: Path, ranks: int
) -> None:
    """What powersgd left out so far is each rank's own."""
    job = spec(ranks, 66, 1, MIXED, gradient_compression="powersgd", zero_optimizer=True, bucket_mb=1)
    job["training"] |= {"precision": "fp32"}
    often = {"TRAINYARD_COUNCIL_S": "0.03"}
    whole = warm.run(job, tmp_path / "whole", meanwhile=trained(tmp_path / "whole"), **often)
    stop = when(tmp_path / "part", b'"metrics"', 20, lambda pid: os.kill(pid, signal.SIGTERM))
    part = warm.run(job, tmp_path / "part", meanwhile=stop, **often)
    snapshot = checkpoint.load(part.newest_checkpoint)
    assert len(snapshot.tensors["ranks"]) == ranks
    assert snapshot.tensors["ranks"][0]["step"] > 10, "or nothing was compressed yet"
    rest = warm.run(job, tmp_path / "rest", part.newest_checkpoint, trained(tmp_path / "rest"), **often)
    assert part.metric("train/loss") | rest.metric("train/loss") == whole.metric("train/loss")
    assert rest.weights == whole.weights


FELT = [{"kind": "checkpointing"}, {"kind": "quantization", "mode": "qat", "start": 0.5}]
PRUNED = [{"kind": "channel_pruning", "steps": 2, "ratio": 1.5, "round_to": 4}]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("methods", "options"),
    [(FELT, ALL_OPTIONS), (PRUNED, {"static_graph": True, "bucket_mb": 1})],
    ids=["computed twice and felt", "pruned on the way"],
)
def test_methods_that_take_part_in_training_compute_the_same_over_ranks(
    warm: WarmParent, tmp_path: Path, methods: list[dict[str, Any]], options: dict[str, Any]
) -> None:
    """Layers that are computed again exchange their statistics again; a pruned network is wrapped anew."""
    alone, two = (
        trained_on(warm, tmp_path / str(ranks), spec(ranks, 64, 2, AUGMENT, **more) | {"compression": methods})
        for ranks, more in ((1, {}), (2, options))
    )
    assert_same(alone, two, ranks=2)


SEEDS = range(5)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_in_fp32_accuracies_of_five_seeds_agree_within_their_spread(warm: WarmParent, tmp_path: Path) -> None:
    """Rounding parts the curves of 1 and 3 ranks; where they end is as far apart as seeds are."""

    def accuracy(ranks: int, seed: int) -> float:
        job = spec(ranks, 66, 1, AUGMENT)
        job["training"] |= {"precision": "fp32", "seed": seed, "epochs": 12}
        folder = tmp_path / f"{ranks}-{seed}"
        found = warm.run(job, folder, meanwhile=trained(folder)).metric("val/accuracy")
        return found[max(found)]

    one, three = ([accuracy(ranks, seed) for seed in SEEDS] for ranks in (1, 3))
    spread = stdev(one + three)
    assert 0.7 < mean(one) < 1
    assert 0 < spread < 0.1
    assert abs(mean(one) - mean(three)) <= 2 * spread * (2 / len(SEEDS)) ** 0.5
