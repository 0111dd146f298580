"""Over how many processes one training run is spread. Batch size, samples and result do not depend on the choice."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from app.contract.spec import Flag, Int, Problem, Spec, refuse


class Single(Spec):
    """One process on one device."""

    kind: Literal["single"] = "single"

    examples: ClassVar[list[dict[str, Any]]] = [{"kind": "single"}]

    @property
    def processes(self) -> int:
        """How many devices the job needs."""
        return 1


class Ddp(Spec):
    """PyTorch DistributedDataParallel: one process a device, gradients averaged (NCCL on GPUs, gloo on CPUs)."""

    kind: Literal["ddp"] = "ddp"
    processes: Int = Field(2, ge=1, le=64, description="One device each. The global batch is divided among them.")

    examples: ClassVar[list[dict[str, Any]]] = [{"kind": "ddp", "processes": 2}]


class Mirrored(Spec):
    """TensorFlow MirroredStrategy: one process with a copy of the network on each device, gradients added up.

    For networks of Keras, on workers with the extra `tensorflow` (`frameworks` in `GET /v1/workers`).
    """

    kind: Literal["mirrored"] = "mirrored"
    processes: Int = Field(
        2,
        ge=1,
        le=64,
        description="GPUs, or logical devices of the CPU. The global batch is divided among them.",
    )
    sync_batchnorm: Flag = Field(
        False,
        description="Batch normalisation over the whole batch instead of each device's part: then the number of "
        "devices changes nothing but the order of sums.",
    )

    needs_extra = "tensorflow"

    examples: ClassVar[list[dict[str, Any]]] = [{"kind": "mirrored", "processes": 2}]

    @model_validator(mode="before")
    @classmethod
    def _no_options_of_torch(cls, data: Any) -> Any:
        if isinstance(data, dict):
            own = ", ".join(name for name in cls.model_fields if name != "kind")
            detail = f"This is an option of torch's processes; mirrored has {own}: leave it out, or use ddp."
            others = [name for name in data if name in Ddp.model_fields and name not in cls.model_fields]
            refuse("Mirrored", (Problem((name,), "option_of_torch", detail) for name in others), data)
        return data


Distributed = Annotated[Single | Ddp | Mirrored, Field(discriminator="kind")]
