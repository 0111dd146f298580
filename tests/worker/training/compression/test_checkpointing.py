"""Checkpointing: the same bits, fewer activations."""

import pytest
import torch
import torch.nn.functional as F

from app.contract.compression import Checkpointing
from worker.training.alive import kept_for_backward
from worker.training.blocks import blocks_of
from worker.training.compressing import attach, compress
from worker.training.errors import RunFailure
from worker.training.libraries import timm

SIZE = (32, 32)


def two_steps(model, method, course):
    """Gradients, buffers and random numbers after two steps with dropout."""
    torch.manual_seed(1)
    images = torch.randn(6, 3, *SIZE, dtype=torch.float64)
    methods = attach(model, method, SIZE, 3, course())
    for _ in range(2):
        F.cross_entropy(model(images), torch.arange(6)).backward()
    methods.detach()
    buffers = dict(model.named_buffers())
    return [each.grad for each in model.parameters()], buffers, torch.get_rng_state()


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_convnext"])
def test_gradients_statistics_and_random_numbers_are_bit_for_bit_those_without(course, name):
    def found(methods):
        torch.manual_seed(0)
        model = timm.create_model(name, num_classes=10, drop_rate=0.3, drop_path_rate=0.5).double().train()
        return two_steps(model, methods, course)

    gradients, buffers, numbers = found([Checkpointing()])
    same_gradients, same_buffers, same_numbers = found([])
    assert all(torch.equal(one, other) for one, other in zip(gradients, same_gradients, strict=True))
    assert all(torch.equal(buffer, same_buffers[name]) for name, buffer in buffers.items())
    assert torch.equal(numbers, same_numbers)


@pytest.mark.parametrize(
    ("name", "blocks"),
    [
        ("resnet18", [f"layer{stage}.{block}" for stage in (1, 2, 3, 4) for block in (0, 1)]),
        ("test_vit", ["blocks.0", "blocks.1", "blocks.2", "blocks.3", "blocks.4", "blocks.5"]),
    ],
)
def test_the_blocks_are_those_of_the_stages(make, name, blocks):
    assert list(blocks_of(make(name, device="meta"))) == blocks


def test_a_block_that_is_excluded_keeps_what_it_kept(make, course):
    model = make("resnet18", device="meta")
    first = Checkpointing(exclude=("layer1.*",))
    reasons = {change.name: change.reason for change in compress(model, [first], SIZE, 3)}
    assert reasons["layer1.0"] == "excluded by the spec"
    kept = []
    for method in ([Checkpointing()], [first], []):
        methods = attach(model, method, SIZE, 3, course())
        kept.append(kept_for_backward(model, 3, SIZE).floats)
        methods.detach()
    assert kept[0] < kept[1] < kept[2]


def test_a_network_without_blocks_is_refused(make):
    with pytest.raises(RunFailure) as refused:
        compress(make("vgg11", device="meta"), [Checkpointing()], SIZE, 3)
    assert refused.value.failure.errors[0].pointer == "/compression/0"


def test_in_evaluation_nothing_is_computed_twice(make, course):
    model = make("resnet10t")
    methods = attach(model, [Checkpointing()], SIZE, 3, course())
    calls = []
    model.get_submodule("layer1.0.conv1").register_forward_hook(lambda *_: calls.append(1))
    model(torch.randn(2, 3, *SIZE)).sum().backward()
    assert len(calls) == 1
    model.train()(torch.randn(2, 3, *SIZE)).sum().backward()
    assert len(calls) == 3
    methods.detach()
