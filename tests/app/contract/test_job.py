"""The spec: what is read, what is refused and where, and what the defaults make of it."""

import copy
import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.contract.job import JobSpec

SMALL: dict[str, Any] = JobSpec.examples[0]
FULL: dict[str, Any] = JobSpec.examples[1]


def spec(**changes: Any) -> dict[str, Any]:
    """The smallest spec with some fields set."""
    return {**copy.deepcopy(SMALL), **changes}


def refusals(body: dict[str, Any]) -> dict[tuple[str | int, ...], str]:
    """Where and why a body is refused."""
    with pytest.raises(ValidationError) as caught:
        JobSpec.model_validate(body)
    return {error["loc"]: error["type"] for error in caught.value.errors()}


@pytest.mark.parametrize("body", JobSpec.examples)
def test_every_example_is_read(body: dict[str, Any]) -> None:
    assert JobSpec.model_validate(body).dataset.kind == "builtin"


@pytest.mark.parametrize("missing", ["dataset", "model"])
def test_only_data_and_model_are_required(missing: str) -> None:
    body = copy.deepcopy(SMALL)
    del body[missing]
    assert refusals(body) == {(missing,): "missing"}


def test_a_typo_is_refused_at_every_depth() -> None:
    body = copy.deepcopy(FULL)
    body["epochs"] = 3
    body["augment"][1]["propability"] = 0.5
    body["training"]["optimizer"]["lr"] = 1
    assert refusals(body) == {
        ("epochs",): "extra_forbidden",
        ("augment", 1, "random_flip", "propability"): "extra_forbidden",
        ("training", "optimizer", "adamw", "lr"): "extra_forbidden",
    }


@pytest.mark.parametrize("value", ["15", True, 15.5, None, [15]])
def test_a_number_must_be_a_json_number(value: object) -> None:
    assert ("training", "epochs") in refusals(spec(training={"epochs": value}))


def test_later_families_are_unknown_fields_until_they_are_built() -> None:
    assert refusals(spec(teacher={"job": "job_1"})) == {("teacher",): "extra_forbidden"}
    assert ("baseline",) in refusals(spec(baseline={"kind": "jobs", "job": "job_1"}))


def test_formats_are_named_once_each() -> None:
    assert refusals(spec(export=["onnx", "onnx"])) == {("export",): "duplicate"}
    assert refusals(spec(export=["onnx", "safetensors"])) == {("export", 1): "always_written"}
    assert refusals(spec(export=["coreml"])) == {("export", 0): "literal_error"}
    assert JobSpec.model_validate(spec(export=["torch_export", "onnx"])).export == ("torch_export", "onnx")


def test_the_resolved_spec_names_the_onnx_file_that_quantization_is_made_of() -> None:
    int8 = [{"kind": "quantization"}]
    assert JobSpec.model_validate(spec(compression=int8)).resolved().export == ("onnx",)
    both = JobSpec.model_validate(spec(compression=int8, export=["torch_export", "onnx"])).resolved()
    assert both.export == ("torch_export", "onnx")
    assert JobSpec.model_validate(SMALL).resolved().export == ()


def test_ranges_are_not_found_on_one_image() -> None:
    found = refusals(spec(compression=[{"kind": "quantization", "calibration_images": 1}]))
    assert found == {("compression", 0, "quantization", "calibration_images"): "greater_than_equal"}


def test_a_model_that_timm_lacks_is_refused_with_close_names() -> None:
    with pytest.raises(ValidationError, match=r"no model 'resnet1O'.*resnet18"):
        JobSpec.model_validate(spec(model={"kind": "timm", "name": "resnet1O"}))


def test_a_pretrained_tag_is_part_of_a_name() -> None:
    assert JobSpec.model_validate(spec(model={"kind": "timm", "name": "resnet18.a1_in1k"}))


def test_the_global_batch_must_divide_among_processes() -> None:
    body = spec(training={"batch_size": 63}, distributed={"kind": "ddp", "processes": 2})
    assert refusals(body) == {("training", "batch_size"): "not_divisible"}


def test_the_warm_up_must_fit_into_the_training() -> None:
    body = spec(training={"epochs": 2, "schedule": {"kind": "cosine", "warmup_epochs": 3}})
    assert refusals(body) == {("training", "schedule", "warmup_epochs"): "too_long"}


