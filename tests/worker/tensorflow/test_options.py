"""Options of training with TensorFlow: each against the same in torch, then all of them in whole runs."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch

from app.contract.events import Noted, Planned, Succeeded
from app.contract.options import Ema
from tests.support.beside import Beside, needs_tensorflow
from tests.support.mirrored_runs import SPEC, done
from worker.training.mixing import Partners

pytestmark = [needs_tensorflow, pytest.mark.timeout(1800)]


LOSSES = """
import numpy as np, tensorflow as tf
from worker.tensorflow.steps import _Labels
labels = _Labels(tf.constant(own, tf.int64), tf.constant(other, tf.int64), tf.constant(weights, tf.float64), counts)
logits = tf.constant(np.array(logits))
losses = labels.losses(logits, smoothing)
answer = [losses.numpy().tolist(), labels.row(losses, logits).numpy().tolist()]
"""


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_smoothed_losses_of_mixed_images_are_torchs(beside: Beside, smoothing: float) -> None:
    draw = np.random.default_rng(0)
    logits, own, other = draw.normal(size=(5, 4)), draw.integers(0, 4, 5), draw.integers(0, 4, 5)
    weights = [1.0, 1.0, 0.3, 0.6, 0.0]
    given = {"logits": logits.tolist(), "own": own.tolist(), "other": other.tolist(), "weights": weights}
    losses, row = beside(LOSSES, **given, smoothing=smoothing, counts=True)
    partners = Partners(torch.tensor(other), torch.tensor(weights, dtype=torch.float64))
    wanted = partners.loss(torch.tensor(logits), torch.tensor(own), smoothing)
    assert np.mean(losses) == pytest.approx(wanted.item(), abs=1e-12)
    assert row == [
        pytest.approx(sum(losses)),
        (logits.argmax(1) == np.where(np.array(weights) >= 0.5, own, other)).sum(),
        5,
    ]
    assert beside(LOSSES, **given, smoothing=smoothing, counts=False) == [[0.0] * 5, [0.0] * 3]


CLIPPED = """
import numpy as np, tensorflow as tf
from worker.tensorflow.steps import Compiled
compiled = Compiled.__new__(Compiled)

@tf.function
def clipped():
    def part():
        number = tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group, tf.float64)
        own = [tf.constant(np.array(each)) * (0.25 + 0.5 * number) for each in gradients]
        return compiled._clipped(own, most)
    return strategy.run(part)

parts, norm = clipped()
sums = [sum(each.numpy() for each in strategy.experimental_local_results(part)) for part in parts]
answer = [[each.tolist() for each in sums], strategy.experimental_local_results(norm)[1].numpy().item()]
"""


@pytest.mark.parametrize("most", [0.5, 100.0])
def test_the_sum_of_all_devices_gradients_is_clipped_as_torch_clips(beside: Beside, most: float) -> None:
    draw = np.random.default_rng(0)
    gradients = [draw.normal(size=(3, 2)), draw.normal(size=4)]
    weights = [torch.nn.Parameter(torch.zeros(each.shape, dtype=torch.float64)) for each in gradients]
    for weight, gradient in zip(weights, gradients, strict=True):
        weight.grad = torch.tensor(gradient)
    wanted = torch.nn.utils.clip_grad_norm_(weights, most).item()
    found, norm = beside(CLIPPED, gradients=[each.tolist() for each in gradients], most=most)
    assert norm == pytest.approx(wanted)
    for ours, theirs in zip(found, weights, strict=True):
        np.testing.assert_allclose(ours, theirs.grad, rtol=1e-12)


AVERAGED = """
import keras, numpy as np
from app.contract.options import Ema
from worker.tensorflow import architecture
from worker.tensorflow.averaging import Average
from worker.tensorflow.dropout import Dropout
from worker.tensorflow.norm import BatchNorm
with strategy.scope():
    model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(2), BatchNorm(), Dropout(0.5)])
average = Average(Ema(**spec), model)
states, drawn = [architecture.weights_of(model)], np.random.default_rng(0)
for step in range(1, steps + 1):
    changed = {path: value + (1 if value.dtype == np.int64 else drawn.normal(size=value.shape))
               for path, value in states[-1].items()}
    architecture.set_weights(model, changed)
    average.step_made(step)
    states.append(architecture.weights_of(model))
