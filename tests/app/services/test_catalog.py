"""The catalog must say exactly what the contract accepts."""

import pytest
from jsonschema_rs import Draft202012Validator
from pydantic import TypeAdapter

from app.contract.augment import Augment, Evaluation
from app.contract.compression import Compression
from app.contract.data import Data
from app.contract.distributed import Distributed
from app.contract.job import JobSpec
from app.contract.models import Model, timm_names
from app.contract.spec import kinds
from app.contract.training import Baseline, Optimizer, Schedule
from app.services.catalog import catalog, job_schema, model_names

FAMILIES = {
    "/dataset": Data,
    "/model": Model,
    "/augment": Augment,
    "/evaluation": Evaluation,
    "/compression": Compression,
    "/distributed": Distributed,
    "/baseline": Baseline,
    "/training/optimizer": Optimizer,
    "/training/schedule": Schedule,
}


def test_every_family_of_the_contract_is_there_with_all_its_kinds():
    found = {family.pointer: [kind.kind for kind in family.kinds] for family in catalog().families}
    assert found == {pointer: list(kinds(family)) for pointer, family in FAMILIES.items()}


def test_every_field_of_the_job_spec_is_in_a_group_or_is_a_family():
    groups = {group.pointer: {field.name for field in group.fields} for group in catalog().groups}
    assert groups[""] == {"name", "labels", "priority", "export", "start"}
    assert groups["/training"] == {
        "epochs", "batch_size", "seed", "precision", "memory_format", "compile", "label_smoothing",
        "max_gradient_norm", "export_best",
    }  # fmt: skip
    named = groups[""] | {pointer.split("/")[1] for pointer in (*FAMILIES, *groups) if pointer}
    assert named == set(JobSpec.model_fields)


@pytest.mark.parametrize("family", catalog().families, ids=lambda family: family.name)
def test_every_kind_is_described_and_its_examples_are_accepted(family):
    adapter = TypeAdapter(FAMILIES[family.pointer])
    for kind in family.kinds:
        assert kind.title
        assert kind.description
        assert kind.examples
        for example in kind.examples:
            assert adapter.validate_python(example).kind == kind.kind
        fields = {field.name for field in kind.fields}
        assert fields == set(type(adapter.validate_python(kind.examples[0])).model_fields) - {"kind"}


def test_fields_carry_limits_and_defaults_without_references():
    by_kind = {
        kind.kind: {field.name: field for field in kind.fields} for each in catalog().families for kind in each.kinds
    }
    degrees = by_kind["random_rotate"]["degrees"]
    assert degrees.required
    assert degrees.json_schema == {"type": "number", "exclusiveMinimum": 0, "maximum": 180}
    assert by_kind["random_rotate"]["border"].default == "reflect"
    assert "$ref" not in catalog().model_dump_json()


def test_the_catalog_is_small():
    assert len(catalog().model_dump_json()) < 60_000


def test_names_of_models_are_searched_with_the_nearest_first():
    found = model_names("ResNet1", 5)
    assert found.items[0] == "resnet18"
    assert len(found.items) == 5
    assert found.total == sum("resnet1" in name for name in timm_names())


def test_the_schema_accepts_its_own_examples_and_refuses_what_the_contract_refuses():
    validator = Draft202012Validator(job_schema())
    assert all(validator.is_valid(example) for example in JobSpec.examples)
    assert len(job_schema()["examples"]) == len(JobSpec.examples) > 0
    assert not validator.is_valid({"dataset": {"kind": "builtin", "name": "digits"}})
    assert not validator.is_valid(JobSpec.examples[0] | {"epochs": 3})
