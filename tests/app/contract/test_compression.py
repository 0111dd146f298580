"""Methods of compression: what their own fields and their places in the list allow."""

from typing import Any, Literal

import pytest
from pydantic import ValidationError

from app.contract.compression import DepthwiseSeparable
from app.contract.compression.conflicts import RULES, conflict_problems
from app.contract.job import JobSpec
from app.contract.spec import Spec

TIMM = {"kind": "timm", "name": "resnet10t"}
TRAINED = {"kind": "checkpoint", "job": "job_0123"}
SVD = {"kind": "depthwise_separable", "init": "svd"}
RANDOM = {"kind": "depthwise_separable"}
ENERGY = {"kind": "low_rank", "energy": 0.9}


def body(*methods: dict[str, Any], model: dict[str, Any] = TRAINED) -> dict[str, Any]:
    return {"dataset": {"kind": "builtin", "name": "digits"}, "model": model, "compression": list(methods)}


def refusals(*methods: dict[str, Any], model: dict[str, Any] = TRAINED) -> dict[tuple[str | int, ...], str]:
    with pytest.raises(ValidationError) as caught:
        JobSpec.model_validate(body(*methods, model=model))
    return {error["loc"]: error["type"] for error in caught.value.errors()}


def test_nothing_stands_between_the_halves_of_a_trained_layer() -> None:
    assert DepthwiseSeparable().activation == "relu"
    assert DepthwiseSeparable(init="svd").activation == "none"
    assert DepthwiseSeparable(init="svd", activation="none").activation == "none"
    where = ("compression", 0, "depthwise_separable", "activation")
    assert refusals({**SVD, "activation": "relu"}) == {where: "excludes_svd"}


def test_a_resolved_spec_with_svd_is_read_again_as_it_is() -> None:
    resolved = JobSpec.model_validate(body(SVD)).resolved()
    assert JobSpec.model_validate_json(resolved.model_dump_json()) == resolved


@pytest.mark.parametrize(
    ("fields", "where"),
    [({}, "energy"), ({"energy": 0.9, "rank": 4}, "rank"), ({"energy": 0}, "energy"), ({"energy": 1.01}, "energy")],
)
def test_low_rank_is_told_how_far_to_go_once(fields: dict[str, Any], where: str) -> None:
    assert set(refusals({"kind": "low_rank", **fields})) == {("compression", 0, "low_rank", where)}


@pytest.mark.parametrize(("method", "field"), [(SVD, "init"), (ENERGY, "energy")])
def test_what_reads_trained_weights_needs_some(method: dict[str, Any], field: str) -> None:
    pretrained = {**TIMM, "pretrained": True}
    assert JobSpec.model_validate(body(method, model=pretrained)).compression
    assert refusals(method, model=TIMM) == {("compression", 0, field): "needs_trained_weights"}
    assert refusals(RANDOM, method) == {("compression", 1, field): "after_random_weights"}


def test_what_composes_is_not_refused() -> None:
    rank = {"kind": "low_rank", "rank": 8}
    narrow = {"kind": "activation_compression"}
    for methods in (
        [RANDOM, rank, narrow],
        [ENERGY, RANDOM, narrow],
        [SVD, ENERGY, narrow, narrow],
        [{**SVD, "exclude": ["layer1.*"]}, RANDOM, {**RANDOM, "include_stem": True}],
    ):
        assert len(JobSpec.model_validate(body(*methods)).compression) == len(methods)


def of_kind(kind: str) -> Spec:
    class OfKind(Spec):
        kind: Literal["any"] = "any"

    return OfKind.model_construct(kind=kind)


@pytest.mark.parametrize(
    ("kinds", "index", "code"),
    [
        (["distillation", "low_rank", "distillation"], 2, "twice"),
        (["quantization", "quantization"], 1, "twice"),
        (["saved_activations", "saved_activations"], 1, "twice"),
        (["quantization", "distillation"], 1, "after_quantization"),
        (["saved_activations", "low_rank", "checkpointing"], 2, "excludes_saved_activations"),
        (["checkpointing", "saved_activations"], 1, "excludes_checkpointing"),
    ],
)
def test_methods_that_cannot_stand_so_are_refused_at_the_later_one(kinds: list[str], index: int, code: str) -> None:
    found = list(conflict_problems([of_kind(kind) for kind in kinds]))
    assert [(problem.path, problem.code) for problem in found] == [(("compression", index), code)]
    assert kinds[index] in found[0].detail
    assert ":" in found[0].detail, "the way out"


def test_a_list_without_conflicts_has_none() -> None:
    kinds = ["saved_activations", "low_rank", "low_rank", "distillation", "channel_pruning", "quantization"]
    assert not list(conflict_problems([of_kind(kind) for kind in kinds]))
    assert RULES