with average.shown():
    shown = architecture.weights_of(model)
after = architecture.weights_of(model)
other = Average(Ema(**spec), model)
other.load(average.tensors)
plain = lambda state: {path: value.tolist() for path, value in state.items()}
answer = [[plain(each) for each in states], plain(average.tensors), plain(shown), plain(after), plain(other.tensors)]
"""


@pytest.mark.parametrize("spec", [{"decay": 0.8, "warmup": False}, {"decay": 0.5}])
def test_the_average_is_that_of_the_closed_formula_and_is_shown_for_a_while(
    beside: Beside, spec: dict[str, Any]
) -> None:
    states, averaged, shown, after, loaded = beside(AVERAGED, spec=spec, steps=6)
    assert shown == averaged == loaded
    assert after == states[-1]
    for path, first in states[0].items():
        wanted = np.array(first)
        for step, state in enumerate(states[1:], 1):
            decay = Ema(**spec).decay_of(step)
            wanted = decay * wanted + (1 - decay) * np.array(state[path])
        if path.endswith("drawn"):
            assert averaged[path] == first + 6
        else:
            np.testing.assert_allclose(averaged[path], wanted, rtol=1e-5, atol=1e-6)


# The rate rises until nothing that was learned is left: the last epoch is never the best.
SPOILING = {
    "epochs": 6,
    "batch_size": 64,
    "optimizer": {"kind": "adamw", "learning_rate": 0.5, "weight_decay": 2.0},
    "schedule": {"kind": "constant", "warmup_epochs": 6},
}


@pytest.mark.slow
def test_the_best_epochs_average_is_what_is_exported_and_measured(tmp_path: Path) -> None:
    options = {"ema": {"decay": 0.8}, "export_best": "val/accuracy", "max_gradient_norm": 1.0, "label_smoothing": 0.1}
    run = done(SPEC | {"training": SPOILING | options}, tmp_path / "run")
    end = run.events[-1]
    assert isinstance(end, Succeeded), end
    accuracies = run.metric("val/accuracy")
    best, steps = max(accuracies.values()), sorted(accuracies)
    assert accuracies[steps[-1]] < best, "or the best epoch could not be told from the last"
    assert end.report.after.accuracy == pytest.approx(best)
    told = end.report.stages[-1].trained
    assert told is not None
    assert (told.epochs, told.averaged, told.stopped_early) == (6, True, False)
    assert told.exported_epoch == steps.index(min(step for step in steps if accuracies[step] == best)) + 1
    assert json.loads((run.folder / "artifacts/model.json").read_text())["trained"] == told.model_dump()
    norms = run.metric("train/gradient_norm")
    assert set(norms) == set(run.metric("train/loss"))
    assert all(norm > 0 for norm in norms.values())
    saved = safetensors.numpy.load_file(run.newest_checkpoint / "state.safetensors")
    for name, value in safetensors.numpy.load(run.weights).items():
        np.testing.assert_array_equal(value, saved[f"best:{name}"])
    plan = next(event.plan for event in run.events if isinstance(event, Planned))
    assert (plan.processes, plan.computing.precision, plan.computing.compiled) == (2, "fp32", False)
    assert list(run.metric("system/checkpoint_stall_s"))[-1] == steps[-1]


@pytest.mark.slow
def test_training_that_makes_no_progress_ends_and_says_so(tmp_path: Path) -> None:
    stopping = {"metric": "val/loss", "patience": 2, "min_delta": 100}
    run = done(SPEC | {"training": SPEC["training"] | {"epochs": 20, "early_stopping": stopping}}, tmp_path / "run")
    (note,) = (event for event in run.events if isinstance(event, Noted) and event.code == "stopped_early")
    assert note.data == {"epoch": 3, "epochs": 20, "metric": "val/loss"}
    assert len(run.metric("val/loss")) == 3
    told = run.events[-1].report.stages[-1].trained
    assert (told.epochs, told.planned_epochs, told.stopped_early, told.exported_epoch) == (3, 20, True, 3)
