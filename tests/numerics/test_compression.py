"""Each compression against its definition, written out naively, and against the counts that papers publish."""

from collections import OrderedDict

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from app.contract.compression import ActivationCompression, DepthwiseSeparable, LowRank
from worker.training.architecture import Architecture, assemble
from worker.training.compressing import compress
from worker.training.compression import activation_compression, depthwise_separable, low_rank
from worker.training.cost import network_cost

# N = images, C = channels, K = kernel side


def dense_mobilenet() -> nn.Sequential:
    """MobileNet 1.0 at 224 (arXiv 1704.04861, table 1) with dense convolutions in place of the separable ones."""
    widths = [(32, 64, 1), (64, 128, 2), (128, 128, 1), (128, 256, 2), (256, 256, 1), (256, 512, 2)]
    widths += [(512, 512, 1)] * 5 + [(512, 1024, 2), (1024, 1024, 1)]
    layers: list[nn.Module] = [block(3, 32, 2), *(block(*width) for width in widths)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1024, 1000))


def block(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
    return nn.Sequential(OrderedDict(conv=conv, bn=nn.BatchNorm2d(outputs), relu=nn.ReLU()))


def separate(network: nn.Sequential) -> None:
    method = depthwise_separable.build(DepthwiseSeparable())
    for name, layer in list(network.named_modules()):
        if isinstance(layer, nn.Conv2d) and layer.in_channels > 3:
            network.set_submodule(name, method.convert(layer))


def test_mobilenet_has_the_published_counts_before_and_after():
    with torch.device("meta"):
        network = dense_mobilenet()
    dense = network_cost(network, 3, (224, 224))
    separate(network)
    separable = network_cost(network, 3, (224, 224))

    assert round(dense.parameters / 1e6, 1) == 29.3
    assert round(separable.parameters / 1e6, 1) == 4.2
    assert separable.macs == 568_740_352  # published: 569 M
    # Published: 4,866 M, which are the convolutions alone; the 569 M has the classifier in it (567.72 M without). Here
    # every layer counts in both.
    assert dense.macs == 4_866_269_184 + 1024 * 1000
    assert dense.macs / 1e6 == pytest.approx(4866, rel=3e-4)


def test_resnet18_has_the_published_counts_after():
    with torch.device("meta"):
        network = assemble(Architecture(name="resnet18", channels=3, outputs=1000))
    compress(network, [DepthwiseSeparable()], (224, 224), 3)
    found = network_cost(network, 3, (224, 224))
    assert round(found.parameters / 1e6, 2) == 1.96
    assert round(found.macs / 1e9, 2) == 0.34


@pytest.mark.parametrize(("kernel", "outputs"), [(3, 64), (5, 16), (3, 256)])
def test_the_cost_falls_to_one_over_outputs_plus_one_over_kernel_squared(kernel, outputs):
    dense = nn.Conv2d(32, outputs, kernel, padding=kernel // 2, bias=False)
    split = depthwise_separable.build(DepthwiseSeparable()).convert(dense)
    before, after = (network_cost(each, 32, (16, 16)).macs for each in (dense, split))
    assert after / before == pytest.approx(1 / outputs + 1 / kernel**2, rel=1e-12)


def naive(images_NCHW: Tensor, weight: Tensor, stride: int, padding: int, dilation: int, groups: int) -> Tensor:
    """A convolution as its definition says, in loops."""
    padded = F.pad(images_NCHW, [padding] * 4)
    count, channels, height, width = padded.shape
    outputs, per_group, side, _ = weight.shape
    reach = dilation * (side - 1) + 1
    rows, columns = (height - reach) // stride + 1, (width - reach) // stride + 1
    result = torch.zeros(count, outputs, rows, columns, dtype=weight.dtype)
    for output in range(outputs):
        first = output // (outputs // groups) * per_group
        seen = padded[:, first : first + per_group]
        for row in range(rows):
            for column in range(columns):
                top, left = row * stride, column * stride
                window = seen[:, :, top : top + reach : dilation, left : left + reach : dilation]
                result[:, output, row, column] = (window * weight[output]).sum((1, 2, 3))
    assert channels == per_group * groups
    return result


@pytest.mark.parametrize(("stride", "padding", "dilation"), [(1, 1, 1), (2, 1, 1), (1, 2, 2), (3, 0, 1)])
def test_the_split_layer_is_depthwise_then_bn_then_relu_then_pointwise(stride, padding, dilation):
    generator = torch.Generator().manual_seed(0)
    dense = nn.Conv2d(4, 6, 3, stride=stride, padding=padding, dilation=dilation, bias=True).double()
    split = depthwise_separable.build(DepthwiseSeparable()).convert(dense).eval()
    bn, pointwise = split.get_submodule("bn"), split.get_submodule("pointwise")
    for tensor in (bn.weight.data, bn.bias.data, bn.running_mean, pointwise.bias.data):
        tensor.copy_(torch.randn(tensor.shape, generator=generator, dtype=torch.float64))
    bn.running_var.copy_(torch.rand(4, generator=generator, dtype=torch.float64) + 0.5)
    images = torch.randn(2, 4, 9, 8, generator=generator, dtype=torch.float64)

    filtered = naive(images, split.get_submodule("depthwise").weight.data, stride, padding, dilation, groups=4)
    scale = bn.weight.data / (bn.running_var + bn.eps).sqrt()
    normal = (filtered - bn.running_mean[:, None, None]) * scale[:, None, None] + bn.bias.data[:, None, None]
    mixed = torch.einsum("oc,nchw->nohw", pointwise.weight.data[:, :, 0, 0], normal.clamp(min=0))
    wanted = mixed + pointwise.bias.data[:, None, None]
    torch.testing.assert_close(split(images), wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("rank", "stride", "padding", "dilation"), [(1, 1, 1, 1), (2, 2, 1, 1), (9, 1, 2, 2)])
def test_a_converted_layer_is_the_sum_over_channels_of_their_best_low_rank_filters(rank, stride, padding, dilation):
    dense = nn.Conv2d(4, 12, 3, stride=stride, padding=padding, dilation=dilation).double()
    split = depthwise_separable.build(DepthwiseSeparable(init="svd", rank=rank)).convert(dense)
    nearest = torch.zeros_like(dense.weight.data)
    for channel in range(4):
        left, values, right = torch.linalg.svd(dense.weight.data[:, channel].flatten(1), full_matrices=False)
        kept = left[:, :rank] @ torch.diag(values[:rank]) @ right[:rank]
        nearest[:, channel] = kept.reshape(12, 3, 3)
    images = torch.randn(2, 4, 9, 8, dtype=torch.float64)
    wanted = naive(images, nearest, stride, padding, dilation, groups=1) + dense.bias.data[:, None, None]
    torch.testing.assert_close(split(images), wanted, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("stride", "padding", "outputs"), [(1, 0, 6), (2, 1, 12)])
def test_a_low_rank_layer_is_the_convolution_with_its_best_low_rank_weights(stride, padding, outputs):
    dense = nn.Conv2d(9, outputs, 1, stride=stride, padding=padding).double()
    factored = low_rank.build(LowRank(rank=3)).convert(dense, 3)
    left, values, right = torch.linalg.svd(dense.weight.data.flatten(1), full_matrices=False)
    nearest = (left[:, :3] @ torch.diag(values[:3]) @ right[:3])[:, :, None, None]
    images = torch.randn(2, 9, 7, 8, dtype=torch.float64)
    wanted = naive(images, nearest, stride, padding, 1, groups=1) + dense.bias.data[:, None, None]
    torch.testing.assert_close(factored(images), wanted, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("ratio", [2, 4])
def test_the_compressed_layer_is_a_dense_one_with_equal_weights_in_each_group(ratio):
    """mean over the group, then the sum of its weights: the same as every member's weight being their average."""
    dense = nn.Conv2d(8, 5, 3, padding=1, stride=2).double()
    narrowed = activation_compression.build(ActivationCompression(ratio=ratio)).convert(dense)
    average = dense.weight.data.unflatten(1, (-1, ratio)).mean(2).repeat_interleave(ratio, dim=1)
    images = torch.randn(2, 8, 9, 9, dtype=torch.float64)
    wanted = naive(images, average, 2, 1, 1, groups=1) + dense.bias.data[:, None, None]
    torch.testing.assert_close(narrowed(images), wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("ratio", [2, 4, 8])
def test_the_compressed_layer_costs_exactly_one_over_ratio(ratio):
    dense = nn.Conv2d(64, 48, 3, padding=1, bias=False)
    narrowed = activation_compression.build(ActivationCompression(ratio=ratio)).convert(dense)
    before, after = (network_cost(each, 64, (8, 8)) for each in (dense, narrowed))
    assert before.parameters == ratio * after.parameters
    assert before.macs == ratio * after.macs


def test_gradients_through_the_group_mean_are_exact():
    mean = activation_compression.GroupMean(3)
    images = torch.randn(2, 6, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(mean, (images,))
