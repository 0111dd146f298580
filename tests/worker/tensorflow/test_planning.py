"""What the plan of a TensorFlow job tells and refuses, layer by layer: as torch's does."""

from typing import Any

import pytest

from app.contract.job import JobSpec
from app.contract.work import Paths, RunOrder
from tests.support.beside import Beside, needs_tensorflow
from tests.support.mirrored_runs import SPEC

pytestmark = [needs_tensorflow, pytest.mark.timeout(1800)]

SPLIT = {"kind": "depthwise_separable", "include_stem": True}


PLAN = """
from app.contract.work import RunOrder
from worker.tensorflow.planning import make_plan
from worker.training.errors import RunFailure
try:
    answer = make_plan(RunOrder.model_validate_json(order)).model_dump(mode="json")
except RunFailure as failed:
    answer = failed.failure.model_dump(mode="json")
"""


def plan(beside: Beside, **changes: Any) -> dict[str, Any]:
    """Or the failure."""
    order = RunOrder(spec=JobSpec.model_validate(SPEC | changes).resolved(), paths=Paths(run_dir=""))
    found: dict[str, Any] = beside(PLAN, order=order.model_dump_json())
    return found


def test_one_image_a_device_is_refused_where_batch_normalisation_would_see_one_value(beside: Beside) -> None:
    batch = {"training": SPEC["training"] | {"batch_size": 2}}
    refused = plan(beside, **batch)
    (problem,) = refused["errors"]
    assert (problem["pointer"], problem["code"]) == ("/training/batch_size", "too_small")
    assert "at least 4, or sync_batchnorm" in problem["detail"]
    together = plan(beside, **batch, distributed={"kind": "mirrored", "processes": 2, "sync_batchnorm": True})
    assert "steps_per_epoch" in together
    assert "steps_per_epoch" in plan(beside, training=SPEC["training"] | {"batch_size": 4})


def test_the_plan_warns_of_layers_that_stay_and_of_maps_that_have_shrunk(beside: Beside) -> None:
    told = plan(beside, compression=[SPLIT])
    kept = [each for each in told["layers"] if each["status"] == "kept"]
    assert 0 < len(kept) < len(told["layers"])
    wanted = f"depthwise_separable leaves {len(kept)} of {len(told['layers'])} layers as they are; `layers` says why."
    assert wanted in told["warnings"]
    assert "Images of 32x32 have shrunk to 1x1 before 1 of 14 spatial convolutions" in told["warnings"][-1]
    larger = [{"kind": "resize", "size": [64, 64]}]
    assert plan(beside, augment=larger)["warnings"] == []


LISTED = """
import keras
from pydantic import TypeAdapter
from app.contract.compression import Compression
from worker.tensorflow.architecture import Architecture
from worker.tensorflow.compressing import compress
images = keras.Input((8, 8, 3))
values = keras.layers.Conv2D(8, 3, name="conv2d")(images)
model = keras.Model(images, keras.layers.Conv2D(8, 3, name="conv2d_1")(values))
described = Architecture(name="mobilenet", channels=3, outputs=8, image_size=(8, 8))
(outcome,) = compress(model, described, [TypeAdapter(Compression).validate_python(method)], 0).outcomes
answer = [[each.name, each.parameters_after, each.macs_after] for each in outcome.layers]
"""


def test_a_layer_whose_name_another_begins_with_is_listed_with_its_own_counts(beside: Beside) -> None:
    """Keras numbers layers so: in InceptionV3 and Xception the first is `conv2d`, and the second `conv2d_1`."""
    counts = []
    for channels, side in ((3, 6), (8, 4)):
        weights = channels * 9 + channels * 8
        counts.append([weights + 2 * channels + 8, weights * side * side])
    found = beside(LISTED, method=SPLIT)
    assert found == [["conv2d", *counts[0]], ["conv2d_1", *counts[1]]]
