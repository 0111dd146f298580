"""A small network that learns from the answers of a large one."""

from typing import Any, ClassVar, Literal

from pydantic import Field

from app.contract.spec import Number, Spec


class Distillation(Spec):
    """Learn from a teacher's answers beside the labels (arXiv 1503.02531).

    The loss is (1 - w) CE + w T^2 KL(teacher || student), both softened by the temperature T. The teacher is the
    network that an earlier job ended with, one that succeeded or missed a gate; it sees the same images, mixed ones
    too, normalised as it was trained.
    A `baseline` that is trained first learns without it.
    """

    kind: Literal["distillation"] = "distillation"
    job: str = Field(
        pattern=r"^job_[0-9a-z]{1,40}$", description="The id of the teacher's job. Its classes must be the same."
    )
    temperature: Number = Field(4.0, gt=0, le=100, description="Both answers are divided by it before the softmax.")
    weight: Number = Field(0.5, gt=0, le=1, description="Share of the teacher in the loss.")

    examples: ClassVar[list[dict[str, Any]]] = [
        {"kind": "distillation", "job": "job_0123456789abcdef", "temperature": 4.0, "weight": 0.5}
    ]
