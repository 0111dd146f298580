"""How long, how fast and how exactly the network is trained."""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from app.contract.options import EarlyStopping, Ema, Watched
from app.contract.spec import Flag, Int, Number, Problem, Spec, refuse

LearningRate = Annotated[Number, Field(gt=0, le=100, description="Peak rate, reached after the warm-up.")]
WeightDecay = Annotated[Number, Field(ge=0, le=10, description="Not applied to biases and normalisation weights.")]
Fused = Annotated[Flag, Field(description="One kernel for all weights, in place of one for each: faster, same sums.")]
WarmupEpochs = Annotated[Number, Field(ge=0, description="Epochs of linear warm-up from near zero; may be a fraction.")]


class Sgd(Spec):
    """Stochastic gradient descent with momentum."""

    kind: Literal["sgd"] = "sgd"
    learning_rate: LearningRate = 0.1
    momentum: Number = Field(0.9, ge=0, lt=1)
    nesterov: Flag = Field(False, description="Needs a momentum above 0.")
    weight_decay: WeightDecay = 1e-4
    fused: Fused = True

    examples: ClassVar[list[dict[str, Any]]] = [{"kind": "sgd", "learning_rate": 0.1, "momentum": 0.9}]

    @model_validator(mode="after")
    def _momentum_fits(self) -> Self:
        refuse("Sgd", self._problems(), self)
        return self

    def _problems(self) -> Iterator[Problem]:
        if self.nesterov and not self.momentum:
            yield Problem(
                ("nesterov",), "needs_momentum", "nesterov needs a momentum above 0: raise it, or remove nesterov."
            )


class AdamW(Spec):
    """Adam with decoupled weight decay (arXiv 1711.05101)."""

    kind: Literal["adamw"] = "adamw"
    learning_rate: LearningRate = 1e-3
    betas: tuple[Annotated[Number, Field(ge=0, lt=1)], Annotated[Number, Field(ge=0, lt=1)]] = (0.9, 0.999)
    epsilon: Number = Field(1e-8, gt=0, le=1)
    weight_decay: WeightDecay = 0.05
    fused: Fused = True

    examples: ClassVar[list[dict[str, Any]]] = [{"kind": "adamw", "learning_rate": 0.003, "weight_decay": 0.05}]


Optimizer = Annotated[Sgd | AdamW, Field(discriminator="kind")]


class Constant(Spec):
    """The peak rate throughout, after the warm-up."""

    kind: Literal["constant"] = "constant"
    warmup_epochs: WarmupEpochs = 0.0

    examples: ClassVar[list[dict[str, Any]]] = [{"kind": "constant"}]


class Cosine(Spec):
    """Half a cosine from the peak rate down to `final_fraction` of it (arXiv 1608.03983, without restarts)."""

    kind: Literal["cosine"] = "cosine"
    warmup_epochs: WarmupEpochs = 0.0
    final_fraction: Number = Field(0.0, ge=0, le=1, description="Rate at the end, as a share of the peak.")

    examples: ClassVar[list[dict[str, Any]]] = [{"kind": "cosine", "warmup_epochs": 1}]


class Step(Spec):
    """The rate is multiplied by `factor` every `every_epochs` epochs after the warm-up."""

    kind: Literal["step"] = "step"
    every_epochs: Int = Field(30, ge=1)
    factor: Number = Field(0.1, gt=0, le=1)
    warmup_epochs: WarmupEpochs = 0.0

    examples: ClassVar[list[dict[str, Any]]] = [{"kind": "step", "every_epochs": 30, "factor": 0.1}]


Schedule = Annotated[Constant | Cosine | Step, Field(discriminator="kind")]
COMPILE_PAYS_STEPS = 2000
"""Optimizer steps of a network from which on `compile: auto` compiles: a first compilation takes up to a minute."""
Precision = Literal["auto", "fp64", "fp32", "bf16", "fp16"]


