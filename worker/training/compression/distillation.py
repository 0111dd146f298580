"""Learning from a teacher's answers (arXiv 1503.02531): (1 - w) CE + w T^2 KL(teacher || student)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from app.contract.compression import Distillation
from app.contract.models import Timm
from app.contract.plan import TeacherCost
from app.contract.work import RunOrder
from worker.training import architecture, cost, shapes
from worker.training.attached import Attached, Course, Judge
from worker.training.card import BrokenModel, ModelCard
from worker.training.compression import Scene
from worker.training.errors import bad_spec
from worker.training.export import rebuild

# N = samples of this rank in a step, K = classes


def build(spec: Distillation) -> "FromTeacher":
    """See LoopMethod."""
    return FromTeacher(spec)


@dataclass(frozen=True)
class FromTeacher:
    spec: Distillation

    def choose(self, model: nn.Module, scene: Scene) -> None:
        """It sees the outputs alone."""

    def attach(self, model: nn.Module, layers: Sequence[str], course: Course) -> Attached:
        teacher, card = self.teacher(course.order, course.classes, architecture.of(model).channels, course.pointer)
        if next(model.parameters()).is_meta:  # only its memory is looked at, and the teacher's is found by `cost`
            return Attached()
        return Taught(self.spec, teacher, card, course)

    def teacher(
        self, order: RunOrder, classes: Sequence[str], channels: int, pointer: str
    ) -> tuple[nn.Module, ModelCard]:
        """The network of the earlier job, with its weights. Raises `bad_spec` when it cannot teach this one."""
        here = f"{pointer}/job"
        if order.paths.teacher is None:
            raise bad_spec(here, f"The files of {self.spec.job} are not on this worker.", "model_missing")
        try:
            with architecture.seeded(0, "teacher"):  # random weights are drawn before those of the file come
                teacher, card = rebuild(Path(order.paths.teacher))
        except BrokenModel as error:
            raise bad_spec(here, f"The model of {self.spec.job} cannot be used: {error}", "model_broken") from error
        if list(card.classes) != list(classes):
            raise bad_spec(here, _other_classes(self.spec.job, card.classes, classes), "other_classes")
        if card.channels != channels:
            theirs, ours = ("luminance" if each == 1 else "RGB" for each in (card.channels, channels))
            detail = f"The teacher reads {theirs} and this network {ours}: {_way_out(order, card)}."
            raise bad_spec(here, detail, "other_channels")
        _refuse_other_size(teacher, card, order.spec.image_size, here)
        return teacher, card


def teacher_cost(
    spec: Distillation, order: RunOrder, classes: Sequence[str], channels: int, pointer: str, share: cost.Share
) -> TeacherCost:
    """What the teacher adds to training. Raises `bad_spec`."""
    teacher, _ = FromTeacher(spec).teacher(order, classes, channels, pointer)
    size = order.spec.image_size
    found = cost.network_cost(teacher, channels, size)
    kept = found.weights_bytes * (2 if order.spec.training.precision == "fp64" else 1)
    passing = cost.inference_memory_bytes(teacher, order.spec.training, channels, size, share)
    return TeacherCost(job=spec.job, parameters=found.parameters, macs=found.macs, memory_bytes=kept + passing)


class Taught(Attached):
    """A teacher beside the network. It answers before the network does, when the least memory is in use."""

    metrics = ("distillation_loss",)

    def __init__(self, spec: Distillation, teacher: nn.Module, card: ModelCard, course: Course) -> None:
        self.spec = spec
        dtype = course.precision.weights
        self._teacher = teacher.eval().requires_grad_(False).to(course.device, dtype)
        self._teacher.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._scale_C11, self._shift_C11 = _from_ours_to_theirs(course, card)

    @torch.no_grad()
    def judge(self, images_NCHW: Tensor) -> Judge:
        """The teacher's opinion of these very images, mixed where they are mixed."""
        soft_NK = self._soft(self._teacher(self._as_it_was_trained(images_NCHW)))

        def judged(loss: Tensor, logits_NK: Tensor) -> tuple[Tensor, list[Tensor]]:
            distance = F.kl_div(self._soft(logits_NK), soft_NK, reduction="batchmean", log_target=True)
            taught = self.spec.temperature**2 * distance
            return torch.lerp(loss.to(taught.dtype), taught, self.spec.weight), [taught.detach()]

        return judged

    def _soft(self, logits_NK: Tensor) -> Tensor:
        """log softmax at the temperature; in fp32 at least, also where the networks compute in less."""
        exact = torch.float64 if logits_NK.dtype == torch.float64 else torch.float32
        return F.log_softmax(logits_NK.to(exact) / self.spec.temperature, 1)

    def _as_it_was_trained(self, images_NCHW: Tensor) -> Tensor:
        """Its own normalisation. That is linear, as mixing is: their order makes no difference."""
        if self._scale_C11 is None or self._shift_C11 is None:
            return images_NCHW
        return torch.addcmul(self._shift_C11, images_NCHW, self._scale_C11)


def _from_ours_to_theirs(course: Course, card: ModelCard) -> tuple[Tensor | None, Tensor | None]:
    """From `(p - mean) / std` with our values to the same with the teacher's: a factor and a shift a channel."""
    ours, theirs = course.scaling, card.normalization
    if ours == theirs:
        return None, None
    values = [torch.tensor(each, dtype=torch.float64) for each in (ours.mean, ours.std, theirs.mean, theirs.std)]
    mean_C, std_C, teacher_mean_C, teacher_std_C = values
    scale_C, shift_C = std_C / teacher_std_C, (mean_C - teacher_mean_C) / teacher_std_C
    placed = [each.view(-1, 1, 1).to(course.device, course.precision.weights) for each in (scale_C, shift_C)]
    return placed[0], placed[1]


def _way_out(order: RunOrder, card: ModelCard) -> str:
    """Of other channels: those of a network that comes from a job are what they are."""
    return f"set model.channels to {card.channels}" if isinstance(order.spec.model, Timm) else "use another teacher"


def _refuse_other_size(teacher: nn.Module, card: ModelCard, size: tuple[int, int], pointer: str) -> None:
    fixed = card.architecture.image_size
    if fixed is not None and fixed != size:
        theirs, ours = f"{fixed[0]}x{fixed[1]}", f"{size[0]}x{size[1]}"
        raise bad_spec(
            pointer, f"The teacher reads {theirs} images: resize to that, not to {ours}.", "other_image_size"
        )
    try:
        shapes.forward(teacher, card.channels, size)
    except Exception as error:
        detail = f"The teacher cannot read {size[0]}x{size[1]} images ({type(error).__name__}: {error})"[:600]
        raise bad_spec(pointer, f"{detail}: use larger ones, or another teacher.", "other_image_size") from error


def _other_classes(job: str, theirs: Sequence[str], ours: Sequence[str]) -> str:
    only_theirs, only_ours = sorted(set(theirs) - set(ours))[:3], sorted(set(ours) - set(theirs))[:3]
    difference = f"only there {only_theirs}, only here {only_ours}" if only_theirs or only_ours else "in another order"
    return (
        f"The teacher of {job} tells {len(theirs)} classes apart, this data has {len(ours)} ({difference}): "
        "use data with the same classes, or another teacher."
    )
