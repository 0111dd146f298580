"""Every kind of every family, as the contract classes say: there is no second list.

The families are found by walking `JobSpec`: a field whose type is a union on `kind` is a family, a plain object
(`training`, `limits`) is a group of fields and is walked in turn.
"""

from collections.abc import Iterator
from functools import cache
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from app.contract.job import JobSpec
from app.contract.models import timm_names
from app.contract.spec import Spec
from app.services import workers

SCHEMA_ID = "/v1/schemas/job"
DIALECT = "https://json-schema.org/draft/2020-12/schema"


class CatalogField(BaseModel):
    """One field of a kind or a group."""

    name: str
    required: bool
    default: Any = Field(None, description="What is taken when the field is left out.")
    description: str
    json_schema: dict[str, Any] = Field(description="Type and limits, as JSON Schema 2020-12 without references.")


class CatalogKind(BaseModel):
    """One thing that a family offers."""

    kind: str
    title: str
    description: str
    fields: list[CatalogField]
    examples: list[dict[str, Any]]
    needs_extra: str | None = Field(None, description="Optional library that a worker must have for it.")
    workers: list[str] | None = Field(
        None, description="With `needs_extra`: those that have it now. Without any, such a job waits for one."
    )


class CatalogFamily(BaseModel):
    """A choice among kinds, and where in the job spec it is made."""

    name: str
    pointer: str = Field(description="JSON Pointer to the field of the job spec.")
    many: bool = Field(description="A list of kinds, applied in order; otherwise exactly one.")
    required: bool
    default: Any = None
    description: str
    kinds: list[CatalogKind]


class CatalogGroup(BaseModel):
    """Fields that stand together in the job spec; the group at pointer "" is the spec itself."""

    name: str
    pointer: str
    description: str
    fields: list[CatalogField]


class Catalog(BaseModel):
    """All that a job spec can say."""

    families: list[CatalogFamily]
    groups: list[CatalogGroup]


class ModelNames(BaseModel):
    """Names for `model.name` of the kind `timm`."""

    items: list[str]
    total: int = Field(description="How many names match; `items` holds the first of them.")


@cache
def catalog() -> Catalog:
    """The whole catalog. Some 40 kB: the names of timm's models are asked for with `model_names`."""
    groups = list(_groups("job", "", JobSpec))
    families = [family for group, cls in groups for family in _families(group.pointer, cls)]
    return Catalog(families=families, groups=[group for group, _ in groups])


def catalog_now(session: Session) -> Catalog:
    """The catalog with the workers that can do what not every worker can."""
    return catalog().model_copy(update={"families": [_family_now(session, each) for each in catalog().families]})


def _family_now(session: Session, family: CatalogFamily) -> CatalogFamily:
    kinds = [
        kind.model_copy(update={"workers": workers.having(session, kind.needs_extra)}) if kind.needs_extra else kind
        for kind in family.kinds
    ]
    return family.model_copy(update={"kinds": kinds})


def model_names(search: str, limit: int) -> ModelNames:
    """Names with `search` in them (any case): those that begin with it first, shorter before longer."""
    needle = search.lower()
    found = [name for name in timm_names() if needle in name.lower()]
    found.sort(key=lambda name: (not name.lower().startswith(needle), len(name), name))
    return ModelNames(items=found[:limit], total=len(found))


@cache
def job_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a job spec, with its examples."""
    schema = JobSpec.model_json_schema()
    return {"$schema": DIALECT, "$id": SCHEMA_ID, **schema, "examples": JobSpec.examples}


def _groups(name: str, pointer: str, cls: type[Spec]) -> Iterator[tuple[CatalogGroup, type[Spec]]]:
    """The group of this class, then those of the plain objects in it."""
    inner = {key: part for key, field in cls.model_fields.items() if (part := _plain_object(field.annotation))}
    skipped = {*inner, *(key for key, field in cls.model_fields.items() if _kinds(field.annotation))}
    fields = [field for field in _fields(cls) if field.name not in skipped]
    yield CatalogGroup(name=name, pointer=pointer, description=_text(cls), fields=fields), cls
    for key, part in inner.items():
        yield from _groups(key, f"{pointer}/{key}", part)


def _families(pointer: str, cls: type[Spec]) -> Iterator[CatalogFamily]:
    schemas = {field.name: field for field in _fields(cls)}
    for key, field in cls.model_fields.items():
        members = _kinds(field.annotation)
        if members:
            yield CatalogFamily(
                name=key,
                pointer=f"{pointer}/{key}",
                many=get_origin(field.annotation) is tuple,
                required=field.is_required(),
                default=schemas[key].default,
                description=schemas[key].description,
                kinds=[_kind(member) for member in members],
            )


def _kind(cls: type[Spec]) -> CatalogKind:
    kind = cls.model_fields["kind"].default
    return CatalogKind(
        kind=kind,
        title=kind.replace("_", " ").capitalize(),
        description=_text(cls),
        fields=[field for field in _fields(cls) if field.name != "kind"],
        examples=cls.examples,
        needs_extra=cls.needs_extra,
    )


def _fields(cls: type[BaseModel]) -> Iterator[CatalogField]:
    schema = cls.model_json_schema()
    definitions = schema.get("$defs", {})
    for name, raw in schema["properties"].items():
        part = _inlined(raw, definitions)
        for noise in ("title", "default", "description"):
            part.pop(noise, None)
        yield CatalogField(
            name=name,
            required=name in schema.get("required", ()),
            default=raw.get("default"),
            description=raw.get("description", ""),
            json_schema=part,
        )


def _inlined(node: Any, definitions: dict[str, Any]) -> Any:
    """The schema with each reference replaced by what it refers to. Our specs hold no recursive types."""
    if isinstance(node, list):
        return [_inlined(each, definitions) for each in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        target = definitions[node["$ref"].rpartition("/")[2]]
        return _inlined({**target, **{k: v for k, v in node.items() if k != "$ref"}}, definitions)
    return {key: _inlined(value, definitions) for key, value in node.items()}


def _members(annotation: Any) -> list[Any]:
    """The alternatives of an annotation: of a union, of the items of a tuple, or itself."""
    origin = get_origin(annotation)
    if origin in (Annotated, tuple):
        return _members(get_args(annotation)[0])
    return list(get_args(annotation)) if origin in (Union, UnionType) else [annotation]


def _specs(annotation: Any) -> list[type[Spec]]:
    return [each for each in _members(annotation) if isinstance(each, type) and issubclass(each, Spec)]


def _kinds(annotation: Any) -> list[type[Spec]]:
    """The classes of a family; empty for every other annotation."""
    return [cls for cls in _specs(annotation) if "kind" in cls.model_fields]


def _plain_object(annotation: Any) -> type[Spec] | None:
    found = [cls for cls in _specs(annotation) if "kind" not in cls.model_fields]
    return found[0] if found else None


def _text(cls: type[BaseModel]) -> str:
    """The docstring with its line breaks removed, paragraphs kept."""
    paragraphs = (cls.__doc__ or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
