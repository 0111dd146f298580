"""Answers about jobs, kept as the bytes that went out, for as long as the job's version stays what it was.

A job that is polled is read far more often than it changes: finding its version costs 10 µs, making the answer 400.
A page of the list is made of the same bytes.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Lock

import orjson
from starlette.requests import Request
from starlette.responses import Response

from app.contract.states import JobState
from app.contract.views import Job
from app.routes.conditions import etag, is_unchanged
from app.routes.inputs import parts_of
from app.routes.job_answers import not_modified, state_headers
from app.services.listing import Found

MOST_JOBS = 1024
MOST_BYTES = 16_384
"""Of one answer: an ordinary one has 2 kB, and all together stay below 16 MiB."""


@dataclass(frozen=True, slots=True)
class _Kept:
    version: int
    body: bytes
    headers: dict[str, str]


class RenderedJobs:
    """The last answer of each of the jobs that were asked for last. Thread-safe; one instance an app."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._answers: OrderedDict[str, _Kept] = OrderedDict()

    def find(self, job_id: str, version: int) -> Response | None:
        """The answer for the job at this version, if it is kept."""
        kept = self._kept(job_id, version)
        return None if kept is None else Response(kept.body, headers=kept.headers, media_type="application/json")

    def render(self, job: Job, headers: Mapping[str, str]) -> Response:
        """The answer for this job. Why a queued one waits changes without its version, so that is not kept."""
        kept = self._rendered(job)
        return Response(kept.body, headers={**kept.headers, **headers}, media_type="application/json")

    def render_page(self, found: Found, read: Callable[[list[str]], dict[str, Job]]) -> bytes:
        """A `JobPage`. Only what is not kept is read."""
        kept = {job_id: self._kept(job_id, version) for job_id, version in found.versions.items()}
        fresh = read([job_id for job_id, each in kept.items() if each is None])
        shown = {**kept, **{job_id: self._rendered(job) for job_id, job in fresh.items()}}
        # one that was deleted between the two statements is left out
        items = b",".join(each.body for each in shown.values() if each is not None)
        return b'{"items":[%s],"next_cursor":%s}' % (items, orjson.dumps(found.next_cursor))

    def _kept(self, job_id: str, version: int) -> "_Kept | None":
        with self._lock:
            kept = self._answers.get(job_id)
            if kept is None or kept.version != version:
                return None
            self._answers.move_to_end(job_id)
            return kept

    def _rendered(self, job: Job) -> "_Kept":
        made = _Kept(job.version, job.model_dump_json().encode(), state_headers(job))
        if job.state != JobState.QUEUED and len(made.body) <= MOST_BYTES:
            with self._lock:
                self._answers[job.id] = made
                self._answers.move_to_end(job.id)
                if len(self._answers) > MOST_JOBS:
                    self._answers.popitem(last=False)
        return made


def kept_answer(request: Request) -> Response | None:
    """For whoever asks for a job that has not changed since it was last answered, or since he last asked."""
    job_id, headers, parts = request.path_params["job"], request.headers, parts_of(request)
    standing = None if "prefer" in headers else parts.database.glances.standing(job_id)
    if standing is None:
        return None
    if is_unchanged(headers.get("if-none-match"), etag(standing[0])):
        return not_modified(*standing)
    return parts.rendered.find(job_id, standing[0])
