"""The gates of a spec, judged by the report: what was measured beside what was asked for."""

from collections.abc import Callable, Iterable

from app.contract.failures import Failure, FailureCode, failure
from app.contract.job import JobSpec
from app.contract.report import GateResult, Latency, Report

Figure = int | float
SLACK = 1e-9
"""Of a limit, for shares and ratios: 0.98 - 0.96 is 2e-17 more than 0.02, and is not a missed gate."""


def judged(report: Report, spec: JobSpec) -> list[GateResult]:
    """One result for each gate that the spec sets. What could not be measured is missed, not passed over."""
    return [_result(name, limit, _FIGURES[name](report)) for name, limit in spec.gates.limits()]


def missed(report: Report) -> Failure | None:
    """The failure of a run whose report has missed gates; it says which, and by how much."""
    wrong = [each for each in report.gates if not each.passed]
    if not wrong:
        return None
    told = "; ".join(_told(each) for each in wrong)
    return failure(FailureCode.GATE_MISSED, f"{len(wrong)} of {len(report.gates)} gates missed: {told}.")


def _result(name: str, limit: Figure, found: Figure | None) -> GateResult:
    over = None if found is None else (limit - found if name.startswith("min_") else found - limit)
    passed = over is not None and over <= SLACK * limit
    return GateResult(gate=name, limit=limit, found=found, passed=passed, missed_by=None if passed else over)


def _told(result: GateResult) -> str:
    if result.found is None:
        return f"{result.gate} could not be measured"
    bound = "at least" if result.gate.startswith("min_") else "at most"
    found, limit, over = (_shown(each) for each in (result.found, result.limit, result.missed_by or 0))
    return f"{result.gate}: {found} instead of {bound} {limit}, missed by {over}"


def _shown(figure: Figure) -> str:
    return f"{figure:,}" if isinstance(figure, int) else f"{figure:.4g}"


def _accuracy_drop(report: Report) -> float | None:
    before, after = report.before.accuracy, report.after.accuracy
    return None if before is None or after is None else before - after


def _parameter_ratio(report: Report) -> float | None:
    after = report.after.parameters
    return report.before.parameters / after if after else None


def _latency_ratio(report: Report) -> float | None:
    """The worst of the runtimes in which both ran at batch size 1."""
    before, after = _single(report.before.latency), _single(report.after.latency)
    return max((after[each] / before[each] for each in after if before.get(each)), default=None)


def _single(latency: Iterable[Latency]) -> dict[str, float]:
    """p95 of one image, by runtime."""
    return {each.runtime: each.p95_s for each in latency if each.batch_size == 1}


_FIGURES: dict[str, Callable[[Report], Figure | None]] = {
    "max_accuracy_drop": _accuracy_drop,
    "min_accuracy": lambda report: report.after.accuracy,
    "max_parameters": lambda report: report.after.parameters,
    "min_parameter_ratio": _parameter_ratio,
    "max_bytes": lambda report: report.after.file_bytes,
    "max_p95_latency_ratio": _latency_ratio,
}
"""What each gate is held against. A test holds it equal to the contract."""
