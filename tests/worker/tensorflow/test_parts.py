"""The parts of the TensorFlow path, each against the same in torch or written out in NumPy."""

import json
from typing import Any

import numpy as np
import pytest
import torch

from app.contract.job import JobSpec
from app.contract.training import AdamW, Sgd
from app.contract.work import Paths, RunOrder
from tests.support.beside import Beside, needs_tensorflow
from worker.training import cost, mixing, optim, sampling
from worker.training.architecture import Architecture, assemble
from worker.training.compressing import compress

pytestmark = [needs_tensorflow, pytest.mark.timeout(1800)]


SPLIT = {"kind": "depthwise_separable", "include_stem": True}
NARROW = {"kind": "activation_compression", "ratio": 2}
LEARNED = {"kind": "activation_compression", "ratio": 4, "learned": True}

COUNTS = """
from pydantic import TypeAdapter
from app.contract.compression import Compression
from worker.tensorflow import architecture, cost
from worker.tensorflow.architecture import Architecture
from worker.tensorflow.compressing import compress
described = Architecture(name=name, width=width, channels=3, outputs=10, image_size=(64, 64))
model = architecture.assemble(described)
methods = [TypeAdapter(Compression).validate_python(each) for each in methods]
made = compress(model, described, methods, 0)
found = cost.network_cost(made.model)
changed = [[change.status for change in outcome.layers].count("changed") for outcome in made.outcomes]
answer = [found.parameters, found.macs, changed]
"""


@pytest.mark.parametrize(
    ("keras", "width", "timm", "methods"),
    [
        ("mobilenet_v2", 0.35, "mobilenetv2_035", []),
        ("mobilenet_v2", 0.35, "mobilenetv2_035", [SPLIT, NARROW]),
        ("mobilenet_v2", 0.35, "mobilenetv2_035", [LEARNED]),
        pytest.param("densenet121", 1.0, "densenet121", [SPLIT, NARROW], marks=pytest.mark.slow),
    ],
)
def test_the_same_network_has_the_counts_that_torch_finds(
    beside: Beside, keras: str, width: float, timm: str, methods: list[dict[str, Any]]
) -> None:
    spec = JobSpec.model_validate(JobSpec.examples[0] | {"compression": methods})
    with torch.device("meta"):
        network = assemble(Architecture(name=timm, channels=3, outputs=10))
    layers = compress(network, spec.compression, (64, 64), 3)
    counted = cost.network_cost(network, 3, (64, 64))
    changed = [sum(each.method == kind and each.status == "changed" for each in layers) for kind in kinds(methods)]
    assert beside(COUNTS, name=keras, width=width, methods=methods) == [counted.parameters, counted.macs, changed]


def kinds(methods: list[dict[str, Any]]) -> list[str]:
    return [each["kind"] for each in methods]


OPTIMIZER = """
import numpy as np, tensorflow as tf, keras
from app.contract.training import Training
from worker.tensorflow.optim import make_optimizer
with strategy.scope():
    weights = [keras.Variable(np.array(each), dtype=dtype) for each in start]
    optimizer = make_optimizer(Training.model_validate({"optimizer": spec}))
    optimizer.build(weights)

@tf.function
def step(gradients):
    # each device has half of the gradient, and both are added up
    strategy.run(lambda: optimizer.apply([each / 2 for each in gradients], weights))

for rate, gradients in zip(rates, steps):
    optimizer.learning_rate.assign(rate)
    step([tf.constant(np.array(each), dtype) for each in gradients])
answer = [each.numpy().tolist() for each in weights]
"""


