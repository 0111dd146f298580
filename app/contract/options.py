"""Options of training beside optimizer and schedule, and what they cannot stand beside."""

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from app.contract.compression import ChannelPruning, Checkpointing, Quantization, SavedActivations
from app.contract.spec import Flag, Int, Number, Problem, Spec

if TYPE_CHECKING:
    from app.contract.training import Training

Watched = Literal["val/accuracy", "val/loss"]
"""What epochs are compared by: the higher accuracy, or the lower loss, is better."""


class Ema(Spec):
    """Evaluate and export a moving average of the weights in place of the last ones (arXiv 1703.01780).

    After step t the average is d a + (1 - d) w, where w are the weights, a the average before, which begins with the
    initial weights, and d `decay`, or (1 + t) / (10 + t) where `warmup` is set and that is less. Running statistics of
    batch normalisation are averaged like the weights that they belong to; counters are copied.
    """

    decay: Number = Field(
        0.999, gt=0, lt=1, description="Share of the average that stays in a step: 0.999 remembers some 1,000 steps."
    )
    warmup: Flag = Field(
        True, description="Forget faster in the first steps, so that the initial weights leave no trace."
    )

    examples: ClassVar[list[dict[str, Any]]] = [{"decay": 0.999}, {"decay": 0.9, "warmup": False}]

    def decay_of(self, step: int) -> float:
        """Of an optimizer step, counted from 1."""
        return min(self.decay, (1 + step) / (10 + step)) if self.warmup else self.decay

    def share_left(self, steps: int) -> float:
        """The share that the initial weights have in the average after so many steps, in [0, 1]; 0 after a warm-up."""
        return 0.0 if self.warmup else self.decay**steps


class EarlyStopping(Spec):
    """End training when the validation has not become better for some epochs. The schedule stays that of all epochs.

    Epochs count from the one on in which the network has its last form: behind the last step of a pruning in steps, and
    with rounding where it is felt in training. The network that is exported is the last epoch's, unless `export_best`
    says otherwise.
    """

    metric: Watched = Field("val/accuracy", description="What must become better.")
    patience: Int = Field(5, ge=1, le=10_000, description="So many epochs in a row without progress end training.")
    min_delta: Number = Field(0.0, ge=0, le=1000, description="Progress is more than this; accuracy is in [0, 1].")

    examples: ClassVar[list[dict[str, Any]]] = [{"metric": "val/loss", "patience": 3, "min_delta": 0.001}]


def first_comparable_epoch(methods: Sequence[Spec], epochs: int) -> int:
    """How many of `epochs` epochs pass before the network has its last form: only those after them are compared."""
    passed = 0
    for method in methods:
        if isinstance(method, ChannelPruning):
            passed = max(passed, *method.epochs(epochs), 0)
        if isinstance(method, Quantization) and method.mode == "qat":
            passed = max(passed, math.ceil(method.float_share * epochs - 1e-9))
    return min(passed, epochs - 1)


def compile_obstacle(methods: Sequence[Spec]) -> str | None:
    """The kind of a method of the loop that a compiled network would pass over; null when there is none."""
    for method in methods:
        if isinstance(method, SavedActivations | Checkpointing):
            return method.kind
        if isinstance(method, Quantization) and method.mode == "qat":
            return method.kind
    return None


def option_problems(training: "Training", methods: Sequence[Spec]) -> Iterator[Problem]:
    """Options that could never have an effect, or that exclude a method of compression."""
    obstacle = compile_obstacle(methods)
    if training.compile is True and obstacle:
        detail = (
            f"{obstacle} changes how layers compute in every step, which a compiled network would not follow: "
            f"set compile to auto or false, or remove {obstacle}."
        )
        yield Problem(("training", "compile"), f"excludes_{obstacle}", detail)
    if training.early_stopping:
        yield from _stopping_problems(training.early_stopping, training.epochs, methods)


def _stopping_problems(stopping: EarlyStopping, epochs: int, methods: Sequence[Spec]) -> Iterator[Problem]:
    at = ("training", "early_stopping")
    passed = first_comparable_epoch(methods, epochs)
    if passed + 1 + stopping.patience >= epochs:
        which = f"of {epochs} epochs, compared from epoch {passed + 1} on," if passed else f"of {epochs} epochs"
        detail = (
            f"A patience of {stopping.patience} cannot end a training {which} before its last: "
            "lower the patience, train for more epochs, or remove early_stopping."
        )
        yield Problem((*at, "patience"), "never_stops", detail)
    if stopping.metric == "val/accuracy" and stopping.min_delta >= 1:
        detail = "Accuracy is a share from 0 to 1 and never rises by that much: 0.01 is one percentage point."
        yield Problem((*at, "min_delta"), "never_improves", detail)
