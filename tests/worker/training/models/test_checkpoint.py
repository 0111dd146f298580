"""Networks that an earlier job left."""

import hashlib
import json
import pickle

import pytest
import safetensors.torch
import torch

from app.contract.compression import ActivationCompression, DepthwiseSeparable
from app.contract.failures import FailureCode
from worker.training import architecture, models
from worker.training.architecture import Architecture, assemble, seeded
from worker.training.card import ModelCard, Scaling
from worker.training.compressing import compress
from worker.training.errors import RunFailure
from worker.training.export import export

SPEC = {"kind": "checkpoint", "job": "job_earlier"}


@pytest.fixture
def earlier(tmp_path, classes):
    """A compressed network that reads luminance, and its files."""
    with seeded(3, "earlier"):
        network = assemble(Architecture(name="test_resnet", channels=1, outputs=len(classes)))
    compress(network, [DepthwiseSeparable(), ActivationCompression()], (64, 64), 1)
    card = ModelCard(
        architecture=architecture.of(network),
        classes=classes,
        channels=1,
        image_size=(64, 64),
        normalization=Scaling(mean=(0.5,), std=(0.5,)),
    )
    export(network, card, tmp_path)
    return network


@pytest.fixture
def order(make_order, tmp_path, earlier):
    return make_order(SPEC, model=str(tmp_path))


def refusal(order, classes):
    with pytest.raises(RunFailure) as refused:
        models.build_model(order, classes)
    failure = refused.value.failure
    assert failure.code is FailureCode.BAD_SPEC
    assert failure.errors[0].pointer == "/model/job"
    return failure.message


def test_it_goes_on_with_the_compressed_network_and_its_weights(order, classes, earlier):
    network = models.build_model(order, classes)
    images = torch.randn(2, 1, 64, 64)
    assert torch.equal(network.eval()(images), earlier.eval()(images))
    assert architecture.of(network).channels == 1


def test_it_can_be_compressed_further_and_remembers_all_steps(order, classes):
    network = models.build_model(order, classes)
    compress(network, [ActivationCompression()], (64, 64), 1)
    assert [each.method.kind for each in architecture.of(network).compression] == [
        "depthwise_separable",
        "activation_compression",
        "activation_compression",
    ]


def test_other_classes_are_refused_with_their_names(order):
    assert "only there ['fox'], only here ['cow']" in refusal(order, ("cat", "cow", "dog"))


def test_the_same_classes_in_another_order_are_refused(order):
    assert "another order" in refusal(order, ("dog", "cat", "fox"))


def test_a_job_whose_files_are_gone_is_refused(make_order, classes, tmp_path):
    assert "model.json cannot be read" in refusal(make_order(SPEC, model=str(tmp_path / "gone")), classes)
    assert "not on this worker" in refusal(make_order(SPEC), classes)


def test_truncated_weights_are_refused(order, classes, tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    assert "cut or changed" in refusal(order, classes)


def vouched_for(folder, data):
    """Weights whose size and hash the card has."""
    (folder / "model.safetensors").write_bytes(data)
    card = json.loads((folder / "model.json").read_text())
    card["weights"] = {"size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (folder / "model.json").write_text(json.dumps(card))


def test_weights_of_another_architecture_are_refused(order, classes, tmp_path):
    other = assemble(Architecture(name="test_byobnet", channels=1, outputs=3))
    vouched_for(tmp_path, safetensors.torch.save(other.state_dict()))
    assert "of another network: it lacks" in refusal(order, classes)


def test_weights_of_the_uncompressed_network_are_refused(order, classes, tmp_path):
    other = assemble(Architecture(name="test_resnet", channels=1, outputs=3))
    vouched_for(tmp_path, safetensors.torch.save(other.state_dict()))
    assert "of another network: it lacks" in refusal(order, classes)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused_with_the_layers_name(order, classes, tmp_path, earlier, value):
    with torch.no_grad():
        earlier.layer2[0].conv1.pointwise.conv.weight[0] = value
    vouched_for(tmp_path, safetensors.torch.save(earlier.state_dict()))
    assert "not finite, in layer2.0.conv1.pointwise.conv.weight" in refusal(order, classes)


def test_a_pickle_in_disguise_is_not_opened(order, classes, tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "opened"), "w"))

    vouched_for(tmp_path, pickle.dumps(Trap()))
    assert "is not a safetensors file" in refusal(order, classes)
    assert not (tmp_path / "opened").exists()


def test_a_card_with_layers_that_the_network_does_not_have_is_refused(order, classes, tmp_path):
    card = json.loads((tmp_path / "model.json").read_text())
    card["architecture"]["compression"][0]["layers"].append("layer9.0.conv1")
    (tmp_path / "model.json").write_text(json.dumps(card))
    message = refusal(order, classes)
    assert "The model.json of job_earlier describes no network" in message
    assert "layer9" in message


def test_a_network_that_the_pinned_timm_does_not_know_is_refused(order, classes, tmp_path):
    card = json.loads((tmp_path / "model.json").read_text())
    card["architecture"]["name"] = "os.system"
    (tmp_path / "model.json").write_text(json.dumps(card))
    assert "no model 'os.system'" in refusal(order, classes)
