"""What a measured model must reach for its job to succeed."""

from collections.abc import Iterator
from typing import Any, ClassVar

from pydantic import Field

from app.contract.spec import Int, Number, Spec


class Gates(Spec):
    """Limits for the model that the job ships. When one is missed, the job ends `failed` with the code `gate_missed`;
    its files and its report are kept.

    *Before* is the network that `baseline` names (`none` and `train`: the one that the spec names, uncompressed),
    *after* the file that the job ships, both as the report has them.
    """

    max_accuracy_drop: Number | None = Field(
        None,
        ge=0,
        le=1,
        description="Accuracy before - after, as a share: 0.02 is two percentage points. "
        "Needs the baseline `train` or `job`.",
    )
    min_accuracy: Number | None = Field(None, gt=0, le=1, description="Of the shipped file, on the validation images.")
    max_parameters: Int | None = Field(None, ge=1, lt=2**53)
    min_parameter_ratio: Number | None = Field(None, gt=0, le=1e6, description="Parameters before / after.")
    max_bytes: Int | None = Field(None, ge=1, lt=2**53, description="Of the shipped file.")
    max_p95_latency_ratio: Number | None = Field(
        None,
        gt=0,
        le=1000,
        description="p95 latency after / before at batch size 1: below 1 means faster. Both run in turns in the same "
        "process and runtime; of several runtimes the worst counts.",
    )

    examples: ClassVar[list[dict[str, Any]]] = [{"max_accuracy_drop": 0.02, "min_parameter_ratio": 4}]

    def limits(self) -> Iterator[tuple[str, int | float]]:
        """The gates that have a limit, with it, in the order of this class."""
        for name in Gates.model_fields:
            limit = getattr(self, name)
            if limit is not None:
                yield name, limit