def test_nesterov_needs_momentum() -> None:
    body = spec(training={"optimizer": {"kind": "sgd", "momentum": 0, "nesterov": True}})
    assert refusals(body) == {("training", "optimizer", "sgd", "nesterov"): "needs_momentum"}


def test_nothing_stands_behind_normalize() -> None:
    body = spec(augment=[{"kind": "normalize"}, {"kind": "random_flip"}, {"kind": "normalize"}])
    assert refusals(body) == {("augment", 1): "after_normalize", ("augment", 2): "after_normalize"}


@pytest.mark.parametrize("ratio", [1, 65, 0, -2, 2.5])
def test_a_compression_ratio_is_a_whole_number_from_2_to_64(ratio: float) -> None:
    body = spec(compression=[{"kind": "activation_compression", "ratio": ratio}])
    assert ("compression", 0, "activation_compression", "ratio") in refusals(body)


class TestCrops:
    def test_a_crop_beyond_the_padded_image_is_refused(self) -> None:
        body = spec(augment=[{"kind": "random_crop", "size": [32, 32], "padding": 4}])
        assert refusals(body) == {("augment", 0, "size"): "larger_than_image"}

    def test_a_crop_that_fills_the_padded_image_is_allowed(self) -> None:
        assert JobSpec.model_validate(spec(augment=[{"kind": "random_crop", "size": [16, 16], "padding": 4}]))

    def test_the_image_is_as_large_as_the_last_size_before_the_crop(self) -> None:
        resize = {"kind": "resize", "size": [40, 40]}
        assert JobSpec.model_validate(spec(augment=[resize, {"kind": "random_crop", "size": [32, 32]}]))
        body = spec(augment=[resize, {"kind": "random_crop", "size": [41, 32]}])
        assert refusals(body) == {("augment", 1, "size"): "larger_than_image"}

    def test_with_scale_the_size_is_the_output_size(self) -> None:
        crop = {"kind": "random_crop", "size": [512, 512], "scale": [0.5, 1.0]}
        assert JobSpec.model_validate(spec(augment=[crop])).image_size == (512, 512)

    @pytest.mark.parametrize(
        ("fields", "where"),
        [
            ({"scale": [0.0, 1.0]}, "scale"),
            ({"scale": [0.8, 0.5]}, "scale"),
            ({"scale": [0.5, 1.5]}, "scale"),
            ({"scale": [0.5, 1.0], "ratio": [2, 1]}, "ratio"),
            ({"ratio": [1, 2]}, "ratio"),
            ({"scale": [0.5, 1.0], "padding": 2}, "padding"),
        ],
    )
    def test_contradictory_fields_are_refused(self, fields: dict[str, Any], where: str) -> None:
        body = spec(augment=[{"kind": "random_crop", "size": [8, 8], **fields}])
        assert set(refusals(body)) == {("augment", 0, "random_crop", where)}


class TestNormalize:
    @pytest.mark.parametrize(
        ("fields", "where"),
        [
            ({"mean": [0.5]}, "std"),
            ({"mean": [0.5], "std": [0.0]}, "std"),
            ({"mean": [0.5, 0.5], "std": [1]}, "std"),
        ],
    )
    def test_mean_and_std_belong_together(self, fields: dict[str, Any], where: str) -> None:
        found = refusals(spec(augment=[{"kind": "normalize", **fields}]))
        assert set(found) == {("augment", 0, "normalize", where)}

    def test_there_is_one_value_for_each_channel_of_the_model(self) -> None:
        body = spec(augment=[{"kind": "normalize", "mean": [0.5, 0.5], "std": [1, 1]}])
        assert refusals(body) == {("augment", 0, "mean"): "length"}


