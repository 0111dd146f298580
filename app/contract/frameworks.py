"""Which library trains a spec, and what of a spec each of the two can do.

The table of TensorFlow's side names what it has. A kind or a field that is added later is refused there until it is
entered: nothing that a spec asks for may be ignored.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Literal

from pydantic import BaseModel

from app.contract.spec import Problem, Spec

Framework = Literal["torch", "tensorflow"]

TENSORFLOW_KINDS: dict[str, frozenset[str]] = {
    "model": frozenset({"keras_application", "checkpoint"}),
    "compression": frozenset({"depthwise_separable", "activation_compression"}),
    "baseline": frozenset({"none", "train"}),
    "optimizer": frozenset({"sgd", "adamw"}),
    "schedule": frozenset({"constant", "cosine", "step"}),
    "distributed": frozenset({"mirrored"}),
}
"""By family. Data sets and augmentations are the same for both: the same code reads, plans and executes them."""

TENSORFLOW_TRAINING = frozenset(
    {"epochs", "batch_size", "seed", "optimizer", "schedule", "precision"}
    | {"label_smoothing", "max_gradient_norm", "ema", "early_stopping", "export_best"}
)
"""Fields of `training` that it heeds."""
TENSORFLOW_OPTIMIZER = frozenset({"kind", "learning_rate", "momentum", "nesterov", "betas", "epsilon", "weight_decay"})
"""Fields of its optimizers that it heeds."""
TENSORFLOW_FIELDS = frozenset(
    {"name", "labels", "priority", "dataset", "model", "augment", "evaluation", "compression", "distributed"}
    | {"training", "baseline", "gates", "export", "limits", "start"}
)
"""Fields of a spec that it heeds."""
TENSORFLOW_EXPORTS = frozenset({"onnx", "saved_model", "tflite"})
TORCH_EXPORTS = frozenset({"onnx", "torch_export"})

_WAY_OUT: dict[str, str] = {
    "model": 'timm is torch\'s: use {"kind": "keras_application"}, or set distributed to ddp or single.',
    "baseline": "mirrored does not compare with an earlier job: use train or none.",
}
_FIELD_WAY_OUT: dict[str, str] = {
    "compile": "compile is torch's, and mirrored makes graphs of its steps in any case: leave it at auto.",
    "memory_format": "mirrored's networks read images pixel by pixel: leave it at channels_last.",
    "fused": "fused chooses between torch's kernels, and mirrored has its own: leave it out.",
}
_NEEDS_TENSORFLOW = 'is TensorFlow\'s: set distributed to {"kind": "mirrored"}'


def framework_problems(spec: Any, framework: Framework) -> Iterator[Problem]:
    """What a job spec asks for that the library which trains it does not do, each with the way out."""
    if framework == "torch":
        yield from _problems_of_torch(spec)
        return
    yield from _kind_problems(spec)
    yield from _field_problems(spec, TENSORFLOW_FIELDS, ())
    yield from _field_problems(spec.training, TENSORFLOW_TRAINING, ("training",))
    yield from _field_problems(spec.training.optimizer, TENSORFLOW_OPTIMIZER, ("training", "optimizer"))
    yield from _export_problems(spec.export, TENSORFLOW_EXPORTS, "use onnx, saved_model or tflite")
    if spec.training.precision == "fp16":
        detail = "mirrored trains in fp64, fp32 and bf16, which needs no scaling of the loss: use one of them, or auto."
        yield Problem(("training", "precision"), "not_in_tensorflow", detail)


def _problems_of_torch(spec: Any) -> Iterator[Problem]:
    if spec.model.kind == "keras_application":
        detail = f"This network {_NEEDS_TENSORFLOW}, or use a network of timm."
        yield Problem(("model", "kind"), "needs_tensorflow", detail)
    yield from _export_problems(spec.export, TORCH_EXPORTS, f"it {_NEEDS_TENSORFLOW}, or use onnx or torch_export")


def _kind_problems(spec: Any) -> Iterator[Problem]:
    chosen: list[tuple[str, tuple[str | int, ...], Spec]] = [
        ("model", ("model",), spec.model),
        ("baseline", ("baseline",), spec.baseline),
        ("optimizer", ("training", "optimizer"), spec.training.optimizer),
        ("schedule", ("training", "schedule"), spec.training.schedule),
        *(("compression", ("compression", index), each) for index, each in enumerate(spec.compression)),
    ]
    for family, path, part in chosen:
        kind: str = part.kind  # type: ignore[attr-defined]
        if kind not in TENSORFLOW_KINDS[family]:
            there = ", ".join(sorted(TENSORFLOW_KINDS[family]))
            detail = _WAY_OUT.get(family, f"mirrored has no {kind}: remove it, or use one of {there}.")
            yield Problem((*path, "kind"), "not_in_tensorflow", detail)


def _field_problems(part: BaseModel, known: frozenset[str], path: tuple[str | int, ...]) -> Iterator[Problem]:
    """Fields that only torch heeds, where they say anything."""
    for name, field in type(part).model_fields.items():
        if name not in known and getattr(part, name) != field.get_default(call_default_factory=True):
            otherwise = f"mirrored does not heed {name}: leave it out, or use distributed ddp or single."
            detail = _FIELD_WAY_OUT.get(name, otherwise)
            yield Problem((*path, name), "not_in_tensorflow", detail)


def _export_problems(asked: Iterable[str], known: frozenset[str], way_out: str) -> Iterator[Problem]:
    for index, name in enumerate(asked):
        if name not in known:
            yield Problem(("export", index), "other_framework", f"{name} cannot be written here: {way_out}.")
