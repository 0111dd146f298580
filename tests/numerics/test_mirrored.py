"""Two devices compute what one does, with batch statistics over all, in fp64; and both libraries end alike."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks import frameworks
from tests.support.beside import needs_tensorflow
from tests.support.mirrored_runs import SPEC, done

pytestmark = [needs_tensorflow, pytest.mark.slow, pytest.mark.timeout(1800)]

TOLERANCE = 1e-8
"""Relative, of each step's loss: what is left is the order of sums. Gradients' norms have ten times that."""

STEPS = 105
"""Seven epochs, each with its uneven end. At a rate of 1e-4 losses were 2e-13 apart at most; at 3e-3 training of this
network multiplies what rounding leaves, 2e-4 after 24 steps."""


def spec(processes: int) -> dict[str, Any]:
    """With an uneven end, augmented and mixed images."""
    mixed = [*SPEC["augment"], {"kind": "mixup"}]
    options = {"max_gradient_norm": 1.0, "label_smoothing": 0.1}
    training = SPEC["training"] | {"epochs": 7, "batch_size": 60, "precision": "fp64"} | options
    training["optimizer"] = {"kind": "adamw", "learning_rate": 1e-4}
    network = {"kind": "keras_application", "name": "mobilenet_v2", "width": 0.35, "channels": 1}
    distributed = {"kind": "mirrored", "processes": processes, "sync_batchnorm": True}
    return SPEC | {"augment": mixed, "training": training, "model": network, "distributed": distributed}


def test_the_loss_curve_of_two_devices_is_that_of_one(tmp_path: Path) -> None:
    one, two = (done(spec(processes), tmp_path / str(processes)) for processes in (1, 2))
    assert (one.exit_code, two.exit_code) == (0, 0)
    for name, tolerance in (("train/loss", TOLERANCE), ("train/gradient_norm", 10 * TOLERANCE)):
        assert len(one.metric(name)) == STEPS
        assert two.metric(name) == pytest.approx(one.metric(name), rel=tolerance)
    assert two.metric("val/accuracy") == one.metric("val/accuracy")
    losses = one.metric("train/loss")
    assert losses[STEPS] < 0.9 * losses[1], "it must have learned something, or equality shows little"


@pytest.mark.timeout(3600)
def test_two_devices_end_where_two_processes_of_ddp_do(tmp_path: Path) -> None:
    """The same job but for the library, with one seed; `make bench ARGS=frameworks` has five."""
    found = {library: frameworks.accuracy(library, 0, tmp_path) for library in ("torch", "tensorflow")}
    assert min(found.values()) > 0.9
    assert abs(found["torch"] - found["tensorflow"]) <= frameworks.LIMIT, found
