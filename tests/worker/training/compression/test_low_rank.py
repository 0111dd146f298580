"""Low-rank layers: ranks by energy, which layers pay, and what is left alone."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from app.contract.compression import LowRank
from worker.training import architecture
from worker.training.architecture import Architecture, assemble
from worker.training.compressing import compress
from worker.training.compression.low_rank import build, rank_of_energy
from worker.training.errors import RunFailure
from worker.training.libraries import Conv2dSame

SIZE = (64, 64)


def reasons_of(changes):
    return {change.name: change.reason for change in changes}


@given(
    inputs=st.integers(2, 12),
    outputs=st.integers(2, 12),
    stride=st.integers(1, 3),
    padding=st.integers(0, 2),
    mode=st.sampled_from(["zeros", "reflect", "circular"]),
    bias=st.booleans(),
    rank=st.integers(1, 12),
)
@settings(max_examples=40, deadline=None)
def test_the_output_keeps_its_shape_and_at_full_rank_its_values(inputs, outputs, stride, padding, mode, bias, rank):
    full, rank = min(inputs, outputs), min(rank, inputs, outputs)
    dense = nn.Conv2d(inputs, outputs, 1, stride=stride, padding=padding, padding_mode=mode, bias=bias).double()
    images = torch.randn(2, inputs, 7, 6, dtype=torch.float64)
    assert build(LowRank(rank=rank)).convert(dense, rank)(images).shape == dense(images).shape
    same = build(LowRank(rank=full)).convert(dense, full)
    torch.testing.assert_close(same(images), dense(images), rtol=0, atol=1e-10)


@pytest.mark.parametrize(("inputs", "outputs"), [(20, 8), (8, 20)])
@pytest.mark.parametrize("bias", [False, True])
def test_a_linear_layer_loses_its_smaller_singular_values(inputs, outputs, bias):
    dense = nn.Linear(inputs, outputs, bias).double()
    factored = build(LowRank(rank=3)).convert(dense, 3)
    product = factored.get_submodule("expand").weight @ factored.get_submodule("reduce").weight
    lost = (product - dense.weight).detach().square().sum()
    values = torch.linalg.svdvals(dense.weight.detach())
    torch.testing.assert_close(lost, values[3:].square().sum(), rtol=1e-10, atol=1e-12)
    tokens = torch.randn(2, 5, inputs, dtype=torch.float64)
    assert factored(tokens).shape == (2, 5, outputs)
    assert (factored.get_submodule("expand").bias is not None) == bias


def test_same_padding_with_a_stride_stays():
    dense = Conv2dSame(6, 8, 1, stride=2).double()
    images = torch.randn(2, 6, 9, 8, dtype=torch.float64)
    torch.testing.assert_close(build(LowRank(rank=6)).convert(dense, 6)(images), dense(images), rtol=0, atol=1e-10)


@pytest.mark.parametrize("shape", [(8, 20), (20, 8)])
def test_weights_that_are_zero_can_still_be_trained(shape):
    dense = nn.Linear(*shape)
    nn.init.zeros_(dense.weight)
    factored = build(LowRank(rank=2)).convert(dense, 2)
    factored(torch.randn(4, shape[0])).sum().backward()
    gradients = [float(each.grad.abs().sum()) for each in factored.parameters() if each.ndim > 1]
    assert max(gradients) > 0


@pytest.mark.parametrize(
    ("squares", "energy", "rank"),
    [([9, 1, 0], 0.9, 1), ([9, 1, 0], 0.91, 2), ([9, 1, 0], 1.0, 2), ([1, 1, 1, 1], 0.5, 2), ([0, 0], 0.5, 1)],
)
def test_the_rank_is_the_least_that_keeps_the_energy(squares, energy, rank):
    assert rank_of_energy(torch.tensor(squares, dtype=torch.float64), energy) == rank


def test_the_ranks_that_weights_gave_are_kept_with_the_network(make):
    model, name = make("resnet10t"), "layer2.0.downsample.1"
    with torch.no_grad():
        model.get_submodule(name).weight.copy_((torch.randn(128, 3) @ torch.randn(3, 64))[:, :, None, None])
    change = {each.name: each for each in compress(model, [LowRank(energy=0.999)], SIZE, 3)}[name]
    assert (change.parameters_before, change.parameters_after) == (128 * 64, 3 * (128 + 64))
    assert change.macs_after / change.macs_before == pytest.approx(3 * (128 + 64) / (128 * 64), rel=1e-12)
    applied = architecture.of(model).compression[0]
    assert applied.sizes[name] == (3,)
    assert set(applied.sizes) == set(applied.layers)


def test_layers_for_which_it_does_not_pay_are_kept_and_named(make):
    reasons = reasons_of(compress(make("resnet26", device="meta"), [LowRank(rank=40)], SIZE, 3))
    assert reasons["layer1.0.conv1"] == "it has 4096 weights, its two halves of rank 40 would have 5120"
    assert not reasons["layer1.0.conv3"]
    assert reasons["layer1.0.conv2"] == "its kernel is 3x3"
    assert reasons["fc"] == "it gives the scores (include_classifier is false)"


def test_the_classifier_is_split_when_asked_for(make):
    model = make("resnet10t", outputs=100)
    assert not reasons_of(compress(model, [LowRank(rank=40, include_classifier=True)], SIZE, 3))["fc"]
    assert model(torch.zeros(1, 3, *SIZE)).shape == (1, 100)


def test_transformers_get_smaller(make):
    model = make("test_vit", device="meta")
    changes = compress(model, [LowRank(rank=8)], (160, 160), 3)
    assert {each.name.rsplit(".", 1)[-1] for each in changes if each.status == "changed"} >= {"qkv", "fc1", "fc2"}


def test_layers_whose_weights_the_network_looks_at_are_left_alone():
    with torch.device("meta"):
        model = assemble(Architecture(name="beit_base_patch16_224", channels=3, outputs=10, image_size=(64, 64)))
    reasons = reasons_of(compress(model, [LowRank(rank=8)], SIZE, 3))
    assert reasons["blocks.0.attn.qkv"] == "the network looks at its weights"
    assert not reasons["blocks.0.mlp.fc1"]


def test_a_network_with_nothing_to_split_is_refused_with_the_reasons(make):
    with pytest.raises(RunFailure, match="its kernel is 3x3") as refused:
        compress(make("vgg11", device="meta"), [LowRank(rank=4, exclude=("pre_logits.*",))], SIZE, 3)
    assert refused.value.failure.errors[0].pointer == "/compression/0"


def test_excluded_layers_stay_and_a_pattern_without_a_layer_is_refused(make):
    reasons = reasons_of(compress(make("resnet26", device="meta"), [LowRank(rank=8, exclude=("layer2.*",))], SIZE, 3))
    assert reasons["layer2.0.conv1"] == "excluded by the spec"
    with pytest.raises(RunFailure) as refused:
        compress(make("resnet26", device="meta"), [LowRank(rank=8, exclude=("layer9.*",))], SIZE, 3)
    assert refused.value.failure.errors[0].pointer == "/compression/0/exclude/0"


def test_a_rank_that_a_layer_cannot_have_is_no_network():
    dense = Architecture(name="resnet26", channels=3, outputs=10)
    for rank in (0, 65, 10**12):
        applied = {"method": {"kind": "low_rank", "rank": 1}, "layers": ["layer1.0.conv1"]}
        forged = {**dense.model_dump(), "compression": [{**applied, "sizes": {"layer1.0.conv1": [rank]}}]}
        with pytest.raises(ValueError, match=f"has no rank {rank}"):
            assemble(Architecture.model_validate(forged))