@pytest.mark.parametrize(
    ("spec", "dtype"),
    [
        ({"kind": "adamw", "weight_decay": 0.1, "epsilon": 0.01}, "float64"),
        ({"kind": "adamw", "betas": [0.9, 0.99999999]}, "float32"),
        ({"kind": "sgd", "momentum": 0.9, "weight_decay": 0.1}, "float64"),
        ({"kind": "sgd", "momentum": 0.9, "nesterov": True}, "float64"),
        ({"kind": "sgd", "momentum": 0.0, "weight_decay": 0.0}, "float64"),
    ],
)
def test_optimizers_move_weights_as_torchs_do_on_two_devices(beside: Beside, spec: dict[str, Any], dtype: str) -> None:
    draw = np.random.default_rng(0)
    start = [draw.normal(size=(3, 2)), draw.normal(size=4)]
    steps = [[draw.normal(size=each.shape).tolist() for each in start] for _ in range(4)]
    rates = [0.1, 0.05, 0.2, 0.01]
    made = (AdamW if spec["kind"] == "adamw" else Sgd).model_validate(spec)
    numbers = getattr(torch, dtype)
    module = torch.nn.ParameterList([torch.nn.Parameter(torch.tensor(each, dtype=numbers)) for each in start])
    training = JobSpec.model_validate(JobSpec.examples[0]).training.model_copy(update={"optimizer": made})
    optimizer = optim.make_optimizer(training, module)
    for rate, gradients in zip(rates, steps, strict=True):
        for group in optimizer.param_groups:
            group["lr"] = rate
        for weight, gradient in zip(module, gradients, strict=True):
            weight.grad = torch.tensor(gradient, dtype=numbers)
        optimizer.step()
    given = [each.tolist() for each in start]
    found = beside(OPTIMIZER, spec=spec, start=given, steps=steps, rates=rates, dtype=dtype)
    close = 1e-6 if dtype == "float64" else 1e-5  # Keras keeps the rate in fp32
    for ours, theirs in zip(found, module, strict=True):
        np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=close, atol=close / 10)


NORM = """
import numpy as np, tensorflow as tf
from worker.tensorflow.norm import BatchNorm
with strategy.scope():
    layer = BatchNorm(epsilon=1e-5)
    layer.build((None, None, None, 3))
layer.over_all = over_all
values = tf.constant(np.array(values, np.float32))

@tf.function
def train():
    def part():
        number = tf.distribute.get_replica_context().replica_id_in_sync_group
        own = values[:5] if not over_all else values[edges[number]:edges[number + 1]]
        return layer(own, training=True)
    return strategy.run(part)

edges = tf.constant([0, 2, 5])
parts = [each.numpy() for each in strategy.experimental_local_results(train())]
outputs = parts[0] if not over_all else np.concatenate(parts)
answer = [outputs.tolist(), layer.moving_mean.numpy().tolist(), layer.moving_variance.numpy().tolist()]
"""


