"""Ways to distribute: what is refused and where, and how many processes a job has."""

from typing import Any

import pytest
from pydantic import ValidationError

from app.contract.distributed import Ddp, Mirrored, Single, fewest, fitting, passes
from app.contract.job import JobSpec
from app.contract.work import Paths, RunOrder
from app.errors import InvalidSpec

PRUNING = [{"kind": "channel_pruning", "steps": 2}]


def body(training: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    return {
        "dataset": {"kind": "builtin", "name": "digits"},
        "model": {"kind": "timm", "name": "resnet10t"},
        "distributed": {"kind": "ddp", **options},
        "training": training or {},
    }


def refusals(spec: dict[str, Any]) -> dict[str, str]:
    """Pointers into the body, and codes."""
    with pytest.raises(ValidationError) as caught:
        JobSpec.model_validate(spec)
    return {each.pointer: each.code for each in InvalidSpec.of(caught.value, spec, JobSpec).errors}


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("processes", [0, 65, "all", 2.5, True]),
        ("gradient_accumulation", [0, 1025]),
        ("gradient_compression", ["bf16", None]),
        ("bucket_mb", [0, 1025]),
        ("timeout_s", [4, 86_401]),
        ("sync_batchnorm", ["yes"]),
        ("static_graph", [1]),
        ("zero_optimizer", ["true"]),
    ],
)
def test_each_option_has_its_limits(field: str, values: list[Any]) -> None:
    for value in values:
        assert all(pointer.startswith(f"/distributed/{field}") for pointer in refusals(body(**{field: value}))), value


@pytest.mark.parametrize(
    ("options", "batch_size", "near"),
    [
        ({"processes": 3}, 64, 63),
        ({"processes": 2, "gradient_accumulation": 3}, 64, 60),
        ({"processes": "auto", "gradient_accumulation": 3}, 64, 63),
        ({"processes": 8}, 4, 8),
    ],
)
def test_full_batches_are_divided_equally_among_processes_and_passes(
    options: dict[str, Any], batch_size: int, near: int
) -> None:
    """A batch smaller than the processes among them."""
    wrong = body({"batch_size": batch_size}, **options)
    assert refusals(wrong) == {"/training/batch_size": "not_divisible"}
    with pytest.raises(ValidationError, match=f"for example {near}"):
        JobSpec.model_validate(wrong)
    assert JobSpec.model_validate(body({"batch_size": near}, **options))


@pytest.mark.parametrize(
    ("options", "more", "expected"),
    [
        ({"gradient_compression": "fp16"}, {"training": {"precision": "fp64"}}, "not_with_fp64"),
        ({"gradient_compression": "powersgd"}, {"training": {"precision": "fp64"}}, "not_with_fp64"),
        ({"gradient_compression": "powersgd"}, {"training": {"precision": "fp16"}}, "not_with_fp16"),
        ({"zero_optimizer": True}, {"compression": PRUNING}, "not_with_gradual_pruning"),
    ],
)
def test_options_that_do_not_go_together_are_refused_where_the_way_out_is(
    options: dict[str, Any], more: dict[str, Any], expected: str
) -> None:
    assert refusals(body(**options) | more) == {f"/distributed/{next(iter(options))}": expected}
    assert JobSpec.model_validate(body() | more)


def test_pruning_at_once_goes_with_a_divided_optimizer() -> None:
    once = [{"kind": "channel_pruning"}]
    assert JobSpec.model_validate(body(zero_optimizer=True) | {"compression": once})


@pytest.mark.parametrize(
    ("devices", "batch_size", "passes", "processes"),
    [(1, 64, 1, 1), (4, 64, 1, 4), (3, 64, 1, 2), (8, 64, 16, 4), (5, 35, 1, 5), (4, 35, 1, 1), (100, 65_536, 1, 64)],
)
def test_auto_takes_the_most_devices_that_divide_the_batch(
    devices: int, batch_size: int, passes: int, processes: int
) -> None:
    auto = Ddp(processes="auto", gradient_accumulation=passes)
    assert fitting(auto, devices, batch_size) == processes
    assert fewest(auto) == 1


def test_a_number_of_processes_is_that_number() -> None:
    assert (fewest(Ddp(processes=3)), fitting(Ddp(processes=3), 8, 64)) == (3, 3)
    assert (fewest(Single()), fitting(Single(), 8, 64)) == (1, 1)
    devices = Mirrored(processes=3)
    assert (fewest(devices), fitting(devices, 8, 64), passes(devices)) == (3, 3, 1)


@pytest.mark.parametrize(("asked", "processes"), [("auto", 3), (2, 2)])
def test_a_run_has_a_process_on_each_of_its_devices(asked: Any, processes: int) -> None:
    spec = JobSpec.model_validate(body({"batch_size": 6}, processes=asked))
    assert RunOrder(spec=spec, paths=Paths(run_dir=""), devices=[0, 1, 5]).processes == processes
    assert spec.resolved().distributed.processes == asked
