"""Jobs side by side: what their models cost, and which of them nothing beats."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from app.contract.report import Machine
from app.contract.states import JobState
from app.contract.views import View

Cost = Literal["file_bytes", "p95_s", "macs"]


class ComparedJob(View):
    """What a job ships, as its report has it."""

    job: str
    name: str
    state: JobState
    created_at: datetime
    dataset_sha256: str | None
    parameters: int
    macs: int
    file_bytes: int
    p95_s: float | None = Field(description="Latency of one image, in the fastest runtime that was measured.")
    runtime: str | None
    accuracy: float | None
    accuracy_interval: tuple[float, float] | None = Field(description="95 %, where the report has it.")
    machine: Machine
    gates_missed: list[str] = Field([], description="Of the gates that its spec sets.")
    optimal: list[Cost] = Field(
        [],
        description="The costs for which no other of these jobs is as accurate for less, or more accurate for as much. "
        "Only jobs on the same data compete; for `p95_s`, only those that were measured on the same machine.",
    )


class ComparisonWarning(View):
    """Why some of the figures do not compare."""

    code: Literal["other_data", "unknown_data", "other_machine"]
    message: str
    jobs: list[str] = Field(description="Those that stand apart from the first one that was named.")


class Comparison(View):
    """The numbers of a Pareto picture, in the order in which the jobs were named."""

    jobs: list[ComparedJob]
    without_report: list[str] = Field(description="Jobs of which nothing was measured (yet).")
    warnings: list[ComparisonWarning]
