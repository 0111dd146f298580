"""Training on the int8 grid: the rounding against a naive one, the ranges, where it begins, and how it goes on."""

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from app.contract.compression import Quantization
from worker.training.compressing import attach, compress
from worker.training.compression.quantization import MEMORY, Feeling, rounded_input, rounded_weight
from worker.training.errors import RunFailure

SIZE = (32, 32)
QAT = Quantization(mode="qat")


def naive(values, scale, zero, least, most):
    """Value by value."""
    grid = [min(max(round(float(value) / scale) + zero, least), most) for value in values.flatten()]
    return torch.tensor([(place - zero) * scale for place in grid]).reshape(values.shape)


@pytest.mark.parametrize("shape", [(6, 4, 3, 3), (6, 10)])
def test_weights_are_on_the_grid_of_their_channel(shape):
    weight = torch.randn(shape) * torch.logspace(-3, 2, 6).reshape(6, *[1] * (len(shape) - 1))
    weight[2] = 0
    found = rounded_weight(weight)
    for channel, rounded in zip(weight, found, strict=True):
        scale = float(channel.abs().max()) / 64
        torch.testing.assert_close(rounded, naive(channel, scale, 0, -64, 64) if scale else channel, rtol=1e-5, atol=0)


def test_folding_a_scale_into_the_weights_scales_the_grid():
    weight, gains = torch.randn(6, 4, 3, 3), torch.tensor([2.0, -0.5, 1.0, 4.0, -8.0, 0.25]).view(6, 1, 1, 1)
    assert torch.equal(rounded_weight(weight * gains), rounded_weight(weight) * gains)


@pytest.mark.parametrize(("least", "most"), [(-1.3, 2.7), (0.0, 4.0), (1.0, 4.0), (-4.0, -1.0)])
def test_inputs_are_on_a_grid_that_has_zero_on_it(least, most):
    values = torch.linspace(-5, 5, 301)
    found = rounded_input(values, torch.tensor([-least, most]))
    scale = (max(most, 0) - min(least, 0)) / 255
    wanted = naive(values, scale, round(-min(least, 0) / scale), 0, 255)
    assert (found - wanted).abs().max() <= scale * 1.001  # a tie may fall to either side
    assert (found - wanted).abs().mean() < 0.02 * scale
    assert bool((rounded_input(torch.zeros(1), torch.tensor([-least, most])) == 0).all())


def test_gradients_pass_inside_the_range_and_not_outside():
    values = torch.tensor([-3.0, -0.9, 0.0, 0.9, 3.0], requires_grad=True)
    rounded_input(values, torch.tensor([1.0, 1.0])).sum().backward()
    assert values.grad.tolist() == [0, 1, 1, 1, 0]


def layer_and_methods(course, largest=lambda values: values, epochs=4):
    torch.manual_seed(0)
    layer = nn.Sequential(nn.Conv2d(3, 4, 3))
    return layer.train(), Feeling([layer[0]], 2, course(epochs=epochs, largest=largest))


def test_it_begins_at_its_epoch_and_looks_before_it_rounds_inputs(course):
    layer, feeling = layer_and_methods(course)
    images = torch.randn(2, 3, 8, 8)
    plain = layer(images)
    outputs = []
    for epoch in (0, 1, 2, 2):
        feeling.begin_step(epoch)
        outputs.append(layer(images).detach())
        feeling.end_step()
    assert torch.equal(outputs[0], plain)
    assert torch.equal(outputs[1], plain)
    weights = torch.nn.functional.conv2d(images, rounded_weight(layer[0].weight), layer[0].bias)
    assert torch.equal(outputs[2], weights)
    assert not torch.equal(outputs[3], weights)
    on_grid = rounded_input(images, torch.stack([-images.min(), images.max()]))
    both = torch.nn.functional.conv2d(on_grid, rounded_weight(layer[0].weight), layer[0].bias)
    torch.testing.assert_close(outputs[3], both)


