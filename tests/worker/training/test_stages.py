"""The networks of a report: one for each method of the spec."""

import gzip

import pytest

from app.contract.compression import ActivationCompression, DepthwiseSeparable, Quantization
from app.contract.job import JobSpec
from app.contract.work import Paths, RunOrder
from tests.support.networks import CLASSES, SCALING
from worker.training import stages
from worker.training.architecture import Applied, Architecture, assemble
from worker.training.export import card_of
from worker.training.figures import Figures
from worker.training.networks import begin
from worker.training.stages import Size, Stage, _steps_of, serialised_size, size_of, stage_names

SPLIT, HALF, QUARTER = DepthwiseSeparable(), ActivationCompression(), ActivationCompression(ratio=4)


def steps(*methods):
    return [Applied(method=each, layers=("conv",)) for each in methods]


@pytest.mark.parametrize(
    ("methods", "made", "counts"),
    [
        ([SPLIT, HALF], [SPLIT, HALF], [1, 1]),
        ([HALF, HALF], [HALF, HALF], [1, 1]),
        ([HALF], [HALF, HALF, HALF], [3]),  # a method that acts several times during training
        ([SPLIT, Quantization(mode="qat"), HALF], [SPLIT, HALF], [1, 0, 1]),  # one of the loop
        ([SPLIT, HALF, QUARTER], [SPLIT, HALF, HALF, QUARTER], [1, 2, 1]),
        ([HALF, Quantization(), HALF], [HALF, HALF], [1, 0, 1]),  # the same again behind it
        ([Quantization()], [], [0]),
    ],
)
def test_each_method_has_its_steps_of_the_network(methods, made, counts):
    assert _steps_of(methods, steps(*made)) == counts


def test_a_kind_that_comes_again_is_numbered():
    assert stage_names([HALF, SPLIT, QUARTER]) == [
        "activation_compression",
        "depthwise_separable",
        "activation_compression#2",
    ]


def test_sizes_are_those_of_the_file_and_of_gzip(tmp_path):
    model = assemble(Architecture(name="test_resnet", channels=1, outputs=3))
    size = serialised_size(model)
    import safetensors.torch

    path = tmp_path / "model.safetensors"
    path.write_bytes(safetensors.torch.save(stages.tensors_of(model), metadata={"format": "pt"}))
    assert size == size_of(path)
    assert size.file_bytes == path.stat().st_size
    assert size.gzip_bytes == pytest.approx(len(gzip.compress(path.read_bytes(), 6)), abs=64)


@pytest.mark.parametrize("exclude", [[], ["*.depthwise"]])
def test_each_stage_takes_the_memory_of_the_methods_up_to_it(tmp_path, exclude):
    methods = [{"kind": "saved_activations", "bits": 4, "exclude": exclude}, {"kind": "depthwise_separable"}]
    spec = {
        "dataset": {"kind": "builtin", "name": "digits"},
        "model": {"kind": "timm", "name": "test_resnet"},
        "compression": methods,
    }
    order = RunOrder(spec=JobSpec.model_validate(spec), paths=Paths(run_dir=str(tmp_path)))
    whole, split = (begin(order, CLASSES, phase).network for phase in ("baseline", "training"))
    card = card_of(split, order, CLASSES, SCALING, None)
    saved, separable = order.spec.compression
    networks = [
        Stage("uncompressed", None, whole, Size(1, 1)),
        Stage("saved_activations", saved, whole, Size(1, 1)),
        Stage("depthwise_separable", separable, split, Size(1, 1), card),
    ]
    found = Figures(order, networks, {}, card)
    first, less, least = (found._training_memory_bytes(each) for each in networks)
    assert least > 0
    if exclude:  # names layers that are not there before the second method
        assert less is None
    else:
        assert less < 0.6 * first
