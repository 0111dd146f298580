"""The job spec: the families put together, the rules between them, and the spec with every default made explicit."""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from app.contract.augment import Augment, Evaluation, Normalize, RandomCrop, Resize, Sizing, counterpart
from app.contract.augment.order import order_problems
from app.contract.compression import Compression, Quantization
from app.contract.compression.conflicts import conflict_problems, weights_problems
from app.contract.compression.pruning import pruning_problems
from app.contract.data import BUILTIN_SIZES, Builtin, Data, Folder, Registered
from app.contract.distributed import Distributed, Mirrored, Single, distributed_problems
from app.contract.export import ExportFormat, Exports
from app.contract.frameworks import Framework, framework_problems
from app.contract.gates import Gates
from app.contract.models import Checkpoint, Model, comes_with_weights
from app.contract.options import option_problems
from app.contract.spec import Int, Problem, Spec, refuse
from app.contract.training import Baseline, Limits, NoBaseline, Training

JobName = Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
LabelKey = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?$")]
LabelValue = Annotated[str, StringConstraints(max_length=255, pattern=r"^[^\x00-\x1f\x7f]*$")]
# pydantic describes the keys that it takes, but leaves out of the schema that it takes no others
LabelField = Field(max_length=64, json_schema_extra={"additionalProperties": False})
Labels = Annotated[dict[LabelKey, LabelValue], LabelField]
Priority = Annotated[Int, Field(ge=-1000, le=1000)]

DEFAULT_SIZE = (224, 224)
DEFAULT_BUILTIN_SIZE = (32, 32)
"""What images are resized to when no augmentation says a size; the built-in sets are tiny."""


class JobSpec(Spec):
    """What to train, on what, how varied, how compressed, over how many processes. Only data and model are required."""

    name: JobName = Field("", description="For people; need not be unique. Empty: made from model and data.")
    labels: Labels = Field({}, description="For filters: `GET /v1/jobs?label.team=vision`.")
    priority: Priority = Field(0, description="Higher is claimed first.")
    dataset: Data
    model: Model
    augment: tuple[Augment, ...] = Field((), max_length=32, description="Applied in this order.")
    evaluation: tuple[Evaluation, ...] = Field(
        (),
        max_length=32,
        description="How images are brought to size in evaluation. Empty: the counterpart of `augment`, with nothing "
        "drawn: a crop is cut from the middle.",
    )
    compression: tuple[Compression, ...] = Field((), max_length=8, description="Applied in this order.")
    distributed: Distributed = Single()
    training: Training = Training()
    baseline: Baseline = NoBaseline()
    gates: Gates = Gates()
    export: Exports = ()
    limits: Limits = Limits()
    start: Literal["warm", "cold"] = Field(
        "warm",
        description="How an attempt's processes begin. `warm`: forked from one that has the libraries loaded, where "
        "the worker keeps it. `cold`: as a fresh interpreter, seconds later. Both compute the same.",
    )

    examples: ClassVar[list[dict[str, Any]]] = [
        {"dataset": {"kind": "builtin", "name": "digits"}, "model": {"kind": "timm", "name": "resnet10t"}},
        {
            "name": "digits-resnet",
            "labels": {"team": "vision"},
            "dataset": {"kind": "builtin", "name": "digits"},
            "model": {"kind": "timm", "name": "resnet10t"},
            "augment": [
                {"kind": "random_crop", "size": [32, 32], "scale": [0.6, 1.0]},
                {"kind": "random_flip", "axis": "horizontal", "probability": 0.5},
                {"kind": "random_rotate", "degrees": 15},
            ],
            "compression": [{"kind": "depthwise_separable"}, {"kind": "activation_compression", "ratio": 2}],
            "distributed": {"kind": "ddp", "processes": 2},
            "training": {
                "epochs": 20,
                "batch_size": 64,
                "optimizer": {"kind": "adamw", "learning_rate": 0.003, "weight_decay": 0.05},
                "schedule": {"kind": "cosine", "warmup_epochs": 1},
            },
            "baseline": {"kind": "train"},
            "gates": {"max_accuracy_drop": 0.1, "min_parameter_ratio": 5},
            "export": ["onnx"],
        },
    ]

    @model_validator(mode="after")
    def _parts_fit_together(self) -> Self:
        refuse("JobSpec", self._problems(), self)
        return self

    def _problems(self) -> Iterator[Problem]:
        yield from _training_problems(self.training)
        yield from distributed_problems(self.distributed, self.training, self.compression)
        yield from order_problems(self.augment)
        yield from _crop_problems(self)
        yield from _channel_problems(self)
        yield from _evaluation_problems(self)
        yield from _gate_problems(self)
        yield from conflict_problems(self.compression)
        yield from weights_problems(self.compression, comes_with_weights(self.model))
        yield from pruning_problems(self.compression, self.training.epochs)
        yield from option_problems(self.training, self.compression)
        yield from framework_problems(self, self.framework)

    @property
    def framework(self) -> Framework:
        """The library that trains this job: a worker must have it."""
        return "tensorflow" if isinstance(self.distributed, Mirrored) else "torch"

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of what the network sees, in pixels: the last size that the augmentations set."""
        sizes = [augment.size for augment in self.augment if isinstance(augment, Sizing)]
        return sizes[-1] if sizes else _default_size(self.dataset)

    @property
    def quantization(self) -> Quantization | None:
        """The method that ends in an int8 file, if any."""
        return next((each for each in self.compression if isinstance(each, Quantization)), None)

    def resolved(self) -> "JobSpec":
        """The same job with name, sizes, normalisation, evaluation and formats written out: as it is stored."""
        augment = self.augment
        if not any(isinstance(each, Sizing) for each in augment):
            augment = (Resize(size=self.image_size), *augment)
        if not any(isinstance(each, Normalize) for each in augment):
            augment = (*augment, Normalize())
        evaluation = self.evaluation or tuple(counterpart(augment))
        name = self.name or _made_up_name(self)
        changes = {"augment": augment, "evaluation": evaluation, "export": _exports(self), "name": name}
        return self.model_copy(update=changes)


def _training_problems(training: Training) -> Iterator[Problem]:
    if training.schedule.warmup_epochs > training.epochs:
        detail = f"The warm-up is longer than the {training.epochs} epochs of training: shorten it, or train longer."
        yield Problem(("training", "schedule", "warmup_epochs"), "too_long", detail)


def _crop_problems(spec: JobSpec) -> Iterator[Problem]:
    """A pad-and-crop must fit into the padded image wherever that image's size is known from the spec."""
    size = BUILTIN_SIZES[spec.dataset.name] if isinstance(spec.dataset, Builtin) else None
    for index, each in enumerate(spec.augment):
        if isinstance(each, RandomCrop) and not each.scale and size:
            padded = (size[0] + 2 * each.padding, size[1] + 2 * each.padding)
            if each.size[0] > padded[0] or each.size[1] > padded[1]:
                detail = (
                    f"A crop of {each.size[0]}x{each.size[1]} does not fit the {padded[0]}x{padded[1]} padded image: "
                    "put a resize before it, raise padding, or give scale to make size the output size."
                )
                yield Problem(("augment", index, "size"), "larger_than_image", detail)
        if isinstance(each, Sizing):
            size = each.size