def test_ranges_are_those_of_all_ranks_and_move_slowly(course):
    others = torch.tensor([[7.0, 0.5]])
    layer, feeling = layer_and_methods(course, lambda mine: torch.maximum(mine, others))
    wanted = None
    for scale in (1.0, 3.0, 2.0):
        images = torch.rand(2, 3, 8, 8) * scale
        feeling.begin_step(2)
        layer(images[:1])
        layer(images[1:])  # a batch in two pieces
        feeling.end_step()
        seen = torch.tensor([[7.0, max(float(images.max()), 0.5)]])
        wanted = seen if wanted is None else MEMORY * wanted + (1 - MEMORY) * seen
        torch.testing.assert_close(feeling.state()["ranges"], wanted)


def test_it_goes_on_from_its_state(course):
    layer, feeling = layer_and_methods(course)
    for _ in range(3):
        feeling.begin_step(2)
        layer(torch.randn(2, 3, 8, 8))
        feeling.end_step()
    images = torch.randn(2, 3, 8, 8)
    feeling.begin_step(3)
    wanted, state = layer(images), {name: each.clone() for name, each in feeling.state().items()}
    feeling.detach()

    again, resumed = layer_and_methods(course)
    resumed.load(state)
    resumed.begin_step(3)
    assert torch.equal(again(images), wanted)


def test_before_it_begins_there_is_nothing_to_remember(course):
    assert layer_and_methods(course)[1].state() == {}


@pytest.mark.parametrize(("start", "first"), [(None, 2), (0.0, 0), (0.3, 2), (0.25, 1), (0.9, 4)])
def test_start_is_a_share_of_the_epochs(make, course, start, first):
    methods = attach(make("resnet10t"), [Quantization(mode="qat", start=start)], SIZE, 3, course(epochs=4))
    assert methods.attached["quantization"]._first_epoch == first


def test_evaluation_uses_the_ranges_and_does_not_move_them(make, course):
    model = make("resnet10t").train()
    methods = attach(model, [QAT], SIZE, 3, course())
    images = torch.randn(4, 3, *SIZE)
    for _ in range(2):
        methods.begin_step(3)
        model(images)
        methods.end_step()
    before = {name: each.clone() for name, each in methods.state()["quantization"].items()}
    rounded = model.eval()(10 * images)
    methods.begin_step(3)
    methods.end_step()
    assert torch.equal(methods.state()["quantization"]["ranges"], before["ranges"])
    methods.detach()
    assert not torch.equal(model(10 * images), rounded)


def test_after_training_nothing_is_rounded_in_training(make, course):
    model = make("resnet10t").train()
    methods = attach(model, [Quantization()], SIZE, 3, course())
    assert not [name for name, module in model.named_modules() if "forward" in module.__dict__]
    assert methods.state() == {}


def test_the_plan_names_the_layers(make):
    method = Quantization(exclude=("fc",))
    reasons = {change.name: change.reason for change in compress(make("resnet18"), [method], SIZE, 3)}
    assert reasons["fc"] == "excluded by the spec"
    assert {reason for name, reason in reasons.items() if name != "fc"} == {""}
    assert len(reasons) == 21

    with pytest.raises(RunFailure, match="ScaledStdConv2d computes its weights") as refused:
        compress(make("nf_resnet26", device="meta"), [Quantization(exclude=("head.fc",))], (64, 64), 3)
    assert refused.value.failure.errors[0].pointer == "/compression/0"


@pytest.mark.parametrize(
    ("given", "pointer"),
    [({"start": 0.5}, ("start",)), ({"calibration_images": 1}, ("calibration_images",)), ({"mode": "none"}, ("mode",))],
)
def test_what_makes_no_sense_is_refused(given, pointer):
    with pytest.raises(ValidationError) as refused:
        Quantization.model_validate(given)
    assert [error["loc"] for error in refused.value.errors()] == [pointer]
