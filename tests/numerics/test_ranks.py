"""Two ranks compute what one rank computes: in fp64, where only a mistake can make a difference."""

import math
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from app.contract.events import Planned
from tests.support.networks import exported
from tests.training_runs import Run, WarmParent, trained

pytestmark = pytest.mark.timeout(600)  # several runs in a test, and the machine may be busy

# GroupNorm instead of batch statistics, which depend on how a batch is divided among ranks.
SPEC: dict[str, Any] = {
    "dataset": {"kind": "builtin", "name": "digits", "validation_fraction": 0.5},
    "model": {"kind": "timm", "name": "test_efficientnet_gn"},
    "augment": [
        {"kind": "random_crop", "size": [16, 16], "scale": [0.6, 1.0]},
        {"kind": "random_rotate", "degrees": 9},
    ],
    "training": {
        "epochs": 4,
        "batch_size": 36,
        "precision": "fp64",
        "optimizer": {"kind": "adamw", "learning_rate": 0.003},
    },
}
TOLERANCE = 1e-8


# Shares of 17 images part the pairs that are mixed between ranks and between steps.
MIXED = SPEC | {
    "augment": [*SPEC["augment"], {"kind": "mixup"}, {"kind": "cutmix"}],
    "training": SPEC["training"] | {"batch_size": 34},
}

# Gradients are clipped as those of the whole batch, and the average is taken of the same weights on every rank.
OPTIONS = SPEC | {
    "training": SPEC["training"] | {"max_gradient_norm": 0.1, "ema": {"decay": 0.95}, "label_smoothing": 0.1}
}

# A teacher of random weights, and ranges that the ranks must agree on: 1 rank's in 2 halves.
TAUGHT = MIXED | {
    "compression": [
        {"kind": "checkpointing"},
        {"kind": "distillation", "job": "job_teacher", "weight": 0.3, "temperature": 2.0},
        {"kind": "quantization", "mode": "qat", "start": 0.5},
    ]
}


def spec(base: dict[str, Any], ranks: int) -> dict[str, Any]:
    return base | {"distributed": {"kind": "ddp", "processes": ranks} if ranks > 1 else {"kind": "single"}}


@pytest.mark.parametrize(
    ("base", "learned"),
    [
        pytest.param(SPEC, 0.8, id="plain", marks=pytest.mark.slow),  # the last one does it with more
        pytest.param(MIXED, 0.95, id="mixed", marks=pytest.mark.slow),  # test_distributed mixes too
        pytest.param(TAUGHT, 0.95, id="taught", marks=pytest.mark.slow),  # 50 s of a processor
        pytest.param(OPTIONS, 0.95, id="options"),
    ],
)
def test_two_ranks_give_the_losses_and_weights_of_one_rank(
    warm: WarmParent, tmp_path: Path, base: dict[str, Any], learned: float
) -> None:
    folders = [tmp_path / str(ranks) for ranks in (1, 2)]
    teacher = exported(tmp_path / "earlier" / "artifacts") if base is TAUGHT else None
    one, two = (
        warm.run(spec(base, n), folder, meanwhile=trained(folder), teacher=teacher)
        for n, folder in enumerate(folders, start=1)
    )
    assert_last_batch_is_uneven(one, base["training"]["batch_size"])
    for name in ("train/loss", "train/accuracy", "train/learning_rate", "val/loss", "val/accuracy"):
        expected = one.metric(name)
        assert len(expected) >= 4
        assert two.metric(name) == pytest.approx(expected, abs=TOLERANCE, rel=0)
    taught = one.metric("train/distillation_loss")
    assert len(taught) == (len(one.metric("train/loss")) if teacher else 0)
    assert two.metric("train/distillation_loss") == pytest.approx(taught, abs=TOLERANCE, rel=0)
    norms = one.metric("train/gradient_norm")
    assert len(norms) == (len(one.metric("train/loss")) if base is OPTIONS else 0)
    assert two.metric("train/gradient_norm") == pytest.approx(norms, abs=TOLERANCE, rel=0)
    assert all(norm > 0.1 for norm in norms.values()), "or nothing was clipped"
    losses = one.metric("train/loss")
    assert len(losses) >= 100
    assert losses[len(losses)] < learned * math.log(10), "it must have learned something, or equality shows little"
    assert_equal_weights(one.weights, two.weights)


def assert_last_batch_is_uneven(run: Run, batch_size: int) -> None:
    plan = next(event.plan for event in run.events if isinstance(event, Planned))
    shared = batch_size + plan.train_images % batch_size
    assert shared % 2 == 1, "or the ranks would have equal shares of the last two batches"


def assert_equal_weights(one: bytes, two: bytes, relative: float = 0.0) -> None:
    """`relative`: for running statistics, which may be in the thousands."""
    ours, theirs = safetensors.torch.load(one), safetensors.torch.load(two)
    assert ours.keys() == theirs.keys()
    for name, weight in ours.items():
        assert weight.dtype in (torch.float64, torch.int64)  # batch normalisation counts its batches
        torch.testing.assert_close(weight, theirs[name], atol=TOLERANCE, rtol=relative)
