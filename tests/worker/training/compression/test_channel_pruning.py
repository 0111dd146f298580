"""Channel pruning: what goes together, what stays, how near the target is, and that the form can be built again."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from app.contract.compression import ActivationCompression, ChannelPruning, DepthwiseSeparable, LowRank
from worker.training import architecture
from worker.training.architecture import Applied, assemble, note, seeded
from worker.training.compressing import compress, outcomes
from worker.training.compression import scene_of
from worker.training.compression.channel_pruning import build
from worker.training.cost import network_cost
from worker.training.errors import RunFailure

SIZE = (64, 64)
POINTER = "/compression/0"


def reasons_of(changes):
    return {change.name: change.reason for change in changes}


def refusal(model, *methods, size=SIZE):
    with pytest.raises(RunFailure) as refused:
        compress(model, methods, size, 3)
    return refused.value.failure.errors[0]


def chosen(model, spec, size=SIZE):
    return build(spec).choose(model, scene_of(model, POINTER, size, 3))


@torch.no_grad()
def silence(model, kept):
    """Zero what reads the channels that will go: without normalisation over channels, they then say nothing."""
    for name, each in kept.items():
        layer = model.get_submodule(name)
        if isinstance(layer, nn.Conv2d | nn.Linear) and each.inputs is not None:
            groups = getattr(layer, "groups", 1)
            gone = torch.ones(layer.weight.shape[1] * groups, dtype=torch.bool)
            gone[list(each.inputs)] = False
            grouped = layer.weight.view(groups, -1, *layer.weight.shape[1:])
            grouped[gone.view(groups, 1, -1).expand(-1, grouped.shape[1], -1)] = 0


# Residual, dense, depthwise with squeeze-and-excitation, several branches, grouped, halves of a split, plain.
FAMILIES = ["resnet10t", "mobilenetv3_small_050", "test_byobnet", "regnetx_002"]
LARGE = ["densenet121", "efficientnet_b0", "hgnet_tiny", "cspresnet50", "vgg11_bn"]


@pytest.mark.parametrize("family", [*FAMILIES, *(pytest.param(each, marks=pytest.mark.slow) for each in LARGE)])
@pytest.mark.timeout(600)
def test_channels_are_matched_all_the_way_and_the_form_can_be_built_again(make, family):
    """With the readers of those channels silenced, the network answers the same before and after they go."""
    model = make(family).double()
    spec = ChannelPruning(ratio=1.5, round_to=2)
    choice = chosen(model, spec)
    silence(model, choice.kept)
    images = torch.randn(2, 3, *SIZE, dtype=torch.float64)
    before = model(images)
    build(spec).change(model, choice)
    after = model(images)
    torch.testing.assert_close(after, before, rtol=1e-9, atol=1e-9)

    note(model, Applied(method=spec, layers=tuple(choice.layers), sizes=dict(choice.sizes)))
    described = architecture.Architecture.model_validate_json(architecture.of(model).model_dump_json())
    with seeded(1, "again"):
        again = assemble(described).double().eval()
    again.load_state_dict(model.state_dict())
    assert torch.equal(again(images), after)


@pytest.mark.parametrize("name", ["resnet10t", "convnext_atto", "mobilenetv3_small_050"])
def test_a_plan_without_weights_knows_the_widths(make, name):
    spec = ChannelPruning(ratio=2.0)
    assert chosen(make(name, device="meta"), spec).sizes == chosen(make(name), spec).sizes


def test_layer_norm_and_scale_are_narrowed_too(make):
    model = make("convnext_atto")
    compress(model, [ChannelPruning(ratio=2.0)], SIZE, 3)
    block = model.get_submodule("stages.1.blocks.0")
    assert block.norm.normalized_shape == tuple(block.gamma.shape) == (block.mlp.fc2.out_channels,)
    assert block.gamma.shape[0] < 80
    assert model(torch.zeros(2, 3, *SIZE)).shape == (2, 10)


def test_resnet18_at_half_its_channels_costs_what_is_published(make):
    """Torch-Pruning's own figures for half of all channels: 1,822 to 487 M MACs and 11.7 to 3.06 M parameters."""
    model = make("resnet18", device="meta", outputs=1000)
    compress(model, [ChannelPruning(ratio=1822 / 487)], (224, 224), 3)
    found = network_cost(model, 3, (224, 224))
    assert found.macs == pytest.approx(487e6, rel=0.02)
    assert found.parameters == pytest.approx(3.06e6, rel=0.05)
    assert model.get_submodule("layer3.0.conv1").out_channels == pytest.approx(128, abs=8)


