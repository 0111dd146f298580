"""Answers about jobs, kept as the bytes that went out, for as long as the job's version stays what it was.

A job that is polled is read far more often than it changes: finding its version costs 10 µs, making the answer 400.
"""

from collections import OrderedDict
from collections.abc import Mapping
from threading import Lock

from starlette.requests import Request
from starlette.responses import Response

from app.contract.states import JobState
from app.contract.views import Job
from app.routes.answers import answered
from app.routes.conditions import etag, is_unchanged
from app.routes.inputs import parts_of
from app.routes.job_answers import not_modified, state_headers

MOST_JOBS = 1024
MOST_BYTES = 16_384
"""Of one answer: an ordinary one has 2 kB, and all together stay below 16 MiB."""


class RenderedJobs:
    """The last answer of each of the jobs that were asked for last. Thread-safe; one instance an app."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._answers: OrderedDict[str, tuple[int, bytes, dict[str, str]]] = OrderedDict()

    def find(self, job_id: str, version: int) -> Response | None:
        """The answer for the job at this version, if it is kept."""
        with self._lock:
            kept = self._answers.get(job_id)
            if kept is None or kept[0] != version:
                return None
            self._answers.move_to_end(job_id)
        return Response(kept[1], headers=kept[2], media_type="application/json")

    def render(self, job: Job, headers: Mapping[str, str]) -> Response:
        """The answer for this job. Why a queued one waits changes without its version, so that is not kept."""
        own = state_headers(job)
        answer = answered(job, headers={**own, **headers})
        if job.state != JobState.QUEUED and len(answer.body) <= MOST_BYTES:
            self._keep(job.id, (job.version, bytes(answer.body), own))
        return answer

    def _keep(self, job_id: str, answer: tuple[int, bytes, dict[str, str]]) -> None:
        with self._lock:
            self._answers[job_id] = answer
            self._answers.move_to_end(job_id)
            if len(self._answers) > MOST_JOBS:
                self._answers.popitem(last=False)


def kept_answer(request: Request) -> Response | None:
    """For whoever asks for a job that has not changed since it was last answered, or since he last asked."""
    job_id, headers, parts = request.path_params["job"], request.headers, parts_of(request)
    standing = None if "prefer" in headers else parts.database.glances.standing(job_id)
    if standing is None:
        return None
    if is_unchanged(headers.get("if-none-match"), etag(standing[0])):
        return not_modified(*standing)
    return parts.rendered.find(job_id, standing[0])
