"""What holds for every compression method that changes the network, on each example of its contract."""

import pytest
import torch
from pydantic import TypeAdapter
from torch import nn

from app.contract.compression import Compression
from app.contract.compression.conflicts import weights_problems
from app.contract.failures import FailureCode
from app.contract.spec import kinds
from worker.training import architecture, plugins
from worker.training.architecture import assemble, seeded
from worker.training.compressing import compress, outcomes
from worker.training.compression import Transformation
from worker.training.cost import network_cost
from worker.training.errors import RunFailure

ALL = {
    f"{kind}-{number}": TypeAdapter(Compression).validate_python(example)
    for kind, cls in kinds(Compression).items()
    for number, example in enumerate(cls.examples)
}
EXAMPLES = [
    pytest.param(method, id=name)
    for name, method in ALL.items()
    if isinstance(plugins.build("compression", method), Transformation)
]
SIZE = (64, 64)
# One of each family: residual, dense, plain, no batch normalisation, bottleneck, grouped stages with dense between.
FAMILIES = ["resnet10t", "vgg11", "vgg11_bn", "resnet26", "convnext_atto", "test_byobnet", "hgnet_tiny"]
FAMILIES += [pytest.param("densenet121", marks=pytest.mark.slow)]  # 121 layers; hgnet_tiny has dense blocks too

pytestmark = pytest.mark.parametrize("method", EXAMPLES)


class Bare(nn.Sequential):
    """One layer reads the image, one gives the scores, and between them there is nothing."""

    def __init__(self):
        super().__init__(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))

    def get_classifier(self):
        return self[-1]


def parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


def test_the_network_gets_smaller_and_still_gives_one_score_a_class(make, method):
    model = make("resnet10t")
    before = network_cost(model, 3, SIZE)
    compress(model, [method], SIZE, 3)
    after = network_cost(model, 3, SIZE)

    assert after.parameters < before.parameters
    assert after.macs < before.macs
    assert model(torch.zeros(2, 3, *SIZE)).shape == (2, 10)


def test_every_layer_is_reported_with_what_it_had_and_has(make, method):
    model = make("resnet10t")
    names = [name for name, _ in model.named_modules()]
    convolutions = {name for name, module in model.named_modules() if isinstance(module, nn.Conv2d)}
    before = network_cost(model, 3, SIZE)
    changes = compress(model, [method], SIZE, 3)
    after = network_cost(model, 3, SIZE)

    reported = [change.name for change in changes if change.name in names]
    assert reported == [name for name in names if name in reported]
    assert convolutions <= set(reported)
    assert all((change.status == "kept") == bool(change.reason) for change in changes)
    kept = [each for each in changes if each.status == "kept"]
    assert all(each.parameters_before == each.parameters_after for each in kept)
    saved = sum(change.parameters_before - change.parameters_after for change in changes)
    assert before.parameters - after.parameters == saved
    assert before.macs - after.macs == sum(change.macs_before - change.macs_after for change in changes)


def test_what_it_did_to_the_whole_network_is_reported(make, method):
    model = make("resnet10t")
    before = network_cost(model, 3, SIZE)
    (outcome,) = outcomes(model, [method], SIZE, 3)
    after, effect = network_cost(model, 3, SIZE), outcome.effect
    assert effect.method == method.kind
    assert (effect.parameters_before, effect.macs_before) == (before.parameters, before.macs)
    assert (effect.parameters_after, effect.macs_after) == (after.parameters, after.macs)
    changed = sum(each.status == "changed" for each in outcome.layers)
    assert (effect.layers_changed, effect.layers_kept) == (changed, len(outcome.layers) - changed)
    assert not outcome.exact


def test_every_parameter_that_is_left_can_be_trained(make, method):
    model = make("resnet10t").train()
    compress(model, [method], SIZE, 3)
    model(torch.randn(4, 3, *SIZE)).square().sum().backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("family", FAMILIES)
def test_it_fits_networks_of_many_families(make, method, family):
    if "energy" in {problem.path[-1] for problem in weights_problems([method], trained=False)}:
        pytest.skip("what it does to a network without weights is not known")
    model = make(family, device="meta")
    changes = compress(model, [method], (128, 128), 3)
    assert "changed" in {change.status for change in changes}


def test_a_network_without_layers_behind_the_image_is_refused_by_name(make, method):
    with pytest.raises(RunFailure) as refused:
        compress(Bare(), [method], SIZE, 3)
    failure = refused.value.failure
    assert failure.code is FailureCode.BAD_SPEC
    assert [problem.pointer.removesuffix("/ratio") for problem in failure.errors] == ["/compression/0"]
    assert method.kind in failure.message


def test_new_weights_follow_the_seed_and_leave_the_global_generator_alone(make, method):
    def weights(seed):
        model = make("resnet10t")
        compress(model, [method], SIZE, 3, seed)
        return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])

    state = torch.get_rng_state()
    assert torch.equal(weights(1), weights(1))
    draws_new_weights = getattr(method, "init", None) == "random"
    assert torch.equal(weights(1), weights(2)) != draws_new_weights
    assert torch.equal(torch.get_rng_state(), state)


def test_what_was_done_can_be_done_again_from_the_architecture(make, method):
    model = make("resnet10t")
    compress(model, [method], SIZE, 3)
    described = architecture.Architecture.model_validate_json(architecture.of(model).model_dump_json())
    with seeded(1, "again"):
        again = assemble(described)
    again.load_state_dict(model.state_dict())
    images = torch.randn(2, 3, *SIZE)
    assert torch.equal(again.eval()(images), model.eval()(images))


def test_device_precision_and_mode_stay(make, method):
    model = make("resnet10t").double()
    compress(model, [method], SIZE, 3)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float64}
    assert not any(module.training for module in model.modules())