class Training(Spec):
    """Everything about the optimisation that does not depend on the data or the network."""

    epochs: Int = Field(10, ge=1, le=10_000)
    batch_size: Int = Field(64, ge=1, le=65_536, description="Global: over all processes together.")
    seed: Int = Field(0, ge=0, lt=2**53, description="Fixes split, initial weights, order and augmentation.")
    optimizer: Optimizer = AdamW()
    schedule: Schedule = Cosine()
    precision: Precision = Field(
        "auto",
        description="`auto`: bf16 on a GPU that has it, fp32 on a CPU. `fp64` is for proofs. `fp16` needs a GPU, and "
        "scales the loss so that small gradients are not lost; a step whose gradients overflow is left out.",
    )
    memory_format: Literal["channels_last", "contiguous"] = Field(
        "channels_last",
        description="How images lie in memory: pixel by pixel, as processors compute convolutions fastest, or channel "
        "by channel.",
    )
    compile: Literal["auto"] | Flag = Field(
        "auto",
        description="Whether torch.compile makes the network's training steps faster. `auto`: on a GPU, from "
        f"{COMPILE_PAYS_STEPS:,} steps on, where no method of compression hangs on the network and a compiler is "
        "there. `true`: also on a CPU, and refused where it cannot be done.",
    )
    label_smoothing: Number = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of the answer that is spread evenly over all classes (arXiv 1512.00567), in `train/loss` "
        "and behind `mixup` and `cutmix` too. A teacher's answers and `val/loss` stay as they are.",
    )
    max_gradient_norm: Number | None = Field(
        None,
        gt=0,
        le=1e6,
        description="Gradients of the whole batch, all together, are scaled down to this norm where theirs is larger "
        "(arXiv 1211.5063); `train/gradient_norm` is the norm before. Null: never.",
    )
    ema: Ema | None = Field(None, description="Null: the weights themselves are evaluated and exported.")
    early_stopping: EarlyStopping | None = Field(None, description="Null: all epochs are made.")
    export_best: Watched | None = Field(
        None,
        description="Export the weights of the epoch that was best by this, the highest accuracy or the lowest loss. "
        "Null: those of the last epoch.",
    )

    examples: ClassVar[list[dict[str, Any]]] = [
        {"epochs": 15, "batch_size": 64},
        {
            "epochs": 50,
            "label_smoothing": 0.1,
            "max_gradient_norm": 1.0,
            "ema": {"decay": 0.999},
            "early_stopping": {"metric": "val/loss", "patience": 5},
            "export_best": "val/accuracy",
        },
    ]


class Limits(Spec):
    """When the service gives up."""

    max_duration_s: Int = Field(86_400, ge=1, le=2_592_000, description="Of all attempts together, in seconds.")
    max_attempts: Int = Field(
        3, ge=1, le=100, description="Attempts that end in lost workers or crashes; drains do not count."
    )


class NoBaseline(Spec):
    """Do not train the uncompressed network: its accuracy is null in the report."""

    kind: Literal["none"] = "none"

    examples: ClassVar[list[dict[str, Any]]] = [{"kind": "none"}]


class TrainBaseline(Spec):
    """Train the uncompressed network first, in the same job and with the same schedule, to compare with."""

    kind: Literal["train"] = "train"

    examples: ClassVar[list[dict[str, Any]]] = [{"kind": "train"}]


class JobBaseline(Spec):
    """Compare with the network that an earlier job on the same data ended with, as it was exported.

    It is measured again in this job: on the same validation images, and in turns with this job's own.
    """

    kind: Literal["job"] = "job"
    job: str = Field(
        pattern=r"^job_[0-9a-z]{1,40}$",
        description="The id of that job. It succeeded or missed a gate, with the same data, split and image size.",
    )

    examples: ClassVar[list[dict[str, Any]]] = [{"kind": "job", "job": "job_0123456789abcdef"}]


Baseline = Annotated[NoBaseline | TrainBaseline | JobBaseline, Field(discriminator="kind")]
