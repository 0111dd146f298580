"""Two devices compute what one does: MirroredStrategy with synchronised batch normalisation, in fp64."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.beside import needs_tensorflow
from tests.support.mirrored_runs import SPEC, done

pytestmark = [needs_tensorflow, pytest.mark.slow, pytest.mark.timeout(1800)]

TOLERANCE = 1e-8
"""Relative, of each step's loss: what is left is the order of sums."""


def spec(processes: int) -> dict[str, Any]:
    """With an uneven end, augmented and mixed images."""
    mixed = [*SPEC["augment"], {"kind": "mixup"}]
    training = SPEC["training"] | {"epochs": 5, "batch_size": 60, "precision": "fp64"}
    network = {"kind": "keras_application", "name": "mobilenet_v2", "width": 0.35, "channels": 1}
    distributed = {"kind": "mirrored", "processes": processes, "sync_batchnorm": True}
    return SPEC | {"augment": mixed, "training": training, "model": network, "distributed": distributed}


def test_the_loss_curve_of_two_devices_is_that_of_one(tmp_path: Path) -> None:
    runs = [done(spec(processes), tmp_path / str(processes)) for processes in (1, 2)]
    assert [run.exit_code for run in runs] == [0, 0]
    one, two = (run.metric("train/loss") for run in runs)
    assert len(one) >= 70
    assert set(one) == set(two)
    np.testing.assert_allclose([two[step] for step in one], list(one.values()), rtol=TOLERANCE)
    accuracies = [run.metric("val/accuracy") for run in runs]
    assert accuracies[0] == accuracies[1]
