"""Saved activations: the rounding against a naive one, masks and pools bit for bit, errors and bytes of networks."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from app.contract.compression import SavedActivations
from worker.training.alive import kept_for_backward
from worker.training.compressing import attach, compress
from worker.training.compression._groups import GROUP, Codes, _codes, _rows, _values
from worker.training.compression.saved_activations import Rounded
from worker.training.errors import RunFailure

SIZE = (32, 32)


def naive(values, bits):
    """Each group in turn, value by value."""
    flat = [float(each) for each in values.flatten()]
    rounded = []
    for start in range(0, len(flat), GROUP):
        group = flat[start : start + GROUP]
        least, step = min(group), (max(group) - min(group)) / (2**bits - 1)
        rounded += [least + step * math.floor((each - least) / step + 0.5) if step else least for each in group]
    return torch.tensor(rounded, dtype=torch.float64).reshape(values.shape)


@pytest.mark.parametrize("bits", [8, 4, 2])
@pytest.mark.parametrize("shape", [(2, 8, 4, 4), (3, 5, 7, 3), (1, 300)])
def test_codes_are_those_of_a_naive_quantiser(bits, shape):
    values = torch.randn(shape, generator=torch.Generator().manual_seed(bits)) * 3 + 1
    wanted = naive(values, bits)
    rows = _rows(values)
    by_operators = _values(*_codes(rows, bits), bits).flatten()[: values.numel()].reshape(shape)
    step = float(values.max() - values.min()) / (2**bits - 1)
    for found in (Codes.of(values, bits).values(), by_operators):
        assert (found - wanted).abs().mean() < 0.02 * step  # ends of ranges are in fp16 with 4 and 2 bits
        assert (found - values).abs().max() < 0.55 * step


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("bits", [8, 4, 2])
def test_shape_type_and_order_in_memory_come_back(bits, dtype):
    values = torch.randn(3, 5, 7, 6).to(dtype)
    for given in (values, values.to(memory_format=torch.channels_last), values[:, 1:4], values.transpose(1, 3)):
        found = Codes.of(given, bits).values()
        assert (found.shape, found.dtype) == (given.shape, given.dtype)
        assert found.is_contiguous() or found.stride() == given.stride()
        torch.testing.assert_close(found.float(), given.float(), rtol=0, atol=3.0)


@pytest.mark.parametrize("bits", [4, 2])
@pytest.mark.parametrize(("spread", "middle"), [(1e-7, 0.0), (1e6, 0.0), (0.01, 1000.0)])
def test_ranges_that_fp16_does_not_hold_come_back_too(bits, spread, middle):
    values = spread * torch.randn((2, 8, 16, 16), generator=torch.Generator().manual_seed(bits)) + middle
    step = float(values.max() - values.min()) / (2**bits - 1)
    assert (Codes.of(values, bits).values() - values).abs().max() < 0.55 * step + 1e-7 * middle


def test_equal_values_and_zeros_are_exact():
    for value in (0.0, 2.5):
        values = torch.full((2, 4, 16, 16), value)
        assert torch.equal(Codes.of(values, 4).values(), values)


POOLS = [
    nn.MaxPool2d(3, 2, 1),
    nn.MaxPool2d((2, 3), (3, 1), (1, 0)),
    nn.MaxPool2d(3, 1, 1, dilation=2),
    nn.MaxPool2d(2, ceil_mode=True),
    nn.AvgPool2d(3, 2, 1),
    nn.AdaptiveAvgPool2d(3),
    nn.ReLU(),
    nn.ReLU(inplace=True),
    nn.ReLU6(),
]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("layer", POOLS, ids=str)
def test_masks_and_pools_give_the_very_gradients(layer, layout):
    images = (4 * torch.randn(2, 5, 13, 11)).to(memory_format=layout)
    weights = torch.randn(layer(images.clone()).shape)

    def gradient():
        given = images.clone(memory_format=torch.preserve_format).requires_grad_()
        output = layer(given * 1.0)
        return torch.autograd.grad((output * weights).sum(), given)[0]

    wanted = gradient()
    methods = Rounded(8, [layer])
    found = gradient()
    methods.detach()
    assert torch.equal(found, wanted)


def gradients(model, images):
    model.zero_grad()
    loss = F.cross_entropy(model(images), torch.arange(len(images)) % 10)
    loss.backward()
    return loss.detach(), torch.cat([each.grad.flatten() for each in model.parameters()]).double()


# Images this small are the hardest: the last stage normalises over 8 values a channel. Large ones have half the error.
@pytest.mark.parametrize(
    ("bits", "least", "most", "dtype"),
    [
        (8, 1e-4, 0.01, torch.float32),
        (8, 1e-4, 0.01, torch.float64),
        (4, 1e-3, 0.2, torch.float32),
        (2, 1e-2, 2.0, torch.float32),
    ],
)
def test_the_loss_is_exact_and_gradients_are_off_by_little(make, course, bits, least, most, dtype):
    model = make("resnet18").to(dtype, memory_format=torch.channels_last).train()
    images = torch.randn(8, 3, *SIZE, dtype=dtype, generator=torch.Generator().manual_seed(0))
    loss, wanted = gradients(model, images)
    methods = attach(model, [SavedActivations(bits=bits)], SIZE, 3, course(dtype))
    same_loss, found = gradients(model, images)
    methods.detach()
    assert torch.equal(loss, same_loss)
    assert least < float((found - wanted).norm() / wanted.norm()) < most


@pytest.mark.parametrize(("bits", "ratio"), [(8, 3.0), (4, 4.5), (2, 8.0)])
def test_less_is_kept(make, course, bits, ratio):
    model = make("resnet18", device="meta")
    plain = kept_for_backward(model, 3, (224, 224)).bytes(1.0)
    methods = attach(model, [SavedActivations(bits=bits)], (224, 224), 3, course())
    assert plain > ratio * kept_for_backward(model, 3, (224, 224)).bytes(1.0)
    methods.detach()


class TwoReaders(nn.Module):
    """Both convolutions read what ReLU wrote."""

    def __init__(self, readers):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, bias=False)
        self.relu = nn.ReLU(inplace=True)
        self.readers = nn.ModuleList(nn.Conv2d(8, 8, 1, bias=False) for _ in range(readers))

    def forward(self, images):
        read = self.relu(self.stem(images))
        return sum(reader(read).mean((2, 3)) for reader in self.readers)


@pytest.mark.parametrize("autocast", [False, True])
def test_what_several_read_is_kept_once(autocast):
    def codes(readers):
        model = TwoReaders(readers)
        methods = Rounded(8, list(model.readers))
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            output = model(torch.randn(2, 3, 16, 16)).sum()
        found = len(methods._codes)
        output.backward()
        assert not methods._codes, "what was kept goes with the graph"
        return found

    assert codes(3) == codes(1) == 1


def test_a_tensor_written_in_place_is_another_tensor():
    first, second = nn.Conv2d(8, 8, 1, bias=False), nn.Conv2d(8, 8, 1, bias=False)
    Rounded(8, [second])
    images = torch.randn(2, 8, 16, 16)
    given = torch.zeros_like(images)
    first(given)
    given.add_(images)
    output = second(given)
    output.sum().backward()
    wanted = images.sum((0, 2, 3)).expand(8, -1)
    torch.testing.assert_close(second.weight.grad[:, :, 0, 0], wanted, rtol=0, atol=1.0)


def test_the_plan_names_what_stays(make):
    method = SavedActivations(exclude=("layer1.*",))
    reasons = {change.name: change.reason for change in compress(make("resnet18"), [method], SIZE, 3)}
    assert reasons["conv1"].startswith("it reads the image")
    assert reasons["layer1.0.conv1"] == "excluded by the spec"
    assert reasons["fc"] == "what a Linear saves is not covered"
    assert not any(reasons[name] for name in ("bn1", "act1", "maxpool", "layer2.0.conv1", "layer2.0.downsample.1"))


def test_a_pattern_without_a_layer_is_refused(make):
    with pytest.raises(RunFailure) as refused:
        compress(make("resnet18"), [SavedActivations(exclude=("layer9.*",))], SIZE, 3)
    assert refused.value.failure.errors[0].pointer == "/compression/0/exclude/0"
