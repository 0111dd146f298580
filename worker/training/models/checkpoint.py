"""The network and weights that an earlier job ended with, compressed layers included."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from app.contract.models import Checkpoint
from app.contract.work import RunOrder
from worker.training.architecture import Architecture
from worker.training.card import BrokenModel, ModelCard, load_weights, read_card
from worker.training.errors import RunFailure, bad_spec

POINTER = "/model/job"


def build(spec: Checkpoint) -> "EarlierModel":
    """See ModelKind."""
    return EarlierModel(spec)


@dataclass(frozen=True)
class EarlierModel:
    spec: Checkpoint

    def architecture(self, order: RunOrder, classes: Sequence[str]) -> Architecture:
        """As the earlier job's model.json says. Refused for other classes, or a network that fixes another size."""
        card = self._card(order)
        if list(card.classes) != list(classes):
            raise bad_spec(POINTER, _other_classes(self.spec.job, card.classes, classes), "other_classes")
        size, fixed = order.spec.image_size, card.architecture.image_size
        if fixed is not None and fixed != size:
            theirs, ours = f"{fixed[0]}x{fixed[1]}", f"{size[0]}x{size[1]}"
            detail = f"The network of {self.spec.job} reads {theirs} images: resize to that, not to {ours}."
            raise bad_spec(POINTER, detail, "other_image_size")
        return card.architecture

    def starts_from_weights(self) -> bool:
        return True

    def load(self, model: nn.Module, order: RunOrder, classes: Sequence[str]) -> None:
        try:
            load_weights(model, self._card(order), self._folder(order))
        except BrokenModel as error:
            raise self._broken(error) from error

    def _card(self, order: RunOrder) -> ModelCard:
        try:
            return read_card(self._folder(order))
        except BrokenModel as error:
            raise self._broken(error) from error

    def _folder(self, order: RunOrder) -> Path:
        if order.paths.model is None:
            raise bad_spec(POINTER, f"The files of {self.spec.job} are not on this worker.", "model_missing")
        return Path(order.paths.model)

    def _broken(self, error: BrokenModel) -> RunFailure:
        return bad_spec(POINTER, f"The model of {self.spec.job} cannot be used: {error}", "model_broken")


def _other_classes(job: str, theirs: Sequence[str], ours: Sequence[str]) -> str:
    only_theirs = sorted(set(theirs) - set(ours))[:3]
    only_ours = sorted(set(ours) - set(theirs))[:3]
    if not only_theirs and not only_ours:
        difference = "the same classes in another order"
    else:
        difference = f"only there {only_theirs}, only here {only_ours}"
    return (
        f"The network of {job} tells {len(theirs)} classes apart, this data has {len(ours)} ({difference}): "
        "use data with the same classes, or another model."
    )