def _channel_problems(spec: JobSpec) -> Iterator[Problem]:
    if isinstance(spec.model, Checkpoint):
        return
    for index, each in enumerate(spec.augment):
        if isinstance(each, Normalize) and each.mean is not None and len(each.mean) not in (1, spec.model.channels):
            detail = f"The model reads {spec.model.channels} channels: give that many values, or one for all."
            yield Problem(("augment", index, "mean"), "length", detail)


def _evaluation_problems(spec: JobSpec) -> Iterator[Problem]:
    if spec.evaluation and spec.evaluation[-1].size != spec.image_size:
        height, width = spec.image_size
        detail = f"The network is trained on {height}x{width} images: the last size here must be [{height}, {width}]."
        yield Problem(("evaluation",), "other_size", detail)


def _gate_problems(spec: JobSpec) -> Iterator[Problem]:
    if spec.gates.max_accuracy_drop is not None and isinstance(spec.baseline, NoBaseline):
        detail = (
            "With the baseline none, no accuracy before is measured: set baseline to train or to an earlier job, "
            "or use min_accuracy."
        )
        yield Problem(("gates", "max_accuracy_drop"), "not_measured", detail)


def _exports(spec: JobSpec) -> tuple[ExportFormat, ...]:
    """The int8 file is made of the ONNX file."""
    implied: tuple[ExportFormat, ...] = ("onnx",) if spec.quantization else ()
    return tuple(dict.fromkeys((*spec.export, *implied)))


def _default_size(dataset: Data) -> tuple[int, int]:
    return DEFAULT_BUILTIN_SIZE if isinstance(dataset, Builtin) else DEFAULT_SIZE


def _made_up_name(spec: JobSpec) -> str:
    model = f"from {spec.model.job}" if isinstance(spec.model, Checkpoint) else spec.model.name
    return "".join(c for c in f"{model} on {_data_name(spec.dataset)}" if c.isprintable())[:200]


def _data_name(dataset: Data) -> str:
    match dataset:
        case Builtin():
            return dataset.name
        case Folder():
            return dataset.path.rstrip("/").rpartition("/")[2]
        case Registered():
            return dataset.id
