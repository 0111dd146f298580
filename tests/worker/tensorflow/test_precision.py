"""Which numbers a network computes in: bf16 ends near fp32, with weights in fp32, and is taken where a GPU has it."""

import pytest

from tests.support.beside import Beside, needs_tensorflow

pytestmark = [needs_tensorflow, pytest.mark.timeout(1800)]


CHOSEN = """
from worker.tensorflow import devices
from worker.training.errors import RunFailure
def chosen(name, capabilities):
    try:
        return devices.policy_of(name, capabilities and [tuple(each) for each in capabilities])
    except RunFailure as failed:
        return failed.failure.errors[0].code
answer = [chosen(*each) for each in asked]
"""


def test_bf16_is_chosen_where_all_gpus_have_it_and_refused_where_one_has_not(beside: Beside) -> None:
    old, new = [7, 5], [9, 0]
    wanted = [
        (("auto", None), "float32"),
        (("auto", []), "mixed_bfloat16"),
        (("auto", [new, new]), "mixed_bfloat16"),
        (("auto", [new, old]), "float32"),
        (("bf16", None), "mixed_bfloat16"),
        (("bf16", [old]), "not_supported"),
        (("fp64", [old]), "float64"),
        (("fp32", [new]), "float32"),
    ]
    assert beside(CHOSEN, asked=[each for each, _ in wanted]) == [policy for _, policy in wanted]


STEPS = """
import keras, numpy as np
from app.contract.training import Training
from worker.tensorflow import architecture, devices
from worker.tensorflow.compression.activation_compression import GroupMean
from worker.tensorflow.dropout import Dropout
from worker.tensorflow.material import Step
from worker.tensorflow.norm import BatchNorm
from worker.tensorflow.optim import make_optimizer
from worker.tensorflow.steps import Compiled
from worker.training.fitting import Normalization

def losses(precision):
    devices.set_precision(precision, "cpu")
    with strategy.scope():
        keras.utils.set_random_seed(0)
        model = keras.Sequential([
            keras.layers.Input((8, 8, 1)), keras.layers.Conv2D(8, 3), BatchNorm(), keras.layers.DepthwiseConv2D(3),
            BatchNorm(), keras.layers.ReLU(), GroupMean(2), keras.layers.Flatten(), Dropout(0.1), keras.layers.Dense(3),
        ])
        optimizer = make_optimizer(Training())
        optimizer.build(model.trainable_variables)
    compiled = Compiled(strategy, model, optimizer, Normalization((0.5,), (0.5,)), max_gradient_norm=1.0)
    told = [(compiled.train(step, 0.01).numpy() / len(labels)).tolist() for _ in range(4)]
    told.append((compiled.evaluate(step).numpy() / len(labels)).tolist())
    types = sorted({value.dtype.name for value in architecture.weights_of(model).values()})
    return [told, types, model.layers[0].compute_dtype]

draw = np.random.default_rng(0)
images, labels = draw.integers(0, 255, (32, 8, 8, 1)).astype(np.uint8), draw.integers(0, 3, 32)
mixing = np.tile([1.0, 1.0, 0.0, 0.0, 0.0, 0.0], (32, 1))
step = Step(images, labels, np.array([0, 16, 32]), np.arange(32), mixing)
answer = [losses("fp32"), losses("bf16")]
devices.set_precision("fp32", "cpu")
"""


def test_steps_in_bf16_are_near_those_in_fp32_and_keep_weights_in_fp32(beside: Beside) -> None:
    (exact, exact_types, exact_compute), (told, types, compute) = beside(STEPS)
    assert types == exact_types
    assert "bfloat16" not in types
    assert (exact_compute, compute) == ("float32", "bfloat16")
    assert exact[3][0] < exact[0][0], "or nothing was learned"
    for ours, wanted in zip(told, exact, strict=True):
        assert ours[0] == pytest.approx(wanted[0], rel=0.05)
    assert told[0][0] != exact[0][0], "or both are fp32"
