"""Gates as they are judged: a pure function of the report."""

from typing import Any

import pytest

from app.contract.failures import FailureCode
from app.contract.gates import Gates
from app.contract.job import JobSpec
from app.contract.report import Latency, Measurement, Report
from tests.support.service import REPORT, SPEC
from worker.training import gates


def latency(p95_s: float, runtime: Any = "torch", batch_size: int = 1) -> Latency:
    return Latency(batch_size=batch_size, p50_s=p95_s / 2, p95_s=p95_s, runs=30, runtime=runtime)


def measured(parameters: int = 100, accuracy: float | None = 0.9, p95_s: float = 0.01) -> Measurement:
    times = [latency(p95_s), latency(p95_s * 100, batch_size=32)]
    return Measurement(
        parameters=parameters, macs=parameters, file_bytes=parameters * 4, latency=times, accuracy=accuracy
    )


def report(**parts: Any) -> Report:
    return REPORT.model_copy(update={"before": measured(1000, 0.98), "after": measured(), **parts})


def judged(found: Report, baseline: str = "train", **limits: Any) -> dict[str, Any]:
    named = {"kind": baseline} | ({"job": "job_1"} if baseline == "job" else {})
    spec = JobSpec.model_validate(SPEC | {"gates": limits, "baseline": named})
    return {each.gate: (each.found, each.passed, each.missed_by) for each in gates.judged(found, spec)}


def test_every_gate_of_the_contract_is_judged() -> None:
    assert set(gates._FIGURES) == set(Gates.model_fields)
    found = judged(report(), **dict.fromkeys(Gates.model_fields, 1))
    assert list(found) == list(Gates.model_fields)


@pytest.mark.parametrize(
    ("gate", "within", "beyond", "found", "over"),
    [
        ("max_accuracy_drop", 0.08, 0.05, 0.08, 0.03),
        ("min_accuracy", 0.9, 0.95, 0.9, 0.05),
        ("max_parameters", 100, 99, 100, 1),
        ("min_parameter_ratio", 10, 12.5, 10, 2.5),
        ("max_bytes", 400, 399, 400, 1),
        ("max_p95_latency_ratio", 1, 0.75, 1, 0.25),
    ],
)
def test_a_limit_that_is_reached_is_kept_and_one_that_is_passed_is_missed_by_the_rest(
    gate: str, within: float, beyond: float, found: float, over: float
) -> None:
    assert judged(report(), **{gate: within}) == {gate: (pytest.approx(found), True, None)}
    assert judged(report(), **{gate: beyond}) == {gate: (pytest.approx(found), False, pytest.approx(over))}


def test_what_floats_round_away_is_no_missed_gate() -> None:
    found = report(before=measured(accuracy=0.98), after=measured(accuracy=0.96))
    assert found.before.accuracy - found.after.accuracy > 0.02  # type: ignore[operator]
    assert judged(found, max_accuracy_drop=0.02)["max_accuracy_drop"][1]


def test_what_was_not_measured_is_missed() -> None:
    found = report(after=Measurement(parameters=1, macs=1, file_bytes=1, latency=[]))
    limits = {"max_accuracy_drop": 1, "min_accuracy": 0.1, "max_p95_latency_ratio": 1000}
    assert judged(found, **limits) == dict.fromkeys(limits, (None, False, None))


def timed(*times: Latency) -> Measurement:
    return measured().model_copy(update={"latency": list(times)})


def test_latencies_are_compared_in_one_runtime_and_the_worst_counts() -> None:
    first = timed(latency(0.01), latency(0.02, "onnxruntime"))
    int8 = report(before=first, after=timed(latency(0.03, "onnxruntime")))
    assert judged(int8, max_p95_latency_ratio=2)["max_p95_latency_ratio"] == (1.5, True, None)
    both = report(before=first, after=timed(latency(0.04), latency(0.02, "onnxruntime")))
    assert judged(both, max_p95_latency_ratio=2)["max_p95_latency_ratio"][:2] == (4, False)


def test_runtimes_that_have_nothing_in_common_do_not_compare() -> None:
    found = report(before=timed(latency(0.01)), after=timed(latency(0.03, "onnxruntime")))
    assert judged(found, "job", max_p95_latency_ratio=9)["max_p95_latency_ratio"] == (None, False, None)


def test_the_failure_names_each_missed_gate_and_by_how_much() -> None:
    spec = JobSpec.model_validate(SPEC | {"gates": {"max_parameters": 1, "min_accuracy": 0.99, "max_bytes": 10**6}})
    found = report()
    missed = gates.missed(found.model_copy(update={"gates": gates.judged(found, spec)}))
    assert missed is not None
    assert missed.code is FailureCode.GATE_MISSED
    assert missed.message == (
        "2 of 3 gates missed: min_accuracy: 0.9 instead of at least 0.99, missed by 0.09; "
        "max_parameters: 100 instead of at most 1, missed by 99."
    )
    assert gates.missed(found) is None
