"""What holds for every model kind, on each example of its contract."""

import pytest
import torch
from pydantic import TypeAdapter

from app.contract.models import Model
from app.contract.spec import kinds
from worker.training import architecture, models
from worker.training.architecture import Architecture, assemble, seeded
from worker.training.card import ModelCard, Scaling
from worker.training.export import export

EXAMPLES = [
    pytest.param(TypeAdapter(Model).validate_python(example), id=f"{kind}-{number}")
    for kind, cls in kinds(Model).items()
    if cls.needs_extra is None
    for number, example in enumerate(cls.examples)
]

pytestmark = pytest.mark.parametrize("model", EXAMPLES)


@pytest.fixture
def order(make_order, model, tmp_path, classes):
    """With the files that a `checkpoint` starts from."""
    with seeded(0, "earlier"):
        earlier = assemble(Architecture(name="test_resnet", channels=3, outputs=len(classes)))
    scaling = Scaling(mean=(0.5,), std=(0.5,))
    card = ModelCard(
        architecture=architecture.of(earlier), classes=classes, channels=3, image_size=(64, 64), normalization=scaling
    )
    export(earlier, card, tmp_path / "artifacts")
    return make_order(model.model_dump(), model=str(tmp_path / "artifacts"))


def test_it_is_built_in_fp32_on_the_cpu_with_one_output_a_class(order, classes):
    network = models.build_model(order, classes)
    described = models.describe(order, classes)
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
    assert {parameter.device.type for parameter in network.parameters()} == {"cpu"}
    assert network.eval()(torch.zeros(1, described.channels, 64, 64)).shape == (1, len(classes))
    assert architecture.of(network) == described


def test_its_weights_are_a_function_of_the_order_alone(order, classes):
    first = models.build_model(order, classes)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    second = models.build_model(order, classes)
    assert torch.equal(torch.get_rng_state(), state)
    for one, other in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_a_sketch_has_the_same_shapes(order, classes):
    sketch, network = models.sketch(order, classes), models.build_model(order, classes)
    shapes = [{name: tensor.shape for name, tensor in each.state_dict().items()} for each in (sketch, network)]
    assert shapes[0] == shapes[1]
