"""Ways to distribute: what is refused and where, and how many processes a job has."""

from math import lcm
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.contract.distributed import (
    Ddp,
    Fsdp,
    Mirrored,
    Single,
    distributed_problems,
    fewest,
    fitting,
    is_elastic,
    passes,
    synchronises,
)
from app.contract.job import JobSpec
from app.contract.training import Training
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


def sharded(training: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    return body(training, **options) | {"distributed": {"kind": "fsdp", **options}}


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("processes", [0, 65, "all"]),
        ("min_processes", [0, 65, "auto"]),
        ("gradient_accumulation", [0, 1025]),
        ("timeout_s", [4, 86_401]),
        ("sync_batchnorm", [1]),
        ("reshard_after_forward", ["true", 2]),
        ("zero_optimizer", [True]),
    ],
)
def test_each_option_of_fsdp_has_its_limits(field: str, values: list[Any]) -> None:
    for value in values:
        found = refusals(sharded(**{field: value}))
        assert all(pointer.startswith(f"/distributed/{field}") for pointer in found), value


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"compression": PRUNING}, {"/distributed/kind": "not_with_gradual_pruning"}),
        ({"training": {"compile": True}}, {"/training/compile": "not_with_fsdp"}),
        ({"training": {"batch_size": 65}}, {"/training/batch_size": "not_divisible"}),
    ],
)
def test_what_fsdp_cannot_do_is_refused(more: dict[str, Any], expected: dict[str, str]) -> None:
    assert refusals(sharded() | more) == expected
    once = {"compression": [{"kind": "channel_pruning"}], "training": {"compile": "auto", "batch_size": 64}}
    assert JobSpec.model_validate(sharded() | once)


def test_fsdp_takes_devices_and_passes_as_ddp_does() -> None:
    auto = Fsdp(processes="auto", gradient_accumulation=2)
    assert (fewest(auto), fitting(auto, 8, 64), fitting(auto, 3, 64), passes(auto)) == (1, 8, 2, 2)
    assert [synchronises(each) for each in (Single(), auto, Fsdp(sync_batchnorm=True))] == [False, False, True]


def test_fsdp_is_elastic_as_ddp_is() -> None:
    elastic = Fsdp(processes=4, min_processes=2)
    assert is_elastic(elastic)
    assert not is_elastic(Fsdp())
    assert [fitting(elastic, devices, 64) for devices in (2, 3, 4, 9)] == [2, 2, 4, 4]
    assert refusals(sharded(processes=2, min_processes=4)) == {"/distributed/min_processes": "too_many"}


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


@given(
    most=st.integers(1, 16) | st.none(),
    share=st.integers(1, 16) | st.none(),
    passes=st.integers(1, 4),
    times=st.integers(1, 9),
    more_devices=st.integers(0, 70),
)
def test_an_attempt_has_the_most_processes_that_its_spec_its_devices_and_the_batch_allow(
    most: int | None, share: int | None, passes: int, times: int, more_devices: int
) -> None:
    least = None if share is None else min(share, most or share)
    asked = Ddp(processes=most or "auto", min_processes=least, gradient_accumulation=passes)
    batch_size = lcm(most or 1, least or 1) * passes * times
    assert not list(distributed_problems(asked, Training(batch_size=batch_size), ()))
    lowest = least or most or 1
    devices = lowest + more_devices
    counts = range(lowest, min(most or 64, devices) + 1)
    assert fewest(asked) == lowest
    assert fitting(asked, devices, batch_size) == max(n for n in counts if batch_size % (n * passes) == 0)


def test_an_elastic_job_needs_no_more_than_its_least() -> None:
    elastic = Ddp(processes=4, min_processes=2)
    assert fewest(elastic) == 2
    assert [fitting(elastic, devices, 64) for devices in (2, 3, 4, 9)] == [2, 2, 4, 4]


def test_a_least_beyond_the_most_and_one_that_does_not_divide_the_batch_are_refused() -> None:
    with pytest.raises(ValidationError, match="set it to 2 at most") as caught:
        JobSpec.model_validate(body(processes=2, min_processes=4))
    assert caught.value.errors()[0]["loc"] == ("distributed", "min_processes")
    with pytest.raises(ValidationError, match="among 3 processes: use a multiple of 3"):
        JobSpec.model_validate(body({"batch_size": 64}, processes=4, min_processes=3))
    with pytest.raises(ValidationError, match="among 6 processes: use a multiple of 6"):
        JobSpec.model_validate(body({"batch_size": 64}, processes=6, min_processes=1))


@pytest.mark.parametrize(("asked", "least", "processes"), [("auto", None, 3), (2, None, 2), (6, 1, 3), (6, 6, 6)])
def test_a_run_has_a_process_on_each_of_its_devices(asked: Any, least: int | None, processes: int) -> None:
    spec = JobSpec.model_validate(body({"batch_size": 6}, processes=asked, min_processes=least))
    assert RunOrder(spec=spec, paths=Paths(run_dir=""), devices=[0, 1, 5]).processes == processes
    assert spec.resolved().distributed.processes == asked
