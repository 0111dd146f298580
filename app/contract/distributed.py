"""Over how many processes one training run is spread. Batch size, samples and result do not depend on the choice."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from app.contract.spec import Int, Spec


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


Distributed = Annotated[Single | Ddp, Field(discriminator="kind")]
