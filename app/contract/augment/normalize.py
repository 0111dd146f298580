"""The last step before the network: values of about zero mean and unit deviation."""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from app.contract.spec import Number, Problem, Spec, refuse

ChannelValues = Annotated[tuple[Number, ...], Field(min_length=1, max_length=3)]


class Normalize(Spec):
    """Subtract a mean and divide by a deviation, per channel, on the device. Always last; also used in evaluation."""

    kind: Literal["normalize"] = "normalize"
    mean: ChannelValues | None = Field(None, description="Per channel, of values in [0, 1]. Null: fitted to the data.")
    std: ChannelValues | None = Field(None, description="Per channel, above 0. Null: fitted to the data.")

    examples: ClassVar[list[dict[str, Any]]] = [
        {"kind": "normalize"},
        {"kind": "normalize", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
    ]

    @model_validator(mode="after")
    def _values_fit(self) -> Self:
        refuse("Normalize", self._problems(), self)
        return self

    def _problems(self) -> Iterator[Problem]:
        if (self.mean is None) != (self.std is None):
            missing = "mean" if self.mean is None else "std"
            yield Problem((missing,), "incomplete", "Give mean and std together, or neither to fit them to the data.")
        elif self.mean is not None and self.std is not None and len(self.mean) != len(self.std):
            yield Problem(("std",), "length", "mean and std need one value per channel each.")
        if self.std is not None and min(self.std) <= 0:
            yield Problem(("std",), "range", "Each std must be above 0.")
