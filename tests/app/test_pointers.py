"""Every pointer must lead to the place in what the client sent, whatever pydantic put into its own path."""

import pytest
from pydantic import BaseModel, ValidationError

from app.contract.datasets import DatasetSpec
from app.contract.job import JobSpec
from app.contract.views import JobPatch
from app.pointers import MAX_PROBLEMS, field_problems, to_pointer

DATA = {"kind": "builtin", "name": "digits"}
MODEL = {"kind": "timm", "name": "resnet10t"}


def found(body: object, model: type[BaseModel] = JobSpec) -> dict[str, str]:
    """Code by pointer."""
    return {problem.pointer: problem.code for problem in problems(body, model)}


def problems(body: object, model: type[BaseModel] = JobSpec):
    with pytest.raises(ValidationError) as refused:
        model.model_validate(body)
    return field_problems(refused.value.errors(), body, model)


def spec(**more: object) -> dict[str, object]:
    return {"dataset": DATA, "model": MODEL, **more}


def test_a_missing_field_points_where_it_would_stand():
    assert found({}) == {"/dataset": "missing", "/model": "missing"}
    assert found(spec(augment=[{"kind": "random_rotate"}])) == {"/augment/0/degrees": "missing"}


@pytest.mark.parametrize("body", [[], "x", 3, None, True])
def test_a_body_that_is_no_object_is_pointed_at_as_a_whole(body):
    assert found(body) == {"": "model_type"}


def test_the_tag_of_a_union_is_no_part_of_the_path():
    flip = {"kind": "random_flip", "probability": 2}
    assert found(spec(augment=[{"kind": "resize", "size": [8, 8]}, flip])) == {
        "/augment/1/probability": "less_than_equal"
    }


def test_a_tag_nested_in_a_plain_object_is_left_out_too():
    body = spec(training={"optimizer": {"kind": "sgd", "learning_rate": -1}})
    assert found(body) == {"/training/optimizer/learning_rate": "greater_than"}


def test_a_field_that_is_named_like_the_tag_is_kept():
    body = {"dataset": DATA, "model": {"kind": "timm", "timm": 1, "name": "resnet10t"}}
    assert found(body) == {"/model/timm": "extra_forbidden"}


def test_a_mapping_with_a_key_called_kind_is_not_taken_for_a_union():
    assert found(spec(labels={"kind": "team", "team": "a\x01"})) == {"/labels/team": "string_pattern_mismatch"}
    assert found({"labels": {"kind": "q", "q": 3, "type": "q"}}, JobPatch) == {"/labels/q": "string_type"}


def test_a_bad_key_of_a_mapping_is_pointed_at_without_the_mark_of_pydantic():
    assert found(spec(labels={"a b": "x", "[key]": "y"})) == {
        "/labels/a b": "string_pattern_mismatch",
        "/labels/[key]": "string_pattern_mismatch",
    }


def test_slashes_and_tildes_are_escaped():
    assert to_pointer(("labels", "a/b~c", 0)) == "/labels/a~1b~0c/0"
    assert found(spec(labels={"a/": "x", "~": "y"})) == {
        "/labels/a~1": "string_pattern_mismatch",
        "/labels/~0": "string_pattern_mismatch",
    }


def test_an_unpaired_surrogate_in_a_key_can_still_be_answered():
    assert to_pointer(("labels", "\ud800")) == "/labels/?"


def test_items_of_a_list_are_pointed_at_by_number():
    body = spec(augment=[{"kind": "random_crop", "size": [1, "a"]}])
    assert found(body) == {"/augment/0/size/1": "int_type"}


def test_an_absent_or_unknown_kind_points_at_the_kind():
    body = {"dataset": {"name": "digits"}, "model": {"kind": "x"}}
    assert found(body) == {"/dataset/kind": "union_tag_not_found", "/model/kind": "union_tag_invalid"}


def test_a_rule_between_fields_points_at_the_field_to_change():
    body = spec(
        augment=[{"kind": "random_crop", "size": [64, 64]}, {"kind": "normalize"}, {"kind": "random_flip"}],
        training={"batch_size": 63},
        distributed={"kind": "ddp", "processes": 2},
    )
    assert found(body) == {
        "/training/batch_size": "not_divisible",
        "/augment/2": "after_normalize",
        "/augment/0/size": "larger_than_image",
    }


def test_a_rule_inside_a_kind_points_at_its_field():
    body = spec(augment=[{"kind": "random_crop", "size": [8, 8], "ratio": [1, 2]}])
    assert found(body) == {"/augment/0/ratio": "needs_scale"}


def test_a_lone_member_has_no_tag_to_leave_out():
    assert found({"name": "x", "source": {"kind": "folder", "folder": 1, "path": ""}}, DatasetSpec) == {
        "/source/path": "string_too_short",
        "/source/folder": "extra_forbidden",
    }


def test_a_typo_is_answered_with_the_right_name():
    (problem,) = problems(spec(training={"epoch": 3}))
    assert (problem.pointer, problem.detail) == ("/training/epoch", "There is no such field. Did you mean epochs?")


def test_texts_speak_of_json_and_not_of_python():
    texts = [problem.detail for problem in problems(spec(augment={}, labels=3, priority=True, name="x" * 300))]
    assert texts == [
        "This should have at most 200 characters.",
        "This must be a JSON object.",
        "This should be a valid integer.",
        "This must be a JSON array.",
    ]


def test_a_rule_of_several_fields_keeps_its_own_text():
    (problem,) = problems(spec(compression=[{"kind": "low_rank"}]))
    assert (problem.pointer, problem.code) == ("/compression/0/energy", "needs_energy_or_rank")
    assert "rank" in problem.detail


def test_a_hundred_thousand_mistakes_are_answered_with_the_first_hundred():
    body = spec(**{f"x{number}": 1 for number in range(1000)})
    assert len(problems(body)) == MAX_PROBLEMS


def test_without_an_annotation_the_value_alone_is_followed():
    errors = [{"type": "missing", "loc": ("model", "timm", "name"), "msg": "Field required"}]
    assert field_problems(errors, {"model": {"kind": "timm"}})[0].pointer == "/model/name"