@pytest.mark.parametrize(("target", "ratio"), [("macs", 3.0), ("parameters", 3.0)])
def test_the_target_is_met_and_the_widths_are_round(make, target, ratio):
    model, told = make("resnet10t"), []
    before = network_cost(model, 3, SIZE)
    outcomes(model, [ChannelPruning(target=target, ratio=ratio)], SIZE, 3, tell=told.append)
    after = network_cost(model, 3, SIZE)
    reached = getattr(before, target) / getattr(after, target)
    assert reached == pytest.approx(ratio, rel=0.05)
    assert bool(told) == (abs(reached / ratio - 1) > 0.01)
    convs = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert all(conv.out_channels % 8 == 0 for conv in convs)


def test_the_scores_of_classes_are_never_pruned(make):
    model = make("resnet10t", outputs=64)
    changes = compress(model, [ChannelPruning(ratio=4.0, round_to=1)], SIZE, 3)
    assert model.get_submodule("fc").out_features == 64
    assert reasons_of(changes)["fc"] == ""  # it reads fewer channels
    assert model(torch.zeros(2, 3, *SIZE)).shape == (2, 64)


def plain(*widths):
    """Convolutions with batch normalisation, one after another, and a classifier."""
    layers = []
    for before, after in zip((3, *widths), widths, strict=False):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], 5)).eval()


def test_the_channels_with_the_largest_weights_stay():
    model = plain(8, 8)
    with torch.no_grad():
        for weight in model[0].weight, model[3].weight.transpose(0, 1):
            weight[[1, 4]] *= 100
    choice = chosen(model, ChannelPruning(target="parameters", ratio=2.5, round_to=2))
    kept = choice.kept["0"].outputs
    assert {1, 4} <= set(kept)
    assert choice.kept["1"].outputs == choice.kept["3"].inputs == kept


def test_bn_scale_looks_at_the_factors_of_normalisation_alone():
    model = plain(8, 8)
    with torch.no_grad():
        model[0].weight[0] *= 100
        model[1].weight.copy_(torch.tensor([0.1, 0.9, -0.8, 0.1, 0.2, 0.7, 0.1, -0.6]))
    spec = {"target": "parameters", "ratio": 2.9, "round_to": 4}
    assert chosen(model, ChannelPruning(**spec, importance="bn_scale")).kept["0"].outputs == [1, 2, 5, 7]
    assert 0 in chosen(model, ChannelPruning(**spec)).kept["0"].outputs


