"""Activation compression: group means, narrower layers, and who may be narrowed."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from app.contract.compression import ActivationCompression, DepthwiseSeparable
from worker.training.compressing import compress
from worker.training.compression.activation_compression import GroupMean, LearnedGroupMean, build
from worker.training.cost import network_cost
from worker.training.errors import RunFailure
from worker.training.libraries import Conv2dSame

SIZE = (64, 64)


def reasons_of(changes):
    return {change.name: change.reason for change in changes}


def refusal(model, *methods):
    with pytest.raises(RunFailure) as refused:
        compress(model, methods, SIZE, 3)
    return refused.value.failure


@pytest.mark.parametrize("ratio", [2, 3, 8])
def test_the_group_mean_is_the_mean_of_neighbouring_channels(ratio):
    images = torch.randn(2, 24, 5, 7, dtype=torch.float64)
    wanted = images.reshape(2, 24 // ratio, ratio, 5, 7).mean(2)
    torch.testing.assert_close(GroupMean(ratio)(images), wanted, rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(LearnedGroupMean(24, ratio).double()(images), wanted, rtol=1e-7, atol=1e-7)


def test_the_group_mean_keeps_channels_last():
    images = torch.randn(2, 8, 4, 4).to(memory_format=torch.channels_last)
    assert GroupMean(2)(images).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("cls", [nn.Conv2d, Conv2dSame])
def test_equal_channels_give_the_outputs_of_the_original(cls, learned):
    dense = cls(12, 5, 3, stride=2, dilation=2).double()
    narrowed = build(ActivationCompression(ratio=4, learned=learned)).convert(dense)
    images = torch.randn(2, 3, 17, 17, dtype=torch.float64).repeat_interleave(4, dim=1)
    torch.testing.assert_close(narrowed(images), dense(images), rtol=1e-12, atol=1e-12)


@given(
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    stride=st.integers(1, 3),
    padding=st.integers(0, 3),
    dilation=st.integers(1, 2),
    mode=st.sampled_from(["zeros", "reflect", "circular"]),
    ratio=st.sampled_from([2, 3, 6]),
    learned=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_the_output_keeps_its_shape_for_any_placement(kernel, stride, padding, dilation, mode, ratio, learned):
    dense = nn.Conv2d(6, 4, kernel, stride=stride, padding=padding, dilation=dilation, padding_mode=mode)
    narrowed = build(ActivationCompression(ratio=ratio, learned=learned)).convert(dense)
    images = torch.randn(2, 6, 17, 15)
    assert narrowed(images).shape == dense(images).shape


def test_random_weights_keep_the_variance_that_fan_in_asks_for():
    dense = nn.Conv2d(256, 512, 3)
    nn.init.kaiming_normal_(dense.weight, mode="fan_in")
    narrow = build(ActivationCompression(ratio=4)).convert(dense).get_submodule("conv")
    assert float(narrow.weight.detach().var()) == pytest.approx(2 / (64 * 9), rel=0.05)


def test_the_average_is_trained_only_when_it_is_learned(make):
    fixed, learned = make("resnet10t"), make("resnet10t")
    compress(fixed, [ActivationCompression()], SIZE, 3)
    compress(learned, [ActivationCompression(learned=True)], SIZE, 3)
    assert not [each for each in fixed.modules() if isinstance(each, LearnedGroupMean)]
    assert all(each.weight.requires_grad for each in learned.modules() if isinstance(each, LearnedGroupMean))
    assert not [
        parameter for module in fixed.modules() if isinstance(module, GroupMean) for parameter in module.parameters()
    ]


# Found with a prototype that traced the graph symbolically, in the same networks with 10 classes.
@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("resnet18", 11_181_642, 8.05e6),
        ("resnet50", 23_528_522, 15.35e6),
        ("efficientnet_b0", 4_020_358, 2.59e6),
        ("densenet121", 6_964_106, 3.53e6),
    ],
)
def test_single_reader_narrows_what_only_one_layer_reads(make, name, before, after):
    model = make(name, device="meta")
    assert network_cost(model, 3, SIZE).parameters == before
    compress(model, [ActivationCompression(where="single_reader")], SIZE, 3)
    assert network_cost(model, 3, SIZE).parameters == pytest.approx(after, abs=0.005e6)


def test_single_reader_leaves_what_a_shortcut_reads_too(make):
    reasons = reasons_of(compress(make("resnet18"), [ActivationCompression(where="single_reader")], SIZE, 3))
    assert reasons["layer1.1.conv1"] == "2 operations read its input"
    assert not reasons["layer1.1.conv2"]


def test_the_convolution_that_reads_the_image_is_never_narrowed(make):
    model = make("resnet18", channels=1)
    reasons = reasons_of(compress(model, [ActivationCompression()], SIZE, 1))
    assert reasons["conv1"] == "it reads the image"


def test_channels_that_do_not_divide_are_named_or_refused_when_asked_for(make):
    reasons = reasons_of(compress(make("resnet10t"), [ActivationCompression(ratio=64)], SIZE, 3))
    assert reasons["conv1.3"] == "its 24 channels are fewer than the ratio of 64"

    failure = refusal(make("resnet10t"), ActivationCompression(ratio=64, layers=("layer4.*", "conv1.?")))
    assert failure.errors[0].pointer == "/compression/0/layers/1"
    assert "conv1.3 cannot be compressed: its 24 channels are fewer than the ratio of 64" in failure.message


def test_inside_residual_blocks_the_following_layer_gets_narrower_by_the_formula(make):
    """resnet10t has one block a stage: each of its convolutions but the stem's first reads half as many channels."""
    model = make("resnet10t")
    before = {name: each.weight.shape for name, each in model.named_modules() if isinstance(each, nn.Conv2d)}
    changes = compress(model, [ActivationCompression(ratio=2)], SIZE, 3)
    for change in changes[1:]:
        outputs, inputs, *kernel = before[change.name]
        assert model.get_submodule(change.name).conv.weight.shape == (outputs, inputs // 2, *kernel)
        assert change.parameters_before == 2 * change.parameters_after
        assert change.macs_before == 2 * change.macs_after


def test_only_the_layers_of_the_spec_are_narrowed(make):
    model = make("resnet10t")
    reasons = reasons_of(compress(model, [ActivationCompression(layers=("layer4.*",), exclude=("*.conv2",))], SIZE, 3))
    assert [name for name, reason in reasons.items() if not reason] == ["layer4.0.conv1", "layer4.0.downsample.1"]


def test_a_layer_asked_for_by_name_that_cannot_be_narrowed_is_refused(make):
    failure = refusal(make("resnet10t"), ActivationCompression(layers=("conv1.0",)))
    assert failure.errors[0].pointer == "/compression/0/layers/0"
    assert "reads the image" in failure.message


def test_a_name_that_no_layer_has_is_refused(make):
    failure = refusal(make("resnet10t"), DepthwiseSeparable(), ActivationCompression(layers=("layer7.conv",)))
    assert failure.errors[0].pointer == "/compression/1/layers/0"


def test_a_ratio_that_fits_nowhere_is_refused(make):
    failure = refusal(make("test_resnet"), ActivationCompression(ratio=61))
    assert failure.errors[0].pointer == "/compression/0"
    assert "do not divide by 61" in failure.message


def test_a_learned_average_that_would_cost_more_than_it_saves_is_left_out(make):
    reasons = reasons_of(compress(make("resnet50", device="meta"), [ActivationCompression(learned=True)], SIZE, 3))
    assert reasons["layer4.2.conv1"].startswith("its learned average would have more weights")


def test_it_compresses_the_pointwise_halves_of_a_split_network(make):
    model = make("resnet10t")
    compress(model, [DepthwiseSeparable(), ActivationCompression()], SIZE, 3)
    assert type(model.layer2[0].conv1.pointwise.reduce) is GroupMean
    assert model(torch.zeros(2, 3, *SIZE)).shape == (2, 10)


def test_a_layer_whose_weights_the_network_looks_at_is_left_alone(make):
    reasons = reasons_of(compress(make("edgenext_xx_small", device="meta"), [ActivationCompression()], (256, 256), 3))
    assert list(reasons.values()).count("the network looks at its weights") == 1
