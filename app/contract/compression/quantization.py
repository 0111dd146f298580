"""Kinds that make the file of the network smaller by fewer bits a number."""

from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from app.contract.compression.layers import Patterns
from app.contract.spec import Int, Number, Problem, Spec, refuse

HALFWAY = 0.5
"""Where training with quantisation begins when the spec does not say."""


class Quantization(Spec):
    """Write an int8 file beside the float one: convolutions and linear layers in 8 bits (arXiv 1712.05877).

    Weights are int8, symmetric, with a scale for each output channel; activations are 8 bits, asymmetric, with a range
    for each tensor, found on training images as evaluation shows them. `ptq` trains as always and quantises
    afterwards. `qat` lets the network feel the rounding during the last part of its training: inputs and weights of
    these layers are rounded to the same grid in every step, and gradients pass as if they were not. The float network
    is exported in either case.
    """

    kind: Literal["quantization"] = "quantization"
    mode: Literal["ptq", "qat"] = Field("ptq", description="After training, or with rounding in training.")
    calibration_images: Int = Field(
        512,
        ge=16,
        le=10_000,
        description="Training images on which the ranges of activations are found; all, where there are fewer.",
    )
    start: Number | None = Field(
        None,
        ge=0,
        lt=1,
        description="For `qat`: share of the epochs that pass before rounding begins. Null: half of them.",
    )
    exclude: Patterns = ()

    examples: ClassVar[list[dict[str, Any]]] = [
        {"kind": "quantization"},
        {"kind": "quantization", "mode": "qat", "start": 0.5, "calibration_images": 256},
    ]

    @model_validator(mode="after")
    def _start_is_of_training(self) -> Self:
        problems = []
        if self.mode == "ptq" and self.start is not None:
            detail = "Rounding begins after training with mode ptq: remove start, or set mode to qat."
            problems.append(Problem(("start",), "not_with_ptq", detail))
        refuse("Quantization", problems, self)
        return self

    @property
    def float_share(self) -> float:
        """Share of the epochs that pass before rounding begins in training; 1 for `ptq`."""
        if self.mode == "ptq":
            return 1.0
        return HALFWAY if self.start is None else self.start
