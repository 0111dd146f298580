"""Depthwise separable convolutions: placement, counts, and what is left alone."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from app.contract.compression import DepthwiseSeparable
from worker.training.compression import compress
from worker.training.compression.depthwise_separable import DepthwiseSeparableConv2d, build
from worker.training.errors import RunFailure
from worker.training.libraries import Conv2dSame


def status_of(changes):
    return {change.name: change.reason for change in changes}


@given(
    kernel=st.tuples(st.integers(1, 5), st.integers(2, 5)),
    stride=st.integers(1, 3),
    padding=st.integers(0, 3),
    dilation=st.integers(1, 2),
    mode=st.sampled_from(["zeros", "reflect", "circular"]),
    bias=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_the_output_keeps_its_shape_for_any_placement(kernel, stride, padding, dilation, mode, bias):
    dense = nn.Conv2d(
        6, 4, kernel, stride=stride, padding=padding, dilation=dilation, padding_mode=mode, bias=bias
    ).eval()
    split = build(DepthwiseSeparable()).convert(dense)
    images = torch.randn(2, 6, 17, 15)
    assert split(images).shape == dense(images).shape
    assert split.get_submodule("pointwise").bias is None or bias


@pytest.mark.parametrize("side", [15, 16, 17])
def test_timms_same_padding_stays_same_padding(side):
    dense = Conv2dSame(6, 4, 3, stride=2)
    split = build(DepthwiseSeparable()).convert(dense)
    images = torch.randn(1, 6, side, side)
    assert isinstance(split.get_submodule("depthwise"), Conv2dSame)
    assert split(images).shape == dense(images).shape


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_paddings_by_name_are_carried_over(padding):
    dense = nn.Conv2d(6, 4, 3, padding=padding)
    images = torch.randn(1, 6, 9, 9)
    assert build(DepthwiseSeparable()).convert(dense)(images).shape == dense(images).shape


@pytest.mark.parametrize(("activation", "cls"), [("relu", nn.ReLU), ("silu", nn.SiLU), ("none", nn.Identity)])
def test_the_activation_of_the_spec_stands_between_the_two(activation, cls):
    split = build(DepthwiseSeparable(activation=activation)).convert(nn.Conv2d(8, 16, 3))
    assert [type(module) for module in split] == [nn.Conv2d, nn.BatchNorm2d, cls, nn.Conv2d]


@pytest.mark.parametrize("activation", ["relu", "silu", "none"])
def test_the_variance_of_activations_passes_through(activation):
    split = build(DepthwiseSeparable(activation=activation)).convert(nn.Conv2d(256, 256, 3, padding=1)).train()
    assert 0.7 < float(split(torch.randn(8, 256, 16, 16)).detach().var()) < 1.4


def test_the_stem_is_kept_unless_asked_for(make):
    kept = status_of(compress(make("resnet18"), [DepthwiseSeparable()], (64, 64), 3))
    split = status_of(compress(make("resnet18"), [DepthwiseSeparable(include_stem=True)], (64, 64), 3))
    assert kept["conv1"].startswith("it reads the image")
    assert not split["conv1"]


def test_a_stem_that_reads_rearranged_pixels_is_a_stem_too(make):
    model = make("tresnet_m", device="meta")  # space-to-depth: 48 channels
    stem = next(name for name, module in model.named_modules() if isinstance(module, nn.Conv2d))
    assert model.get_submodule(stem).in_channels == 48
    assert status_of(compress(model, [DepthwiseSeparable()], (64, 64), 3))[stem].startswith("it reads the image")


def test_excluded_layers_stay_and_a_pattern_without_a_layer_is_refused(make):
    reasons = status_of(compress(make("resnet10t"), [DepthwiseSeparable(exclude=("layer4.*",))], (64, 64), 3))
    assert {reason for name, reason in reasons.items() if name.startswith("layer4")} == {"excluded by the spec"}

    with pytest.raises(RunFailure) as refused:
        compress(make("resnet10t"), [DepthwiseSeparable(exclude=("layer4.*", "layer9.*"))], (64, 64), 3)
    assert refused.value.failure.errors[0].pointer == "/compression/0/exclude/1"
    assert "layer9.*" in refused.value.failure.message


def test_convolutions_that_compute_their_weights_are_kept_with_a_reason(make):
    with pytest.raises(RunFailure, match="ScaledStdConv2d computes its weights"):
        compress(make("nf_resnet26", device="meta"), [DepthwiseSeparable()], (64, 64), 3)


def test_a_parametrized_convolution_is_kept(make):
    model = make("resnet10t")
    torch.nn.utils.parametrizations.weight_norm(model.get_submodule("layer1.0.conv1"))
    reasons = status_of(compress(model, [DepthwiseSeparable()], (64, 64), 3))
    assert "parametrization" in reasons["layer1.0.conv1"]


def test_a_layer_used_twice_is_converted_in_both_places(make):
    model = make("resnet10t")
    model.layer3[0].conv2 = model.layer3[0].conv2
    model.add_module("again", model.layer1[0].conv2)
    compress(model, [DepthwiseSeparable()], (64, 64), 3)
    assert isinstance(model.again, DepthwiseSeparableConv2d)
    assert model.again is model.layer1[0].conv2


def test_images_that_vanish_in_the_network_are_refused_with_the_way_out(make):
    with pytest.raises(RunFailure) as refused:
        compress(make("inception_v3", device="meta"), [DepthwiseSeparable()], (32, 32), 3)
    assert refused.value.failure.errors[0].pointer == "/model/name"
    assert "larger image size" in refused.value.failure.message
