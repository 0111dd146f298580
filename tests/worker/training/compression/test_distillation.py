"""Distillation: the loss against torch's own, what the teacher sees, and who may teach."""

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from app.contract.compression import Distillation
from app.contract.failures import FailureCode
from app.contract.models import Checkpoint, Timm
from tests.support.networks import CLASSES, exported
from worker.training import cost
from worker.training.architecture import Architecture
from worker.training.card import Scaling
from worker.training.compressing import attach
from worker.training.compression.distillation import build, teacher_cost
from worker.training.errors import RunFailure
from worker.training.export import rebuild

JOB = "job_0123456789abcdef"
SIZE = (32, 32)


def attached(course, weights=torch.float64, temperature=3.0, weight=0.3, **given):
    method = build(Distillation(job=JOB, temperature=temperature, weight=weight))
    return method.attach(StandIn(), [], course(weights, **given))


class StandIn(torch.nn.Module):
    """A network in training, of which only the number of channels is asked."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.trainyard_architecture = Architecture(name="test_resnet", channels=3, outputs=10)


def test_the_loss_is_that_of_the_paper(course):
    images = torch.randn(5, 3, *SIZE, dtype=torch.float64)
    taught, ready = attached(course), course()
    teacher = rebuild(taught_folder(ready))[0].double()
    scores = torch.randn(5, 10, dtype=torch.float64, requires_grad=True)
    labels = torch.arange(5)
    loss, (published,) = taught.judge(images)(F.cross_entropy(scores, labels), scores)

    with torch.no_grad():
        soft = (teacher(images) / 3).softmax(1)
    naive = (soft * (soft.log() - (scores / 3).softmax(1).log())).sum() / 5
    torchs = torch.nn.KLDivLoss(reduction="batchmean")((scores / 3).log_softmax(1), soft)
    torch.testing.assert_close(published, 9 * naive.detach())
    torch.testing.assert_close(published, 9 * torchs.detach())
    torch.testing.assert_close(loss, 0.7 * F.cross_entropy(scores, labels) + 0.3 * 9 * naive)
    ours = torch.autograd.grad(loss, scores, retain_graph=True)[0]
    theirs = torch.autograd.grad(0.7 * F.cross_entropy(scores, labels) + 0.3 * 9 * torchs, scores)[0]
    torch.testing.assert_close(ours, theirs)


def taught_folder(course):
    return Path(course.order.paths.teacher)


def test_the_teacher_sees_pixels_as_it_was_trained_on_them_mixed_ones_too(course, tmp_path):
    theirs = Scaling(mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    folder = exported(tmp_path / "run" / "other", scaling=theirs)
    taught = attached(course, teacher=folder)
    seen = []
    taught._teacher.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    pixels = torch.rand(4, 3, *SIZE, dtype=torch.float64)

    def scaled(mean, std):
        return (pixels - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)

    ours = scaled((0.5,) * 3, (0.25,) * 3)
    taught.judge(torch.lerp(ours[:2], ours[2:], 0.3))
    wanted = scaled(theirs.mean, theirs.std)
    torch.testing.assert_close(seen[0], torch.lerp(wanted[:2], wanted[2:], 0.3), rtol=0, atol=1e-6)

    alike = attached(course)
    seen.clear()
    alike._teacher.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    alike.judge(ours)
    assert seen[0] is ours


def test_the_teacher_learns_nothing(make, course):
    model = make("resnet10t").train()
    methods = attach(model, [Distillation(job=JOB)], SIZE, 3, course())
    teacher = methods.attached["distillation"]._teacher
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    images = torch.randn(4, 3, *SIZE)
    judge = methods.judge(images)
    scores = model(images)
    judge(F.cross_entropy(scores, torch.arange(4)), scores)[0].backward()
    assert not teacher.training
    assert all(torch.equal(before[name], tensor) for name, tensor in teacher.state_dict().items())
    assert {parameter.grad for parameter in teacher.parameters()} == {None}


def test_under_autocast_the_loss_is_in_fp32(course):
    taught = attached(course, torch.float32, compute=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        scores = torch.randn(4, 10, dtype=torch.bfloat16)
        loss, (published,) = taught.judge(torch.randn(4, 3, *SIZE))(torch.tensor(1.0), scores)
    assert {loss.dtype, published.dtype} == {torch.float32}


def broken(folder, how):
    weights, card = folder / "model.safetensors", folder / "model.json"
    match how:
        case "truncated":
            weights.write_bytes(weights.read_bytes()[:-100])
        case "pickle":
            torch.save({"weight": torch.zeros(1)}, weights)
        case "missing":
            weights.unlink()
        case "nonsense":
            card.write_text("[]")
        case "other network":
            said = json.loads(card.read_text())
            said["architecture"]["name"] = "resnet10t"
            card.write_text(json.dumps(said))
    return folder


@pytest.mark.parametrize("how", ["truncated", "pickle", "missing", "nonsense", "other network"])
def test_broken_files_are_refused(course, tmp_path, how):
    refused = refusal(course, broken(exported(tmp_path / "run" / "broken"), how))
    assert refused == ("/compression/0/job", "model_broken")


def refusal(course, folder):
    with pytest.raises(RunFailure) as refused:
        attached(course, torch.float32, teacher=folder)
    failure = refused.value.failure
    assert failure.code is FailureCode.BAD_SPEC
    return failure.errors[0].pointer, failure.errors[0].code


def test_a_teacher_of_other_channels_is_refused_with_what_can_be_changed(course, tmp_path):
    folder = exported(tmp_path / "run" / "grey", channels=1, scaling=Scaling(mean=(0.5,), std=(0.25,)))
    for model, way_out in (
        (Timm(name="test_resnet"), "set model.channels to 1."),
        (Checkpoint(job=JOB), "use another teacher."),
    ):
        order = course().order
        paths = order.paths.model_copy(update={"teacher": str(folder)})
        order = order.model_copy(update={"spec": order.spec.model_copy(update={"model": model}), "paths": paths})
        with pytest.raises(RunFailure) as refused:
            build(Distillation(job=JOB)).teacher(order, CLASSES, 3, "/compression/0")
        assert refused.value.failure.errors[0].detail.endswith(way_out)


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"classes": (*CLASSES[:-1], "ten")}, "other_classes"),
        ({"classes": CLASSES[::-1]}, "other_classes"),
        ({"channels": 1, "scaling": Scaling(mean=(0.5,), std=(0.25,))}, "other_channels"),
        ({"name": "test_vit", "image_size": (160, 160)}, "other_image_size"),
    ],
)
def test_who_cannot_teach_this_network_is_refused(course, tmp_path, given, code):
    folder = exported(tmp_path / "run" / "unfit", **given)
    assert refusal(course, folder) == ("/compression/0/job", code)


def test_files_that_are_not_on_the_worker_are_refused(course):
    ready = course()
    paths = ready.order.paths.model_copy(update={"teacher": None})
    order = ready.order.model_copy(update={"paths": paths})
    with pytest.raises(RunFailure) as refused:
        build(Distillation(job=JOB)).teacher(order, CLASSES, 3, "/compression/2")
    assert refused.value.failure.errors[0].pointer == "/compression/2/job"


def test_its_memory_and_multiplications_are_known_before(course):
    ready = course()
    found = teacher_cost(Distillation(job=JOB), ready.order, CLASSES, 3, "/compression/0", cost.Share(16))
    teacher, card = rebuild(taught_folder(ready))
    plain = cost.network_cost(teacher, 3, SIZE)
    assert (found.parameters, found.macs, found.job) == (plain.parameters, plain.macs, JOB)
    larger = teacher_cost(Distillation(job=JOB), ready.order, CLASSES, 3, "/compression/0", cost.Share(32))
    assert plain.weights_bytes < found.memory_bytes < larger.memory_bytes
    assert card.channels == 3