@pytest.mark.parametrize("over_all", [False, True])
def test_normalisation_is_torchs_also_over_uneven_parts_of_two_devices(beside: Beside, over_all: bool) -> None:
    values = np.random.default_rng(0).normal(3, 2, (5, 4, 4, 3)).astype(np.float32)
    wanted = torch.nn.BatchNorm2d(3)
    outputs = wanted(torch.from_numpy(values).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    found, mean, variance = beside(NORM, values=values.tolist(), over_all=over_all)
    np.testing.assert_allclose(found, outputs.detach().numpy(), atol=1e-5)
    np.testing.assert_allclose(mean, wanted.running_mean.numpy(), rtol=1e-5)
    np.testing.assert_allclose(variance, wanted.running_var.numpy(), rtol=1e-5)


MATERIAL = """
from dataclasses import replace
import numpy as np, keras
from app.contract.work import RunOrder
from worker.tensorflow import material
from worker.tensorflow.steps import Compiled, _tensors
fed = material.prepare(RunOrder.model_validate_json(order), 1)
step = next(fed.steps(epoch=3, first_batch=1))
model = keras.Sequential([keras.layers.Input((32, 32, 3)), keras.layers.Flatten(), keras.layers.Dense(10)])
compiled = Compiled(strategy, model, None, fed.scaling, mixes=bool(fed.pipeline.mixing))
whole = step.edges_D1.copy(); whole[1] = whole[-1]
images, labels = compiled._part(*_tensors(replace(step, edges_D1=whole)))
np.save(out, images.numpy())
answer = [labels.own_N.numpy().tolist(), labels.other_N.numpy().tolist(), labels.weights_N.numpy().tolist()]
fed.close()
"""


@pytest.mark.parametrize("mixed", [[], [{"kind": "mixup"}, {"kind": "cutmix"}]])
def test_the_network_is_shown_the_images_that_torchs_is(
    beside: Beside, tmp_path: Any, mixed: list[dict[str, Any]]
) -> None:
    crop = {"kind": "random_crop", "size": [32, 32], "scale": [0.5, 1.0]}
    augment = [crop, {"kind": "random_rotate", "degrees": 20}, {"kind": "color_jitter", "brightness": 0.3}, *mixed]
    body = {
        "dataset": {"kind": "builtin", "name": "digits"},
        "model": {"kind": "keras_application", "name": "mobilenet"},
        "distributed": {"kind": "mirrored", "processes": 2},
        "augment": augment,
        "training": {"batch_size": 16, "seed": 5},
    }
    order = RunOrder(spec=JobSpec.model_validate(body).resolved(), paths=Paths(run_dir=str(tmp_path)))
    found = beside(MATERIAL, order=order.model_dump_json(), out=str(tmp_path / "images.npy"))
    images_NCHW, own_N, other_N, weights_N = shown_by_torch(order)
    np.testing.assert_allclose(np.load(tmp_path / "images.npy").transpose(0, 3, 1, 2), images_NCHW, atol=2e-5)
    assert found[:2] == [own_N, other_N]
    np.testing.assert_allclose(found[2], weights_N, rtol=1e-6)


def shown_by_torch(order: RunOrder) -> tuple[Any, list[int], list[int], list[float]]:
    from worker.training import augment, data, normalization
    from worker.training.loader import Loader

    training, pipeline = order.spec.training, augment.compile(order.spec)
    loaded = data.load(order)
    batches = sampling.batches(len(loaded.train), training.batch_size, 2, training.seed, 3)
    mix = pipeline.mixing and mixing.plan(pipeline, batches[1], sampling.partners(np.concatenate(batches)), 3)
    with Loader(loaded.train, pipeline) as loader:
        (batch,) = loader.train(3, [mix.reading_R if mix else batches[1]])
    scaling = normalization.fit(loaded.train, pipeline)
    images_NCHW = normalization.apply(batch.images_NHWC, scaling, torch.float32).clone()
    if not mix:
        return images_NCHW.numpy(), batch.labels_N.tolist(), batch.labels_N.tolist(), [1.0] * len(batch.labels_N)
    mixed, labels_N, partners = mix.mixed(images_NCHW, batch.labels_N)
    return mixed.numpy(), labels_N.tolist(), partners.labels_N.tolist(), partners.weights_N.tolist()


CONVERTED = """
import numpy as np
from pydantic import TypeAdapter
from app.contract.compression import Compression
from worker.tensorflow import architecture
from worker.tensorflow.architecture import Architecture
from worker.tensorflow.compressing import compress
described = Architecture(name="mobilenet_v2", width=0.35, channels=3, outputs=10, image_size=(32, 32))
model = architecture.assemble(described)
full = TypeAdapter(Compression).validate_python({"kind": "depthwise_separable", "init": "svd", "include_stem": True})
made = compress(model, described, [full], 0)
images = np.random.default_rng(0).normal(size=(3, 32, 32, 3)).astype(np.float32)
weights = architecture.weights_of(model)
drawn = np.random.default_rng(1)
filled = {path: drawn.normal(0, 0.2, value.shape) ** 2 + 0.1 * value for path, value in weights.items()}
architecture.set_weights(model, filled)
made = compress(model, described, [full], 0)
outputs = [each(images, training=False).numpy() for each in (model, made.model)]
again = architecture.assemble(made.architecture)
architecture.set_weights(again, architecture.weights_of(made.model))
outputs.append(again(images, training=False).numpy())
answer = [float(abs(each - outputs[0]).max() / abs(outputs[0]).max()) for each in outputs]
"""


def test_a_layer_split_at_full_rank_computes_what_it_did_and_is_built_again_from_its_description(
    beside: Beside,
) -> None:
    same, split, again = beside(CONVERTED)
    assert same == 0
    assert split < 1e-4
    assert again == split


DROPOUT = """
import numpy as np, tensorflow as tf
from worker.tensorflow.dropout import Dropout
with strategy.scope():
    layer = Dropout(0.25, noise_shape=(None, 1, 1, None))
    layer.build(None)
ones = tf.ones((64, 4, 4, 32))

@tf.function
def draw():
    return strategy.run(lambda: layer(ones, training=True))

def values():
    return [each.numpy() for each in strategy.experimental_local_results(draw())]

begin = layer.drawn.numpy()
first, second = values(), values()
layer.drawn.assign(begin)
again = values()
kept = first[0][:, 0, 0, :]
answer = {
    "again": all((a == b).all() for a, b in zip(first, again)),
    "differ": bool((first[0] != second[0]).any() and (first[0] != first[1]).any()),
    "values": sorted({float(each) for each in np.unique(kept)}),
    "whole planes": bool((first[0] == kept[:, None, None, :]).all()),
    "kept": float((kept > 0).mean()),
    "untrained": bool((layer(ones, training=False).numpy() == 1).all()),
}
"""


def test_dropout_draws_the_same_from_the_same_count_and_other_values_on_each_device(beside: Beside) -> None:
    found = beside(DROPOUT)
    kept = found.pop("kept")
    assert found == {
        "again": True, "differ": True, "values": [0.0, pytest.approx(4 / 3)], "whole planes": True, "untrained": True,
    }  # fmt: skip
    assert abs(kept - 0.75) < 0.05


NAMES = """
from worker.tensorflow import architecture
from worker.tensorflow.architecture import Architecture
described = Architecture(name="xception", channels=3, outputs=10, image_size=(71, 71))
first, second = (list(architecture.weights_of(architecture.assemble(described))) for _ in range(2))
answer = [len(first), first == second]
"""


def test_weights_have_the_same_names_whatever_was_built_before(beside: Beside) -> None:
    count, same = beside(NAMES)
    assert count > 100
    assert same


def test_neither_library_is_loaded_beside_the_other(beside: Beside) -> None:
    code = "import sys; answer = [name for name in names if name in sys.modules]"
    assert beside(code, names=["torch", "timm", "tensorflow", "keras"]) == ["tensorflow", "keras"]


def test_the_card_of_a_network_is_plain_json(beside: Beside, tmp_path: Any) -> None:
    code = """
import json
from pathlib import Path
from worker.tensorflow import architecture, files, networks
from worker.tensorflow.architecture import Architecture
from worker.tensorflow.files import Card
described = Architecture(name="mobilenet", width=0.25, channels=1, outputs=3, image_size=(32, 32))
model = architecture.assemble(described)
scaling = {"mean": (0.5,), "std": (0.5,)}
card = Card(architecture=described, classes=("a", "b", "c"), channels=1, image_size=(32, 32), normalization=scaling)
files.export(architecture.weights_of(model), card, Path(folder))
again, read = networks.rebuild(Path(folder))
ours, theirs = architecture.weights_of(model), architecture.weights_of(again)
refused, kept = [], json.loads(Path(folder, "model.json").read_bytes())
spoilt = [("model.json", json.dumps(kept | change).encode()) for change in changes]
spoilt += [("model.json", json.dumps(kept).encode()), ("model.safetensors", b"x"), ("model.json", b"{}")]
for name, spoil in spoilt:
    Path(folder, name).write_bytes(spoil)
    try:
        networks.rebuild(Path(folder))
    except files.BrokenModel as error:
        refused.append(str(error))
answer = [all((ours[path] == theirs[path]).all() for path in ours), refused]
"""
    changes = [{"channels": 3}, {"classes": ["a"]}, {"normalization": {"mean": [0.5], "std": [0.0]}}]
    same, refused = beside(code, folder=str(tmp_path), changes=changes)
    assert same
    assert refused[:2] == [
        "model.json speaks of 3 channels for a network that reads 1.",
        "model.json names 1 classes for 3 outputs.",
    ]
    assert "greater than 0 at 'normalization/std/0'" in refused[2]
    assert refused[3] == "model.safetensors is not the file that was exported."
    assert refused[4].startswith("model.json is no card of a Keras network")
    assert json.loads((tmp_path / "model.json").read_text()) == {}


LATENCY = """
from app.contract.compression import DepthwiseSeparable
from worker.tensorflow import architecture, measure
from worker.tensorflow.architecture import Architecture
from worker.tensorflow.stages import Stage
described = Architecture(name="mobilenet_v2", width=0.35, channels=3, outputs=10, image_size=(32, 32))
model = architecture.assemble(described)
first = Stage("uncompressed", None, model, 1, 1)
found = [measure._latency([first, Stage("last", method, model, 1, 1)]) for method in (None, DepthwiseSeparable())]
answer = [each["uncompressed"] == each["last"] for each in found]
"""


def test_a_network_that_no_method_changed_is_timed_once(beside: Beside) -> None:
    assert beside(LATENCY) == [True, False]
