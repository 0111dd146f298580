"""Jobs side by side, and which of them are Pareto-optimal."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Any, get_args

from sqlalchemy import Row
from sqlalchemy.orm import Session

from app.contract.comparison import ComparedJob, Comparison, ComparisonWarning, Cost
from app.contract.report import Latency, Report
from app.contract.states import JobState
from app.errors import InvalidQuery
from app.store import comparisons
from app.store.types import moment

FEWEST, MOST = 2, 50
SIBLINGS = 200
"""Jobs in the picture of a report: more dots than that are a cloud."""


def compare(session: Session, ids: Sequence[str]) -> Comparison:
    """These jobs, in this order. Raises `InvalidQuery` with a pointer to the first one that cannot be meant."""
    _check(ids)
    rows = comparisons.of_jobs(session, ids)
    for index, job_id in enumerate(ids):
        if job_id not in rows:
            raise InvalidQuery.at(f"/jobs/{index}", "unknown_job", f"There is no job {job_id!r}.")
    found = with_optima([_compared(rows[each]) for each in ids if rows[each].report is not None])
    without = [each for each in ids if rows[each].report is None]
    return Comparison(jobs=found, without_report=without, warnings=list(_warnings(found)))


def siblings(session: Session, row: Row[Any]) -> list[ComparedJob]:
    """The job of this row, which has a report, among the newest that succeeded on the same data."""
    own = _compared(row)
    found = comparisons.newest_on(session, own.dataset_sha256, SIBLINGS) if own.dataset_sha256 else []
    return with_optima([own, *(_compared(each) for each in found if each.id != row.id and each.report is not None)])


def with_optima(jobs: Sequence[ComparedJob]) -> list[ComparedJob]:
    """The same jobs, each with the costs for which nothing beats it."""
    optimal: dict[str, list[Cost]] = {each.job: [] for each in jobs}
    for cost in get_args(Cost):
        for group in _competing(jobs, cost):
            for job in _front(group, cost):
                optimal[job.job].append(cost)
    return [each.model_copy(update={"optimal": optimal[each.job]}) for each in jobs]


def place(job: ComparedJob) -> Hashable:
    """Where latencies were measured: they compare with those of the same place alone.

    The version of ONNX Runtime is no part of it: a job that measured no ONNX file does not say which is there.
    """
    return job.machine.model_dump_json(exclude={"onnxruntime"})


def _check(ids: Sequence[str]) -> None:
    if not FEWEST <= len(ids) <= MOST:
        detail = f"{len(ids)} jobs are named: give {FEWEST} to {MOST}, as `jobs=ID,ID`."
        raise InvalidQuery.at("/jobs", "too_few" if len(ids) < FEWEST else "too_many", detail)
    for index, job_id in enumerate(ids):
        if job_id in ids[:index]:
            raise InvalidQuery.at(f"/jobs/{index}", "repeated", "This job is named twice: name each once.")


def _compared(row: Row[Any]) -> ComparedJob:
    report = Report.model_validate(row.report)
    shipped, fastest = report.after, _fastest(report.after.latency)
    return ComparedJob(
        job=row.id,
        name=row.name,
        state=JobState(row.state),
        created_at=moment(row.created_at),
        dataset_sha256=report.dataset_sha256 or row.dataset_sha256,
        parameters=shipped.parameters,
        macs=shipped.macs,
        file_bytes=shipped.file_bytes,
        p95_s=fastest and fastest.p95_s,
        runtime=fastest and fastest.runtime,
        accuracy=shipped.accuracy,
        accuracy_interval=report.stages[-1].accuracy_interval if report.stages else None,
        machine=report.machine,
        gates_missed=[each.gate for each in report.gates if not each.passed],
    )


def _fastest(latency: Iterable[Latency]) -> Latency | None:
    return min((each for each in latency if each.batch_size == 1), key=lambda each: each.p95_s, default=None)


def _competing(jobs: Sequence[ComparedJob], cost: Cost) -> Iterator[list[ComparedJob]]:
    """Groups of jobs whose figures compare; jobs on unknown data compete with none."""
    groups: dict[Hashable, list[ComparedJob]] = {}
    for job in jobs:
        if job.dataset_sha256 is not None and job.accuracy is not None and getattr(job, cost) is not None:
            where = place(job) if cost == "p95_s" else None
            groups.setdefault((job.dataset_sha256, where), []).append(job)
    yield from groups.values()


def _front(jobs: Sequence[ComparedJob], cost: Cost) -> Iterator[ComparedJob]:
    """Those that no other beats. Of equals, all: each is as good as the other."""
    by_cost: dict[float, list[ComparedJob]] = {}
    for job in jobs:
        by_cost.setdefault(getattr(job, cost), []).append(job)
    best = -1.0
    for value in sorted(by_cost):
        here = max(_accuracy(job) for job in by_cost[value])
        if here > best:
            yield from (job for job in by_cost[value] if _accuracy(job) == here)
            best = here


def _accuracy(job: ComparedJob) -> float:
    return job.accuracy or 0.0


def _warnings(jobs: Sequence[ComparedJob]) -> Iterator[ComparisonWarning]:
    unknown = [each.job for each in jobs if each.dataset_sha256 is None]
    if unknown:
        message = "On what these jobs were trained is not known: their accuracies may not compare."
        yield ComparisonWarning(code="unknown_data", message=message, jobs=unknown)
    known = [each for each in jobs if each.dataset_sha256 is not None]
    if others := _others(known, lambda each: each.dataset_sha256):
        message = "These jobs were trained on other data than the first: their accuracies do not compare."
        yield ComparisonWarning(code="other_data", message=message, jobs=others)
    if others := _others(jobs, place):
        message = "These jobs were measured on another machine than the first: their latencies do not compare."
        yield ComparisonWarning(code="other_machine", message=message, jobs=others)


def _others(jobs: Sequence[ComparedJob], what: Callable[[ComparedJob], Hashable]) -> list[str]:
    return [each.job for each in jobs if what(each) != what(jobs[0])]
