"""What only one of the two libraries can do is refused when the spec is read, with the way out."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from app.contract import frameworks
from app.contract.compression import Compression
from app.contract.distributed import Distributed
from app.contract.job import JobSpec
from app.contract.models import Model
from app.contract.spec import kinds
from app.contract.training import Baseline, Optimizer, Schedule, Training

ROOT = Path(__file__).parents[3]
KERAS = {"kind": "keras_application", "name": "mobilenet", "width": 0.25}
MIRRORED = {"kind": "mirrored", "processes": 2}


def mirrored(**changes: Any) -> dict[str, Any]:
    digits = {"kind": "builtin", "name": "digits"}
    return {"dataset": digits, "model": KERAS, "distributed": MIRRORED} | changes


def refusals(body: dict[str, Any]) -> dict[str, str]:
    """By pointer, without pydantic's names of kinds."""
    with pytest.raises(ValidationError) as refused:
        JobSpec.model_validate(body)
    names = {"mirrored", "keras_application", "timm"}
    return {
        "/".join(str(part) for part in error["loc"] if part not in names): error["type"]
        for error in refused.value.errors()
    }


def test_a_mirrored_job_needs_tensorflow_and_any_other_does_not() -> None:
    spec = JobSpec.model_validate(mirrored())
    assert (spec.framework, spec.distributed.needs_extra) == ("tensorflow", "tensorflow")
    plain = JobSpec.model_validate(JobSpec.examples[0])
    assert (plain.framework, plain.distributed.needs_extra) == ("torch", None)


@pytest.mark.parametrize(
    ("changes", "where", "code"),
    [
        ({"model": {"kind": "timm", "name": "resnet10t"}}, "model/kind", "not_in_tensorflow"),
        ({"compression": [{"kind": "quantization"}]}, "compression/0/kind", "not_in_tensorflow"),
        ({"compression": [{"kind": "saved_activations"}]}, "compression/0/kind", "not_in_tensorflow"),
        ({"compression": [{"kind": "checkpointing"}]}, "compression/0/kind", "not_in_tensorflow"),
        ({"compression": [{"kind": "low_rank", "rank": 4}]}, "compression/0/kind", "not_in_tensorflow"),
        ({"baseline": {"kind": "job", "job": "job_1"}}, "baseline/kind", "not_in_tensorflow"),
        ({"training": {"precision": "fp16"}}, "training/precision", "not_in_tensorflow"),
        ({"export": ["onnx", "torch_export"]}, "export/1", "other_framework"),
        ({"model": {"kind": "keras_application", "name": "vgg16", "width": 0.5}}, "model/width", "no_width"),
        ({"training": {"batch_size": 63}}, "training/batch_size", "not_divisible"),
        ({"training": {"compile": True}}, "training/compile", "not_in_tensorflow"),
        ({"training": {"memory_format": "contiguous"}}, "training/memory_format", "not_in_tensorflow"),
        (
            {"training": {"optimizer": {"kind": "sgd", "fused": False}}},
            "training/optimizer/fused",
            "not_in_tensorflow",
        ),
    ],
)
def test_what_tensorflow_does_not_do_is_refused(changes: dict[str, Any], where: str, code: str) -> None:
    assert refusals(mirrored(**changes)) == {where: code}


def test_keras_networks_and_formats_need_mirrored() -> None:
    for kind in ("ddp", "fsdp"):
        assert refusals(mirrored(distributed={"kind": kind})) == {"model/kind": "needs_tensorflow"}
    torch = JobSpec.examples[0] | {"export": ["tflite", "saved_model"]}
    assert refusals(torch) == {"export/0": "other_framework", "export/1": "other_framework"}


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_options_of_torch_are_refused_by_name(kind: str) -> None:
    """Whatever a kind of torch's can be told beside its processes."""
    known, others = (kinds(Distributed)[each].model_fields for each in ("mirrored", kind))
    options = {name: field.get_default() for name, field in others.items() if name not in known}
    assert "gradient_accumulation" in options
    for name, default in options.items():
        body = mirrored(distributed=MIRRORED | {name: default})
        assert refusals(body) == {f"distributed/{name}": "option_of_torch"}
    assert refusals(mirrored(distributed=MIRRORED | {"no_such": 1})) == {"distributed/no_such": "extra_forbidden"}


def test_a_field_of_training_that_tensorflow_does_not_heed_is_refused() -> None:
    """Also one that is added later."""

    class Longer(Training):
        later: bool = False

    spec = JobSpec.model_validate(mirrored())
    asked = spec.model_copy(update={"training": Longer(later=True)})
    (problem,) = frameworks.framework_problems(asked, "tensorflow")
    assert (problem.path, problem.code) == (("training", "later"), "not_in_tensorflow")
    assert not list(frameworks.framework_problems(spec.model_copy(update={"training": Longer()}), "tensorflow"))


@pytest.mark.parametrize("training", Training.examples)
def test_options_of_training_that_both_libraries_have_are_taken(training: dict[str, Any]) -> None:
    spec = JobSpec.model_validate(mirrored(training=training))
    assert training.items() <= spec.training.model_dump(mode="json", exclude_unset=True).items()


@pytest.mark.parametrize("name", ["compile", "memory_format", "fused"])
def test_what_chooses_between_torchs_kernels_says_what_to_leave_it_at(name: str) -> None:
    assert "leave it" in frameworks._FIELD_WAY_OUT[name]


def test_the_table_names_kinds_that_there_are_and_each_has_its_file() -> None:
    families = {
        "model": (Model, "models"),
        "compression": (Compression, "compression"),
        "optimizer": (Optimizer, "optim"),
    }
    for family, (union, folder) in families.items():
        named = frameworks.TENSORFLOW_KINDS[family]
        files = {path.stem for path in (ROOT / "worker/tensorflow" / folder).glob("[a-z]*.py")}
        assert named == files
        assert named <= set(kinds(union))
    for family, union in {"baseline": Baseline, "schedule": Schedule, "distributed": Distributed}.items():
        assert frameworks.TENSORFLOW_KINDS[family] <= set(kinds(union))
    assert set(Training.model_fields) >= frameworks.TENSORFLOW_TRAINING
    assert set(JobSpec.model_fields) >= frameworks.TENSORFLOW_FIELDS
    optimizers = [set(cls.model_fields) for cls in kinds(Optimizer).values()]
    assert set.union(*optimizers) == frameworks.TENSORFLOW_OPTIMIZER | {"fused"}
