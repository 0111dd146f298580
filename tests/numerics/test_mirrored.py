"""Two devices compute what one does, with batch statistics over all, in fp64; and both libraries end alike."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks import frameworks
from tests.support.beside import needs_tensorflow
from tests.support.mirrored_runs import SPEC, done

pytestmark = [needs_tensorflow, pytest.mark.slow, pytest.mark.timeout(1800)]

TOLERANCE = 1e-8
"""Relative, of each step's loss: what is left is the order of sums."""


def spec(processes: int) -> dict[str, Any]:
    """With an uneven end, augmented and mixed images."""
    mixed = [*SPEC["augment"], {"kind": "mixup"}]
    options = {"max_gradient_norm": 1.0, "label_smoothing": 0.1}
    training = SPEC["training"] | {"epochs": 5, "batch_size": 60, "precision": "fp64"} | options
    network = {"kind": "keras_application", "name": "mobilenet_v2", "width": 0.35, "channels": 1}
    distributed = {"kind": "mirrored", "processes": processes, "sync_batchnorm": True}
    return SPEC | {"augment": mixed, "training": training, "model": network, "distributed": distributed}


def test_the_loss_curve_of_two_devices_is_that_of_one(tmp_path: Path) -> None:
    one, two = (done(spec(processes), tmp_path / str(processes)) for processes in (1, 2))
    assert (one.exit_code, two.exit_code) == (0, 0)
    losses = one.metric("train/loss")
    assert len(losses) >= 70
    assert two.metric("train/loss") == pytest.approx(losses, rel=TOLERANCE)
    assert two.metric("train/gradient_norm") == pytest.approx(one.metric("train/gradient_norm"), rel=TOLERANCE)
    assert two.metric("val/accuracy") == one.metric("val/accuracy")


@pytest.mark.timeout(3600)
def test_two_devices_end_where_two_processes_of_ddp_do(tmp_path: Path) -> None:
    """The same job but for the library, with one seed; `make bench ARGS=frameworks` has five."""
    found = {library: frameworks.accuracy(library, 0, tmp_path) for library in ("torch", "tensorflow")}
    assert min(found.values()) > 0.9
    assert abs(found["torch"] - found["tensorflow"]) <= frameworks.LIMIT, found