class TestResolved:
    def test_size_normalisation_and_name_are_written_out(self) -> None:
        resolved = JobSpec.model_validate(SMALL).resolved()
        assert [each.kind for each in resolved.augment] == ["resize", "normalize"]
        assert resolved.image_size == (32, 32)
        assert resolved.name == "resnet10t on digits"

    def test_a_folder_of_photographs_becomes_224_by_224(self) -> None:
        body = spec(dataset={"kind": "folder", "path": "/data/flowers/"})
        resolved = JobSpec.model_validate(body).resolved()
        assert resolved.image_size == (224, 224)
        assert resolved.name == "resnet10t on flowers"

    def test_what_the_user_said_stays(self) -> None:
        resolved = JobSpec.model_validate(FULL).resolved()
        assert [each.kind for each in resolved.augment] == [
            "random_crop",
            "random_flip",
            "random_rotate",
            "normalize",
        ]
        assert resolved.name == "digits-resnet"

    @pytest.mark.parametrize("body", JobSpec.examples)
    def test_resolving_twice_changes_nothing_and_survives_storage(self, body: dict[str, Any]) -> None:
        resolved = JobSpec.model_validate(body).resolved()
        assert JobSpec.model_validate_json(resolved.model_dump_json()).resolved() == resolved


@pytest.mark.parametrize("name", ["x" * 201, "line\nbreak", "nul\x00"])
def test_a_name_is_a_short_line_of_text(name: str) -> None:
    assert ("name",) in refusals(spec(name=name))


def test_a_name_may_be_in_any_script() -> None:
    assert JobSpec.model_validate(spec(name="訓練 — αβγ 🚂")).name == "訓練 — αβγ 🚂"


@pytest.mark.parametrize("labels", [{"": "x"}, {"a b": "x"}, {"k" * 64: "x"}, {"k": "v" * 256}, {"k": 1}])
def test_labels_have_plain_keys_and_short_text(labels: dict[str, Any]) -> None:
    assert refusals(spec(labels=labels))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)


@given(field=st.sampled_from(sorted(JobSpec.model_fields)), value=json_values)
def test_any_value_anywhere_is_read_or_refused_but_never_crashes(field: str, value: object) -> None:
    with suppress(ValidationError):
        read = JobSpec.model_validate(spec(**{field: value}))
        assert json.loads(read.model_dump_json())


class TestEvaluation:
    def test_it_is_the_counterpart_of_the_augmentations(self) -> None:
        augment = [
            {"kind": "resize", "size": [48, 48]},
            {"kind": "random_rotate", "degrees": 5},
            {"kind": "random_crop", "size": [40, 40], "padding": 4, "border": "constant"},
            {"kind": "color_jitter", "hue": 0.1},
            {"kind": "random_crop", "size": [32, 32], "scale": [0.5, 1.0]},
        ]
        resolved = JobSpec.model_validate(spec(augment=augment)).resolved()
        assert [each.model_dump() for each in resolved.evaluation] == [
            {"kind": "resize", "size": (48, 48), "fit": "stretch"},
            {"kind": "center_crop", "size": (40, 40), "border": "constant"},
            {"kind": "resize", "size": (32, 32), "fit": "cover"},
        ]

    def test_another_one_may_be_given_of_the_same_size(self) -> None:
        given = [{"kind": "resize", "size": [40, 40]}, {"kind": "center_crop", "size": [32, 32]}]
        resolved = JobSpec.model_validate(spec(evaluation=given)).resolved()
        assert [each.kind for each in resolved.evaluation] == ["resize", "center_crop"]

    def test_another_size_is_refused(self) -> None:
        given = [{"kind": "resize", "size": [40, 40]}]
        assert refusals(spec(evaluation=given)) == {("evaluation",): "other_size"}


@pytest.mark.parametrize(
    ("augment", "code"),
    [
        ([{"kind": "random_erasing"}, {"kind": "random_flip"}], "after_random_erasing"),
        ([{"kind": "random_erasing"}, {"kind": "trivial_augment"}], "after_random_erasing"),
        ([{"kind": "gaussian_blur"}, {"kind": "resize", "size": [32, 32]}], "after_gaussian_blur"),
        ([{"kind": "normalize"}, {"kind": "color_jitter", "hue": 0.1}], "after_normalize"),
        ([{"kind": "normalize"}, {"kind": "mixup"}], "after_normalize"),
        ([{"kind": "mixup"}, {"kind": "random_flip"}], "after_mixup"),
        ([{"kind": "mixup"}, {"kind": "color_jitter", "hue": 0.1}], "after_mixup"),
        ([{"kind": "cutmix"}, {"kind": "resize", "size": [32, 32]}], "after_cutmix"),
        ([{"kind": "cutmix"}, {"kind": "random_erasing"}], "after_cutmix"),
    ],
)
def test_what_would_mean_something_else_at_its_place_is_refused(augment: list[Any], code: str) -> None:
    assert refusals(spec(augment=augment)) == {("augment", 1): code}


