"""Several devices compute what one does, with batch statistics over all, in fp64; and both libraries end alike."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import frameworks
from tests.support.beside import needs_tensorflow
from tests.support.mirrored_runs import SPEC, done

pytestmark = [needs_tensorflow, pytest.mark.slow, pytest.mark.timeout(1800)]

TOLERANCE = 1e-8
"""Relative, of each step's loss: what is left is the order of sums."""


def spec(processes: int, batch_size: int) -> dict[str, Any]:
    """With augmented and mixed images, of which 898 are trained on."""
    mixed = [*SPEC["augment"], {"kind": "mixup"}]
    training = SPEC["training"] | {
        "epochs": 5,
        "batch_size": batch_size,
        "max_gradient_norm": 1.0,
        "label_smoothing": 0.1,
        "precision": "fp64",
    }
    network = {"kind": "keras_application", "name": "mobilenet_v2", "width": 0.35, "channels": 1}
    distributed = {"kind": "mirrored", "processes": processes, "sync_batchnorm": True}
    return SPEC | {"augment": mixed, "training": training, "model": network, "distributed": distributed}


@pytest.mark.parametrize(
    ("batch_size", "world"),
    [(60, 2), (64, 4)],
    ids=["an uneven end", "an end at which three of four devices have no sample"],
)
def test_the_loss_curve_of_several_devices_is_that_of_one(tmp_path: Path, batch_size: int, world: int) -> None:
    runs = [done(spec(processes, batch_size), tmp_path / str(processes)) for processes in (1, world)]
    assert [run.exit_code for run in runs] == [0, 0]
    one, two = (run.metric("train/loss") for run in runs)
    assert len(one) >= 70
    assert set(one) == set(two)
    np.testing.assert_allclose([two[step] for step in one], list(one.values()), rtol=TOLERANCE)
    accuracies = [run.metric("val/accuracy") for run in runs]
    assert accuracies[0] == accuracies[1]


@pytest.mark.timeout(3600)
def test_two_devices_end_where_two_processes_of_ddp_do(tmp_path: Path) -> None:
    """The same job but for the library, with one seed; `make bench ARGS=frameworks` has five."""
    found = {library: frameworks.accuracy(library, 0, tmp_path) for library in ("torch", "tensorflow")}
    assert min(found.values()) > 0.9
    assert abs(found["torch"] - found["tensorflow"]) <= frameworks.LIMIT, found
