"""A run that was stopped anywhere and gone on with ends with the very bits of a run that was not."""

import hashlib
import json
import os
import random
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.support.networks import exported
from tests.training_runs import Run, WarmParent, trained, when
from worker.training import checkpoint

pytestmark = pytest.mark.timeout(600)  # several runs in a test, and the machine may be busy

# Batch statistics, momentum, a schedule, an uneven last batch, and more weights than fit into DDP's first bucket.
SPEC: dict[str, Any] = {
    "dataset": {"kind": "builtin", "name": "digits", "validation_fraction": 0.5},
    "model": {"kind": "timm", "name": "test_resnet"},
    "augment": [
        {"kind": "random_crop", "size": [16, 16], "scale": [0.6, 1.0]},
        {"kind": "random_rotate", "degrees": 9},
    ],
    "training": {
        "epochs": 4,
        "batch_size": 36,
        "optimizer": {"kind": "adamw", "learning_rate": 0.003},
        "schedule": {"kind": "cosine", "warmup_epochs": 0.5},
    },
}
STEPS = 4 * 25
# Statistics of ranges that must go on where they were, codes, and a loss that has two parts.
METHODS = [
    {"kind": "saved_activations", "bits": 4},
    {"kind": "distillation", "job": "job_teacher"},
    {"kind": "quantization", "mode": "qat", "start": 0.25},
]
MIXING = [{"kind": "mixup"}, {"kind": "cutmix"}]
# An average and a best epoch's weights that must be carried along, and a count that ends the run after epoch 3 of 4.
OPTIONS = {
    "label_smoothing": 0.1,
    "max_gradient_norm": 0.5,
    "ema": {"decay": 0.95},
    "export_best": "val/loss",
    "early_stopping": {"metric": "val/accuracy", "patience": 2, "min_delta": 0.95},
}


def card(run: Run) -> dict[str, Any]:
    return dict(json.loads((run.folder / "artifacts/model.json").read_text()))


def spec(ranks: int) -> dict[str, Any]:
    return SPEC | {"distributed": {"kind": "ddp", "processes": ranks} if ranks > 1 else {"kind": "single"}}


@pytest.mark.parametrize(
    ("ranks", "precision", "mixing", "methods", "options"),
    [
        (1, "fp32", [], [], {}),
        pytest.param(1, "fp64", [], [], {}, marks=pytest.mark.slow),
        pytest.param(2, "fp32", [], [], {}, marks=pytest.mark.slow),  # also what the last two do, and more
        pytest.param(3, "fp32", [], [], {}, marks=pytest.mark.slow),
        (2, "fp32", MIXING, [], OPTIONS),
        (2, "fp32", [], METHODS, {}),
    ],
)
def test_a_run_stopped_at_random_steps_ends_with_the_weights_of_one_that_was_not(
    warm: WarmParent,
    tmp_path: Path,
    ranks: int,
    precision: str,
    mixing: list[dict[str, Any]],
    methods: list[dict[str, Any]],
    options: dict[str, Any],
) -> None:
    job = spec(ranks) | {"training": SPEC["training"] | {"precision": precision} | options}
    job |= {"augment": [*SPEC["augment"], *mixing], "compression": methods}
    teacher = exported(tmp_path / "earlier" / "artifacts") if methods else None
    often = {"TRAINYARD_COUNCIL_S": "0.03"}  # seconds between the ranks' agreements: more places to stop at
    whole = warm.run(job, tmp_path / "whole", meanwhile=trained(tmp_path / "whole"), teacher=teacher, **often)

    checkpoint, losses = None, {}
    for number in range(2):
        folder = tmp_path / f"part{number}"
        stop = when(folder, b'"metrics"', random.randint(1, STEPS // 4), lambda pid: os.kill(pid, signal.SIGTERM))
        part = warm.run(job, folder, checkpoint, stop, teacher=teacher, **often)
        assert part.exit_code == 75
        checkpoint = part.newest_checkpoint
        losses |= part.metric("train/loss")
    rest = warm.run(job, tmp_path / "rest", checkpoint, trained(tmp_path / "rest"), teacher=teacher, **often)

    assert 0 < len(rest.metric("train/loss")) < STEPS - 1
    assert losses | rest.metric("train/loss") == whole.metric("train/loss")
    assert rest.metric("val/loss").items() <= whole.metric("val/loss").items()
    assert hashlib.sha256(rest.weights).hexdigest() == hashlib.sha256(whole.weights).hexdigest()
    assert card(rest)["trained"] == card(whole)["trained"]
    assert card(rest)["trained"]["stopped_early"] == bool(options)


def test_the_size_of_pieces_is_remembered_and_they_are_added_in_the_same_order(
    warm: WarmParent, tmp_path: Path
) -> None:
    """With batch statistics, and in fp32, another cut would give other bits."""
    job, often = spec(2), {"TRAINYARD_COUNCIL_S": "0.03"}

    def run(name: str, source: Path | None, stop_after: int | None) -> Run:
        folder = tmp_path / name
        stop = when(folder, b'"metrics"', stop_after, lambda pid: os.kill(pid, signal.SIGTERM)) if stop_after else None
        return warm.run(job, folder, source, stop or trained(folder), **often)

    snapshot = checkpoint.load(run("first", None, 3).newest_checkpoint)
    snapshot.position.micro_batch = 7  # of 18 images a rank: as after running out of memory
    cut = tmp_path / "cut" / checkpoint.save(snapshot, tmp_path / "cut")["name"]

    whole = run("whole", cut, None)
    part = run("part", cut, 5)
    assert checkpoint.load(part.newest_checkpoint).position.micro_batch == 7
    assert run("rest", part.newest_checkpoint, None).weights == whole.weights
    assert run("uncut", tmp_path / "first/checkpoints" / cut.name, None).weights != whole.weights
