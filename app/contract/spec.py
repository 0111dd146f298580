"""What every part of a job spec shares: frozen, exact, and explicit about its kinds."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, Strict, StringConstraints, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

# JSON has one number type, so `"15"` or `true` for a number is a mistake, not a spelling: these three refuse it.
Int = Annotated[int, Strict()]
Number = Annotated[float, Strict()]
Flag = Annotated[bool, Strict()]

Extra = Literal["tensorflow"]
"""Optional libraries of a worker, by the name of the extra that installs them."""

Probability = Annotated[Number, Field(ge=0, le=1)]
ModulePattern = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00]+$")]


def _kind_is_required(schema: dict[str, Any]) -> None:
    """Every kind has its own name as default, for Python; in JSON a union cannot be read without it."""
    if "kind" in schema.get("properties", {}):
        schema["required"] = ["kind", *(name for name in schema.get("required", []) if name != "kind")]


class Spec(BaseModel):
    """A part of a job spec. Immutable; unknown fields are refused, since a typo must never be ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, json_schema_extra=_kind_is_required)

    examples: ClassVar[list[dict[str, Any]]] = []
    """Complete, valid bodies of this kind: shown in OpenAPI and the catalog, run by the conformance tests."""

    needs_extra: ClassVar[Extra | None] = None
    """The optional library that a worker must have for this kind; null: what every worker has."""


@dataclass(frozen=True)
class Problem:
    """One broken cross-field rule: where (a path of keys from the root of the spec), which rule, and the way out."""

    path: tuple[str | int, ...]
    code: str
    detail: str


def refuse(title: str, problems: Iterable[Problem], value: object) -> None:
    """Raise one `ValidationError` that carries every problem at its own place; no problems, no error."""
    errors = [
        InitErrorDetails(type=PydanticCustomError(p.code, "{detail}", {"detail": p.detail}), loc=p.path, input=value)
        for p in problems
    ]
    if errors:
        raise ValidationError.from_exception_data(title, errors)


def kinds(family: Any) -> dict[str, type[Spec]]:
    """The classes of a family (an annotated union, or a union of one), by the `kind` that selects each."""
    members = get_args(family)
    union = get_args(members[0]) or (members[0],)
    return {cls.model_fields["kind"].default: cls for cls in union}
