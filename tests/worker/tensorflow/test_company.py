"""A device without samples of its own: it computes along, and counts for nothing."""

import numpy as np
import pytest

from app.contract.job import JobSpec
from app.contract.work import Paths, RunOrder
from tests.support.beside import Beside, needs_tensorflow
from tests.support.mirrored_runs import SPEC

pytestmark = [needs_tensorflow, pytest.mark.timeout(1800)]


STEPS = """
import keras, numpy as np
from app.contract.training import Training
from worker.tensorflow import architecture
from worker.tensorflow.material import Step
from worker.tensorflow.norm import BatchNorm
from worker.tensorflow.optim import make_optimizer
from worker.tensorflow.steps import Compiled
from worker.training.fitting import Normalization

def network():
    with strategy.scope():
        keras.utils.set_random_seed(0)
        model = keras.Sequential([
            keras.layers.Input((8, 8, 1)), keras.layers.DepthwiseConv2D(3), BatchNorm(name="norm"),
            keras.layers.Flatten(), keras.layers.Dense(3),
        ])
        model.get_layer("norm").over_all = True
        optimizer = make_optimizer(Training.model_validate({"optimizer": {"kind": "sgd", "learning_rate": 0.1}}))
        optimizer.build(model.trainable_variables)
    return Compiled(strategy, model, optimizer, Normalization((0.5,), (0.5,)), mixes=True, max_gradient_norm=1.0)

draw = np.random.default_rng(0)
images, labels = draw.integers(0, 255, (6, 8, 8, 1)).astype(np.uint8), draw.integers(0, 3, 6)
mixing = np.column_stack([draw.uniform(size=5)] * 2 + [np.zeros(5)] * 4)
answer = []
for edges in ([0, 3, 5], [0, 5, 5]):
    compiled = network()
    step = Step(images, labels, np.array(edges), np.array([1, 0, 5, 4, 3]), mixing)
    rows = [compiled.train(step, 0.1).numpy().tolist() for _ in range(3)]
    rows.append(compiled.evaluate(step).numpy().tolist())
    weights = [value.tolist() for value in architecture.weights_of(compiled.model).values()]
    answer.append([rows, weights])
"""


def test_who_has_which_samples_changes_neither_losses_nor_weights(beside: Beside) -> None:
    divided, alone = beside(STEPS)
    assert [row[2] for row in alone[0]] == [5] * 4
    for ours, theirs in zip(alone[0], divided[0], strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)
    for ours, theirs in zip(alone[1], divided[1], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


COUNTS = """
from types import SimpleNamespace
from app.contract.work import RunOrder
from worker.tensorflow.material import Material
asked = SimpleNamespace(order=RunOrder.model_validate_json(order), world=4)
answer = [list(Material._parts(asked, count)) for count in (8, 7, 5, 3, 2)]
"""


def test_parts_are_as_large_as_those_of_torchs_processes(beside: Beside) -> None:
    spec = SPEC | {
        "training": SPEC["training"] | {"batch_size": 8},
        "distributed": {"kind": "mirrored", "processes": 4},
    }
    order = RunOrder(spec=JobSpec.model_validate(spec).resolved(), paths=Paths(run_dir=""))
    found = beside(COUNTS, order=order.model_dump_json())
    assert found == [[2, 2, 2, 2], [3, 2, 2, 0], [3, 2, 0, 0], [3, 0, 0, 0], [2, 0, 0, 0]]


EVALUATED = """
from app.contract.work import RunOrder
from worker.tensorflow import material
fed = material.prepare(RunOrder.model_validate_json(order), 1)
answer = [[len(step.labels_R) for step in fed.evaluation()], len(fed.loaded.validation)]
fed.close()
"""


def test_evaluation_takes_no_more_images_at_a_time_than_training(beside: Beside) -> None:
    """Batches are not cut where memory runs out: what is enough for training must be enough for it."""
    spec = SPEC | {"training": SPEC["training"] | {"batch_size": 20}}
    order = RunOrder(spec=JobSpec.model_validate(spec).resolved(), paths=Paths(run_dir=""))
    counts, images = beside(EVALUATED, order=order.model_dump_json())
    assert max(counts) == 20
    assert sum(counts) == images
