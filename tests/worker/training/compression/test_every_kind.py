"""What holds for every compression method, on each example of its contract."""

import pytest
import torch
from pydantic import TypeAdapter

from app.contract.compression import Compression
from app.contract.failures import FailureCode
from app.contract.spec import kinds
from worker.training import architecture
from worker.training.architecture import assemble, seeded
from worker.training.compression import compress
from worker.training.cost import network_cost
from worker.training.errors import RunFailure

EXAMPLES = [
    pytest.param(TypeAdapter(Compression).validate_python(example), id=f"{kind}-{number}")
    for kind, cls in kinds(Compression).items()
    for number, example in enumerate(cls.examples)
]
SIZE = (64, 64)
# One of each family: residual, dense, plain, no batch normalisation, bottleneck, grouped stages with dense between.
FAMILIES = ["resnet10t", "densenet121", "vgg11", "vgg11_bn", "resnet26", "convnext_atto", "test_byobnet", "hgnet_tiny"]

pytestmark = pytest.mark.parametrize("method", EXAMPLES)


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


def test_every_convolution_is_reported_with_what_it_had_and_has(make, method):
    model = make("resnet10t")
    names = [name for name, module in model.named_modules() if isinstance(module, torch.nn.Conv2d)]
    whole = parameters(model)
    changes = compress(model, [method], SIZE, 3)

    assert [change.name for change in changes if change.name in names] == names
    assert all((change.status == "kept") == bool(change.reason) for change in changes)
    assert all(each.parameters_before == each.parameters_after for each in changes if each.status == "kept")
    saved = sum(change.parameters_before - change.parameters_after for change in changes)
    assert whole - parameters(model) == saved


def test_every_parameter_that_is_left_can_be_trained(make, method):
    model = make("resnet10t").train()
    compress(model, [method], SIZE, 3)
    model(torch.randn(4, 3, *SIZE)).square().sum().backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("family", FAMILIES)
def test_it_fits_networks_of_many_families(make, method, family):
    model = make(family, device="meta")
    changes = compress(model, [method], (128, 128), 3)
    assert "changed" in {change.status for change in changes}


def test_a_network_without_convolutions_behind_the_image_is_refused_by_name(make, method):
    with pytest.raises(RunFailure) as refused:
        compress(make("test_vit"), [method], (160, 160), 3)
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
    draws_new_weights = method.kind == "depthwise_separable"
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