class Block(nn.Module):
    """One of several ways to join what two convolutions make."""

    def __init__(self, width, how):
        super().__init__()
        self.how = how
        self.one = nn.Conv2d(width, width, 3, padding=1, groups=width if how == "depthwise" else 1)
        self.two = nn.Conv2d(width, width, 1, groups=2 if how == "grouped" else 1)
        self.join = nn.Conv2d({"cat": 2, "halves": 1}.get(how, 1) * width // (2 if how == "halves" else 1), width, 1)

    def forward(self, images):
        one = self.one(images)
        if self.how == "cat":
            return self.join(torch.cat([one, self.two(images)], 1))
        if self.how == "halves":
            first, second = one.chunk(2, dim=1)
            return self.join(first * second.sigmoid())
        return images + self.join(self.two(one.relu()))


@given(
    width=st.integers(4, 12).map(lambda half: 2 * half),
    ways=st.lists(st.sampled_from(["add", "cat", "halves", "depthwise", "grouped"]), min_size=1, max_size=3),
    round_to=st.sampled_from([1, 2, 4]),
    target=st.sampled_from(["macs", "parameters"]),
)
@settings(max_examples=25, deadline=None)
def test_any_network_keeps_the_shape_of_its_output_and_costs_what_was_reckoned(width, ways, round_to, target):
    model = nn.Sequential(
        nn.Conv2d(3, width, 3), *(Block(width, how) for how in ways), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    model.append(nn.Linear(width, 5)).eval().double()
    spec = ChannelPruning(target=target, ratio=1.7, round_to=round_to)
    try:
        choice = chosen(model, spec, (16, 16))
    except RunFailure:  # whole channels come no nearer
        return
    silence(model, choice.kept)
    images = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    before, whole = model(images), getattr(network_cost(model, 3, (16, 16)), target)
    build(spec).change(model, choice)
    torch.testing.assert_close(model(images), before, rtol=1e-9, atol=1e-9)
    reached = whole / getattr(network_cost(model, 3, (16, 16)), target)
    assert abs(reached / 1.7 - 1) <= 0.1001
    assert not choice.notes or f"{reached:.2f} times" in choice.notes[0]


@pytest.mark.parametrize("steps", [2, 3])
def test_several_steps_end_at_the_widths_of_one(make, steps):
    at_once = chosen(make("resnet10t"), ChannelPruning(ratio=3.0))
    spec = ChannelPruning(ratio=3.0, steps=steps)
    model, whole, sizes, costs = make("resnet10t"), make("resnet10t", device="meta"), {}, []
    for number in range(1, steps + 1):
        step = build(spec).choose_step(model, whole, scene_of(model, POINTER, SIZE, 3), number)
        sizes |= step.sizes
        costs.append(step.before / step.after)
        model = make("resnet10t")
        build(spec).rebuild(model, list(sizes), sizes)
    assert sizes == at_once.sizes
    assert costs == pytest.approx([3.0 ** (1 / steps)] * steps, rel=0.08)


@pytest.mark.parametrize(
    "methods",
    [
        (DepthwiseSeparable(), ChannelPruning(ratio=1.5)),
        (ActivationCompression(), ChannelPruning(ratio=1.5)),
        (ChannelPruning(ratio=1.5), DepthwiseSeparable(), ActivationCompression()),
        (DepthwiseSeparable(), ActivationCompression(ratio=4), ChannelPruning(ratio=1.5, round_to=4)),
        (ActivationCompression(learned=True), ChannelPruning(ratio=1.5), ChannelPruning(ratio=1.2)),
        (ActivationCompression(), LowRank(rank=4), ChannelPruning(ratio=1.5)),
    ],
)
def test_it_composes_with_what_was_done_before_and_after(make, methods):
    model = make("resnet10t")
    changes = compress(model, methods, SIZE, 3)
    last = [index for index, each in enumerate(methods) if isinstance(each, ChannelPruning)][-1]
    assert any(each.method == "channel_pruning" and each.status == "changed" for each in changes)
    assert not [each for each in changes if "rearrange" in each.reason]
    again = assemble(architecture.of(model)).eval()
    again.load_state_dict(model.state_dict())
    images = torch.randn(2, 3, *SIZE)
    assert torch.equal(again(images), model(images))
    assert architecture.of(model).compression[last].sizes


@pytest.mark.parametrize("between", [(DepthwiseSeparable(),), (LowRank(rank=4), ActivationCompression())])
def test_channels_behind_an_average_whose_reader_was_split_again_stay(make, between):
    model = make("test_resnet")
    changes = compress(model, (ActivationCompression(), *between, ChannelPruning(ratio=1.02, round_to=1)), SIZE, 3)
    assert any("rearrange" in each.reason for each in changes)
    again = assemble(architecture.of(model)).eval()
    again.load_state_dict(model.state_dict())
    images = torch.randn(2, 3, *SIZE)
    assert torch.equal(again(images), model(images))


def test_channels_that_are_averaged_go_together():
    """The mean of two channels that stay is the mean that was read before."""
    from worker.training.compression.activation_compression import build as narrow

    model = plain(16, 16).double()
    model[3] = narrow(ActivationCompression(ratio=4)).convert(model[3])
    choice = chosen(model, ChannelPruning(target="parameters", ratio=1.5, round_to=1))
    kept, read = choice.kept["0"].outputs, choice.kept["3.conv"].inputs
    assert kept == [4 * each + member for each in read for member in range(4)]
    silence(model, choice.kept)
    images = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    before = model(images)
    build(ChannelPruning()).change(model, choice)
    torch.testing.assert_close(model(images), before, rtol=1e-9, atol=1e-9)


def test_excluded_layers_keep_their_outputs(make):
    model = make("resnet10t")
    reasons = reasons_of(compress(model, [ChannelPruning(ratio=1.3, exclude=("layer4.0.conv1",))], SIZE, 3))
    assert model.get_submodule("layer4.0.conv1").out_channels == 512
    assert reasons["layer4.0.bn1"] == "excluded by the spec"
    assert refusal(make("resnet10t"), ChannelPruning(exclude=("layer9",))).pointer == "/compression/0/exclude/0"


def test_a_target_out_of_reach_is_refused_with_what_can_be_had(make):
    problem = refusal(make("resnet10t"), ChannelPruning(ratio=2.0, exclude=("layer*",)))
    assert problem.pointer == "/compression/0/ratio"
    assert problem.code == "target_out_of_reach"
    assert "times fewer MACs, not 2: use that ratio" in problem.detail


def test_a_network_in_which_everything_must_stay_is_refused(make):
    problem = refusal(make("resnet10t"), ChannelPruning(exclude=("*",)))
    assert problem.pointer == "/compression/0"
    assert "excluded by the spec" in problem.detail


def test_transformers_are_pruned_between_their_linear_layers_alone(make):
    model = make("test_vit")
    reasons = reasons_of(compress(model, [ChannelPruning(ratio=1.3)], (160, 160), 3))
    assert not reasons["blocks.0.mlp.fc1"]
    assert "may rearrange them" in reasons["blocks.0.attn.qkv"]
    assert model(torch.zeros(1, 3, 160, 160)).shape == (1, 10)


def test_layers_that_are_called_twice_stay_with_their_reason():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.again, self.last = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 1), nn.Conv2d(16, 32, 1)
            self.head = nn.Linear(32, 5)

        def forward(self, images):
            return self.head(self.last(self.again(self.again(self.first(images)))).mean((2, 3)))

    choice = chosen(Twice().eval(), ChannelPruning(target="parameters", ratio=1.3, round_to=4))
    assert choice.reasons["first"] == "the network calls again 2 times"
    assert choice.layers == ["last", "head"]
