"""Parameters, MACs and memory: against published figures and against a real backward pass."""

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from app.contract.training import AdamW, Sgd, Training
from worker.training.architecture import Architecture, assemble
from worker.training.cost import Share, count_macs_of, network_cost, training_memory_bytes


def build(name, device="meta", outputs=1000, size=None):
    with torch.device(device):
        return assemble(Architecture(name=name, channels=3, outputs=outputs, image_size=size))


# Parameters and MACs as published by timm, torchvision and the papers, in millions.
@pytest.mark.parametrize(
    ("name", "parameters", "macs"),
    [
        ("resnet18", 11.69, 1814),
        ("resnet50", 25.56, 4089),
        ("mobilenetv2_100", 3.50, 301),
        ("vgg11", 132.86, 7609),
        ("densenet121", 7.98, 2834),
    ],
)
def test_counts_are_the_published_ones(name, parameters, macs):
    found = network_cost(build(name), 3, (224, 224))
    assert found.parameters / 1e6 == pytest.approx(parameters, abs=0.005)
    assert found.macs / 1e6 == pytest.approx(macs, abs=1)


def test_attention_is_counted():
    """12 blocks of 197 tokens by 192 features: 2 x 197^2 x 192 MACs each, beside the linear layers' 1.08 G."""
    found = network_cost(build("vit_tiny_patch16_224", size=(224, 224)), 3, (224, 224))
    assert found.macs == pytest.approx(1.075e9 + 12 * 2 * 197**2 * 192, rel=0.01)


def test_layers_are_counted_with_what_is_inside_them_and_as_often_as_they_are_called():
    class Twice(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.body = torch.nn.Sequential(torch.nn.Conv2d(3, 3, 3, padding=1), torch.nn.Conv2d(3, 3, 1, groups=3))
            self.head = torch.nn.Linear(8, 5)

        def forward(self, images):
            return self.head(self.body(self.body(images)))

    macs = count_macs_of(Twice(), ["body", "body.1", "head"], 3, (8, 8))
    assert macs.by_layer == {"body": 2 * 64 * (3 * 3 * 9 + 3), "body.1": 2 * 64 * 3, "head": 3 * 8 * 8 * 5}
    assert macs.whole == macs.by_layer["body"] + macs.by_layer["head"]


def test_counting_does_not_change_the_network():
    model = build("test_resnet", device="cpu").train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    network_cost(model, 3, (64, 64))
    assert model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_weights_bytes_are_those_of_parameters_and_buffers():
    found = network_cost(build("test_resnet"), 3, (64, 64))
    stored = build("test_resnet", device="cpu").state_dict()
    assert found.weights_bytes == sum(tensor.numel() * tensor.element_size() for tensor in stored.values())


def test_the_activations_of_the_estimate_are_what_a_real_step_keeps():
    model = build("test_resnet", device="cpu", outputs=10).train()
    kept = {}

    def keep(tensor):
        if not (tensor.is_leaf and tensor.requires_grad):
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        scores = model(torch.randn(8, 3, 64, 64))
    real = sum(kept.values())
    scores.sum().backward()

    training = Training(optimizer=Sgd(momentum=0.0))
    weights = 2 * 4 * sum(parameter.numel() for parameter in model.parameters())
    estimate = training_memory_bytes(model, training, 3, (64, 64), Share(8)) - weights
    assert real <= estimate <= 1.5 * real


def test_the_estimate_follows_batch_optimizer_processes_and_precision():
    model = build("test_resnet")

    def memory(images=8, processes=1, exchanged=0, **training):
        share = Share(images, processes, exchanged=exchanged)
        return training_memory_bytes(model, Training(**training), 3, (64, 64), share)

    weights = 4 * sum(parameter.numel() for parameter in model.parameters())
    assert memory(optimizer=AdamW()) - memory(optimizer=Sgd()) == weights
    assert memory(processes=2) - memory() == weights
    assert memory(processes=2, exchanged=2) - memory() == 3 * weights
    assert memory(images=16) > memory(images=8) > memory(images=8, precision="bf16")
    assert memory(precision="fp64") > 1.9 * memory(precision="fp32")
