"""timm networks: image sizes, seeds, and pretrained weights that lie on the worker."""

import pytest
import safetensors.torch
import torch

from app.contract.failures import FailureCode
from worker.training import models
from worker.training.errors import RunFailure
from worker.training.libraries import timm

NAME = "test_resnet.r160_in1k"


def refusal(action, *arguments):
    with pytest.raises(RunFailure) as refused:
        action(*arguments)
    failure = refused.value.failure
    assert failure.code is FailureCode.BAD_SPEC
    return failure


@pytest.fixture
def weights(tmp_path):
    """A pretrained file as timm publishes it: 1,000 classes, RGB."""
    torch.manual_seed(7)
    pretrained = timm.create_model(NAME)
    safetensors.torch.save_file(pretrained.state_dict(), tmp_path / f"{NAME}.safetensors")
    return pretrained


def test_a_vision_transformer_is_built_for_the_image_size_of_the_spec(make_order, classes):
    network = models.build_model(make_order({"kind": "timm", "name": "test_vit"}, size=(32, 48)), classes)
    assert network.eval()(torch.zeros(1, 3, 32, 48)).shape == (1, 3)


def test_a_size_that_the_network_cannot_have_is_refused_with_the_way_out(make_order, classes):
    order = make_order({"kind": "timm", "name": "nest_tiny_jx"}, size=(50, 50))
    failure = refusal(models.build_model, order, classes)
    assert failure.errors[0].pointer == "/model/name"
    assert "50x50 images" in failure.message
    assert "another image size" in failure.message


def test_another_seed_gives_other_weights(make_order, classes):
    spec = {"kind": "timm", "name": "test_resnet"}
    first, second = (models.build_model(make_order(spec, seed=seed), classes) for seed in (1, 2))
    assert not torch.equal(first.conv1[0].weight, second.conv1[0].weight)


def test_pretrained_weights_are_loaded_and_the_classifier_is_new(make_order, classes, weights, tmp_path):
    order = make_order({"kind": "timm", "name": NAME, "pretrained": True}, weights=str(tmp_path))
    network = models.build_model(order, classes)
    theirs = weights.state_dict()
    for name, tensor in network.state_dict().items():
        assert name.startswith("fc.") or torch.equal(tensor, theirs[name]), name
    assert network.fc.weight.shape[0] == 3


def test_a_name_without_tag_finds_the_file_of_its_default_tag(make_order, classes, weights, tmp_path):
    order = make_order({"kind": "timm", "name": "test_resnet", "pretrained": True}, weights=str(tmp_path))
    assert torch.equal(models.build_model(order, classes).layer1[0].conv1.weight, weights.layer1[0].conv1.weight)


def test_pretrained_rgb_weights_serve_luminance(make_order, classes, weights, tmp_path):
    spec = {"kind": "timm", "name": NAME, "pretrained": True, "channels": 1}
    network = models.build_model(make_order(spec, weights=str(tmp_path)), classes)
    torch.testing.assert_close(network.conv1[0].weight, weights.conv1[0].weight.sum(1, keepdim=True))


def test_missing_weights_are_refused_with_the_place_to_put_them(make_order, classes, tmp_path, monkeypatch):
    order = make_order({"kind": "timm", "name": NAME, "pretrained": True}, weights=str(tmp_path))
    failure = refusal(models.describe, order, classes)
    assert failure.errors[0].pointer == "/model/pretrained"
    assert f"{NAME}.safetensors" in failure.message


@pytest.mark.parametrize("content", [b"", b"\x80\x04not a model", b"\x08\x00\x00\x00\x00\x00\x00\x00{broken}"])
def test_a_file_that_is_no_safetensors_file_is_refused(make_order, classes, tmp_path, content):
    (tmp_path / f"{NAME}.safetensors").write_bytes(content)
    order = make_order({"kind": "timm", "name": NAME, "pretrained": True}, weights=str(tmp_path))
    assert refusal(models.build_model, order, classes).errors[0].pointer == "/model/pretrained"


def test_weights_of_another_network_are_refused(make_order, classes, tmp_path):
    other = timm.create_model("test_byobnet")
    safetensors.torch.save_file(other.state_dict(), tmp_path / f"{NAME}.safetensors")
    order = make_order({"kind": "timm", "name": NAME, "pretrained": True}, weights=str(tmp_path))
    failure = refusal(models.build_model, order, classes)
    assert "lack" in failure.message


def test_weights_that_are_no_numbers_are_refused_with_the_layers_name(make_order, classes, weights, tmp_path):
    tensors = weights.state_dict()
    tensors["layer2.0.conv1.weight"][0, 0] = float("nan")
    safetensors.torch.save_file(tensors, tmp_path / f"{NAME}.safetensors")
    order = make_order({"kind": "timm", "name": NAME, "pretrained": True}, weights=str(tmp_path))
    failure = refusal(models.build_model, order, classes)
    assert "not finite, in layer2.0.conv1.weight" in failure.message
    assert failure.errors[0].pointer == "/model/pretrained"
