"""Depthwise separable convolutions: placement, counts, and what is left alone."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from app.contract.compression import DepthwiseSeparable
from worker.training.architecture import Architecture
from worker.training.compressing import compress, outcomes
from worker.training.compression.depthwise_separable import DepthwiseSeparableConv2d, build
from worker.training.errors import RunFailure
from worker.training.libraries import Conv2dSame

SVD = DepthwiseSeparable(init="svd")


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


PLACEMENTS = {
    "kernel": st.tuples(st.integers(1, 5), st.integers(2, 5)),
    "stride": st.integers(1, 3),
    "padding": st.integers(0, 3),
    "dilation": st.integers(1, 2),
    "mode": st.sampled_from(["zeros", "reflect", "circular"]),
    "bias": st.booleans(),
    "outputs": st.integers(1, 30),
}


@given(**PLACEMENTS)
@settings(max_examples=40, deadline=None)
def test_at_full_rank_a_converted_layer_gives_the_outputs_of_the_original(
    kernel, stride, padding, dilation, mode, bias, outputs
):
    dense = nn.Conv2d(
        3, outputs, kernel, stride=stride, padding=padding, dilation=dilation, padding_mode=mode, bias=bias
    ).double()
    split = build(SVD).convert(dense)
    images = torch.randn(2, 3, 17, 15, dtype=torch.float64)
    torch.testing.assert_close(split(images), dense(images), rtol=0, atol=1e-10)
    assert split.get_submodule("depthwise").out_channels == 3 * min(kernel[0] * kernel[1], outputs)


def test_at_full_rank_same_padding_stays_too():
    dense = Conv2dSame(4, 12, 3, stride=2).double()
    images = torch.randn(2, 4, 18, 17, dtype=torch.float64)
    torch.testing.assert_close(build(SVD).convert(dense)(images), dense(images), rtol=0, atol=1e-10)


@pytest.mark.parametrize("rank", [1, 2, 5])
def test_at_a_lower_rank_what_is_lost_are_the_smaller_singular_values(rank):
    dense = nn.Conv2d(3, 20, 3).double()
    split = build(DepthwiseSeparable(init="svd", rank=rank)).convert(dense)
    depthwise = split.get_submodule("depthwise").weight.detach().reshape(3, rank, 9)
    pointwise = split.get_submodule("pointwise").weight.detach().reshape(20, 3, rank)
    product = torch.einsum("ocr,crk->ock", pointwise, depthwise)
    lost = (product - dense.weight.detach().flatten(2)).square().sum((0, 2))
    values = torch.linalg.svdvals(dense.weight.detach().flatten(2).permute(1, 0, 2))
    torch.testing.assert_close(lost, values[:, rank:].square().sum(1), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(depthwise.square().sum(), pointwise.square().sum(), rtol=1e-10, atol=0)


def test_a_layer_takes_no_more_filters_than_its_full_rank():
    split = build(DepthwiseSeparable(init="svd", rank=500)).convert(nn.Conv2d(6, 4, (1, 3)))
    assert split.get_submodule("depthwise").out_channels == 6 * 3


def test_weights_that_are_zero_can_still_be_trained():
    dense = nn.Conv2d(3, 8, 3)
    nn.init.zeros_(dense.weight)
    split = build(DepthwiseSeparable(init="svd", rank=2)).convert(dense)
    split(torch.randn(2, 3, 8, 8)).sum().backward()
    assert float(split.get_submodule("pointwise").weight.grad.abs().sum()) > 0


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet"])
def test_a_whole_network_converted_at_full_rank_gives_the_same_outputs(make, name):
    model = make(name).double()
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    before = model(images)
    outcome = outcomes(model, [DepthwiseSeparable(init="svd", include_stem=True)], (64, 64), 3)[0]
    torch.testing.assert_close(model(images), before, rtol=0, atol=1e-10)
    assert outcome.exact
    assert outcome.effect.parameters_after > outcome.effect.parameters_before


def test_layers_for_which_a_rank_does_not_pay_are_kept_and_it_is_not_exact(make):
    outcome = outcomes(make("resnet10t"), [DepthwiseSeparable(init="svd", rank=8)], (64, 64), 3)[0]
    assert not outcome.exact
    reasons = status_of(outcome.layers)
    assert reasons["conv1.3"] == "it has 6912 weights, its two halves would have 7872"
    assert not reasons["layer4.0.conv2"]


@pytest.mark.parametrize("rank", [1, 3])
def test_random_filters_may_be_several_a_channel(rank):
    dense = nn.Conv2d(8, 64, 3, stride=2, padding=1, bias=False)
    split = build(DepthwiseSeparable(rank=rank)).convert(dense)
    assert sum(each.numel() for each in split.parameters()) == 8 * rank * (9 + 2 + 64)
    assert split(torch.zeros(1, 8, 9, 9)).shape == dense(torch.zeros(1, 8, 9, 9)).shape


def test_grouped_and_transposed_convolutions_are_named_and_kept():
    class Unusual(nn.Sequential):
        trainyard_architecture = Architecture(name="resnet10t", channels=3, outputs=10)

    model = Unusual(
        nn.Conv2d(3, 8, 3),
        nn.Conv2d(8, 8, 3, groups=2),
        nn.ConvTranspose2d(8, 16, 3, stride=2),
        nn.Conv2d(16, 32, 3, dilation=2, stride=2),
    )
    reasons = status_of(compress(model, [DepthwiseSeparable()], (32, 32), 3))
    assert reasons == {
        "0": "it reads the image (include_stem is false)",
        "1": "it has 2 groups already",
        "2": "it is a ConvTranspose2d, and only Conv2d can be replaced",
        "3": "",
    }


def test_layers_that_share_their_weights_are_kept_with_the_others_name(make):
    model = make("resnet10t")
    model.add_module("again", nn.Conv2d(128, 128, 3, bias=False))
    model.again.weight = model.layer2[0].conv2.weight
    reasons = status_of(compress(model, [DepthwiseSeparable()], (64, 64), 3))
    assert reasons["layer2.0.conv2"] == "its weights are those of again too"
    assert reasons["again"] == "its weights are those of layer2.0.conv2 too"


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


def test_a_transformer_has_nothing_for_it(make):
    with pytest.raises(RunFailure, match=r"patch_embed.proj kept: it reads the image") as refused:
        compress(make("test_vit"), [DepthwiseSeparable()], (160, 160), 3)
    assert refused.value.failure.errors[0].pointer == "/compression/0"


def test_images_that_vanish_in_the_network_are_refused_with_the_way_out(make):
    with pytest.raises(RunFailure) as refused:
        compress(make("inception_v3", device="meta"), [DepthwiseSeparable()], (32, 32), 3)
    assert refused.value.failure.errors[0].pointer == "/model/name"
    assert "larger image size" in refused.value.failure.message
