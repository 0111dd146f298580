"""A run whose batch does not fit into memory trains on smaller pieces of it, and computes the same."""

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from app.contract.events import Noted
from tests.training_runs import Run, WarmParent, trained
from worker.training import checkpoint

# GroupNorm: batch statistics are those of a piece, not of the batch. fp64: only a mistake can make a difference.
SPEC: dict[str, Any] = {
    "dataset": {"kind": "builtin", "name": "digits"},
    "model": {"kind": "timm", "name": "test_efficientnet_gn"},
    "augment": [{"kind": "resize", "size": [40, 40]}],
    "training": {
        "epochs": 2,
        "batch_size": 600,
        "precision": "fp64",
        "optimizer": {"kind": "sgd", "learning_rate": 0.05},
    },
}
SPARE_BYTES = 230 << 20
"""A step of 300 images takes about 390 MiB; what the libraries take at their first use goes from it too."""


def spec(ranks: int) -> dict[str, Any]:
    """300 images a rank, and at least 3 steps, whatever the number of ranks."""
    training = SPEC["training"] | {"batch_size": 300 * ranks, "epochs": ranks}
    return SPEC | {
        "training": training,
        "distributed": {"kind": "ddp", "processes": ranks} if ranks > 1 else {"kind": "single"},
    }


def halvings(run: Run) -> list[int]:
    notes = [event for event in run.events if isinstance(event, Noted)]
    return [note.data["micro_batch"] for note in notes if note.code == "micro_batch_halved"]


@pytest.mark.parametrize("ranks", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_pieces_give_the_losses_and_weights_of_the_whole_batch(warm: WarmParent, tmp_path: Path, ranks: int) -> None:
    whole, cut = (
        warm.run(spec(ranks), tmp_path / name, meanwhile=trained(tmp_path / name), spare_bytes=spare_bytes)
        for name, spare_bytes in (("whole", None), ("cut", SPARE_BYTES))
    )
    sizes = halvings(cut)
    assert halvings(whole) == []
    assert sizes
    assert sizes == [150, 75, 38, 19, 10, 5, 3, 2, 1][: len(sizes)]
    for name in ("train/loss", "train/accuracy", "train/learning_rate", "val/loss", "val/accuracy"):
        assert cut.metric(name) == pytest.approx(whole.metric(name), abs=1e-10, rel=0)
    ours, theirs = safetensors.torch.load(whole.weights), safetensors.torch.load(cut.weights)
    for name, weight in ours.items():
        torch.testing.assert_close(weight, theirs[name], atol=1e-10, rtol=0)
    assert checkpoint.load(cut.newest_checkpoint).position.micro_batch == sizes[-1]


@pytest.mark.slow
def test_ranks_that_divide_the_weights_evaluate_as_many_images_as_they_have_memory_for(
    warm: WarmParent, tmp_path: Path
) -> None:
    """4 images of a step take about 40 MiB on a rank; 128, as many as others score at a time, some 600 without it."""
    made = SPEC | {
        "dataset": SPEC["dataset"] | {"validation_fraction": 0.5},
        "augment": [{"kind": "resize", "size": [160, 160]}],
        "training": SPEC["training"] | {"epochs": 1, "batch_size": 8, "precision": "fp32"},
        "distributed": {"kind": "fsdp", "processes": 2},
    }
    run = warm.run(made, tmp_path, meanwhile=trained(tmp_path), spare_bytes=300 << 20)
    assert halvings(run) == []
    assert len(run.metric("val/loss")) == 1
