"""What holds for every method of the training loop, on each example of its contract."""

import pytest
import torch
import torch.nn.functional as F
from pydantic import TypeAdapter

from app.contract.compression import IN_LOOP, Compression
from app.contract.spec import kinds
from app.contract.training import Training
from worker.training import cost
from worker.training.attached import Methods
from worker.training.compressing import attach, compress
from worker.training.export import tensors_of

EXAMPLES = [
    pytest.param(TypeAdapter(Compression).validate_python(example), id=f"{kind}-{number}")
    for kind, cls in kinds(Compression).items()
    if issubclass(cls, IN_LOOP)
    for number, example in enumerate(cls.examples)
]
SIZE = (32, 32)
FAMILIES = ["test_resnet", "test_efficientnet", "test_convnext", "test_byobnet"]

pytestmark = pytest.mark.parametrize("method", EXAMPLES)


def step(model, methods, images, autocast=None):
    """A forward and a backward pass as the loop does them; the loss."""
    methods.begin_step(epoch=3)
    with torch.autocast("cpu", dtype=autocast, enabled=autocast is not None):
        judge = methods.judge(images)
        scores = model(images)
        loss, published = judge(F.cross_entropy(scores, torch.arange(len(images))), scores)
    loss.backward()
    methods.end_step()
    assert len(published) == len(methods.metrics)
    return loss.detach()


def images(dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(4, 3, *SIZE, generator=generator).to(dtype, memory_format=torch.channels_last)


def test_what_is_exported_is_the_network_without_it(make, course, method):
    model, untouched = make("test_resnet").train(), make("test_resnet").train()
    compress(model, [method], SIZE, 3)
    methods = attach(model, [method], SIZE, 3, course())
    assert list(model.state_dict()) == list(untouched.state_dict())
    assert [type(each) for each in model.modules()] == [type(each) for each in untouched.modules()]
    methods.begin_step(epoch=3)
    methods.detach()
    assert not [name for name, module in model.named_modules() if "forward" in module.__dict__]
    ours, theirs = tensors_of(model), tensors_of(untouched)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert torch.equal(model.eval()(images()), untouched.eval()(images()))


def test_attaching_draws_no_random_numbers(make, course, method):
    model, ready = make("test_resnet"), course()
    state = torch.get_rng_state()
    attach(model, [method], SIZE, 3, ready)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("weights", "autocast"), [(torch.float32, None), (torch.float64, None), (torch.float32, torch.bfloat16)]
)
def test_every_parameter_gets_a_gradient_in_each_precision(make, course, method, weights, autocast):
    model = make("test_resnet").to(weights, memory_format=torch.channels_last).train()
    methods = attach(model, [method], SIZE, 3, course(weights, autocast))
    for _ in range(2):
        assert step(model, methods, images(weights), autocast).isfinite()
    assert {parameter.grad.dtype for parameter in model.parameters()} == {weights}
    assert all(bool(parameter.grad.isfinite().all()) for parameter in model.parameters())


def test_layers_that_are_not_trained_stay_so(make, course, method):
    model = make("test_resnet").train()
    frozen = [parameter for name, parameter in model.named_parameters() if name.startswith(("conv1", "layer1"))]
    for parameter in frozen:
        parameter.requires_grad_(False)
    step(model, attach(model, [method], SIZE, 3, course()), images())
    assert all((parameter.grad is None) != parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("family", FAMILIES)
def test_it_takes_part_in_networks_of_many_families_and_the_plan_names_the_layers(make, course, method, family):
    model = make(family, device="meta")
    changes = compress(model, [method], (64, 64), 3)
    assert method.kind == "distillation" or "changed" in {change.status for change in changes}
    assert all((change.status == "kept") == bool(change.reason) for change in changes)
    assert all(change.parameters_before == change.parameters_after for change in changes)
    plain = cost.training_memory_bytes(model, Training(), 3, (64, 64), cost.Share(16), Methods())
    methods = attach(model, [method], (64, 64), 3, course())
    planned = cost.training_memory_bytes(model, Training(), 3, (64, 64), cost.Share(16), methods)
    if method.kind == "checkpointing" or (method.kind == "saved_activations" and family == "test_resnet"):
        assert planned < plain