def test_a_refusal_says_where_to_move_what_mixes() -> None:
    body = spec(augment=[{"kind": "cutmix"}, {"kind": "mixup"}, {"kind": "random_flip"}, {"kind": "normalize"}])
    with pytest.raises(ValidationError, match="cutmix mixes two final images: move it behind random_flip, just before"):
        JobSpec.model_validate(body)


@pytest.mark.parametrize("kinds", [["mixup"], ["cutmix"], ["mixup", "cutmix"], ["cutmix", "mixup"]])
def test_what_mixes_stands_last_but_for_normalize_and_is_left_out_of_evaluation(kinds: list[str]) -> None:
    augment = [{"kind": "random_crop", "size": [16, 16], "scale": [0.5, 1]}, *({"kind": kind} for kind in kinds)]
    resolved = JobSpec.model_validate(spec(augment=augment)).resolved()
    assert [each.kind for each in resolved.augment] == ["random_crop", *kinds, "normalize"]
    assert [each.kind for each in resolved.evaluation] == ["resize"]
    bare = JobSpec.model_validate(spec(augment=augment[1:])).resolved()
    assert [each.kind for each in bare.augment] == ["resize", *kinds, "normalize"]


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
@pytest.mark.parametrize("fields", [{"alpha": 0}, {"alpha": -1}, {"alpha": 101}, {"probability": 1.1}, {"alpha": "1"}])
def test_what_mixes_has_limits(kind: str, fields: dict[str, Any]) -> None:
    (where,) = fields
    assert set(refusals(spec(augment=[{"kind": kind, **fields}]))) == {("augment", 0, kind, where)}


def test_colours_may_change_anywhere_before_normalize() -> None:
    augment = [{"kind": "color_jitter", "hue": 0.1}, {"kind": "random_flip"}, {"kind": "grayscale"}]
    assert len(JobSpec.model_validate(spec(augment=augment)).augment) == 3


MEMORY, BLOCKS = {"kind": "saved_activations"}, {"kind": "checkpointing"}
TEACHER, INT8 = {"kind": "distillation", "job": "job_1"}, {"kind": "quantization", "mode": "qat"}


@pytest.mark.parametrize(
    ("methods", "refused"),
    [
        ([MEMORY, BLOCKS], {("compression", 1): "excludes_saved_activations"}),
        ([BLOCKS, TEACHER, MEMORY], {("compression", 2): "excludes_checkpointing"}),
        ([TEACHER, MEMORY, TEACHER], {("compression", 2): "twice"}),
        ([MEMORY, {"kind": "saved_activations", "bits": 4}], {("compression", 1): "twice"}),
    ],
)
def test_methods_of_the_loop_that_exclude_one_another_are_refused(
    methods: list[Any], refused: dict[tuple[str | int, ...], str]
) -> None:
    assert refusals(spec(compression=methods)) == refused


@pytest.mark.parametrize("memory", [MEMORY, BLOCKS])
def test_methods_of_the_loop_go_together_with_others_in_any_order(memory: dict[str, Any]) -> None:
    JobSpec.model_validate(spec(compression=[memory, {"kind": "depthwise_separable"}, TEACHER, INT8]))


@pytest.mark.parametrize(
    ("given", "where"),
    [
        ({**MEMORY, "bits": 3}, "bits"),
        ({**TEACHER, "temperature": 0}, "temperature"),
        ({**TEACHER, "weight": 0}, "weight"),
        ({**TEACHER, "weight": 1.1}, "weight"),
        ({**INT8, "start": 1.0}, "start"),
        ({**INT8, "mode": "ptq", "start": 0.5}, "start"),
        ({**INT8, "calibration_images": 1}, "calibration_images"),
    ],
)
def test_methods_of_the_loop_have_limits(given: dict[str, Any], where: str) -> None:
    assert [place[-1] for place in refusals(spec(compression=[given]))] == [where]
