"""Answers about jobs, kept as the bytes that went out, for as long as the job's version stays what it was.

A job that is polled is read far more often than it changes: finding its version costs 10 µs, making the answer 400.
A page of the list is made of the same bytes. Why a queued job waits changes without its version: it is put in between.
"""

from collections import OrderedDict
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from threading import Lock

import orjson
from starlette.requests import Request
from starlette.responses import Response

from app.contract.states import JobState
from app.contract.views import Job, Pending
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
    start: bytes  # up to why it waits
    end: bytes
    headers: dict[str, str]
    is_queued: bool

    def body(self, waits: Pending | None) -> bytes:
        """The job as JSON."""
        return self.start + (waits.model_dump_json().encode() if waits else b"null") + self.end


class RenderedJobs:
    """The last answer of each of the jobs that were asked for last. Thread-safe; one instance an app."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._answers: OrderedDict[str, _Kept] = OrderedDict()

    def find(self, job_id: str, version: int) -> Response | None:
        """The answer for the job at this version, if it is kept."""
        kept = self._kept(job_id, version)
        if kept is None or kept.is_queued:
            return None
        return Response(kept.body(None), headers=kept.headers, media_type="application/json")

    def render(self, job: Job, headers: Mapping[str, str]) -> Response:
        """The answer for this job."""
        kept = self._rendered(job)
        body = kept.body(job.pending)
        return Response(body, headers={**kept.headers, **headers}, media_type="application/json")

    def render_page(
        self, found: Found, read: Callable[[Container[str]], tuple[dict[str, Job], dict[str, Pending]]]
    ) -> bytes:
        """A `JobPage`. What is kept is not read again, but for why it waits."""
        looked = {job_id: self._kept(job_id, row.version) for job_id, row in found.standings.items()}
        kept = {job_id: each for job_id, each in looked.items() if each is not None}
        fresh, waiting = read(kept.keys())
        kept |= {job_id: self._rendered(job) for job_id, job in fresh.items()}
        # one that was deleted between the two statements is left out
        items = b",".join(kept[each].body(waiting.get(each)) for each in found.standings if each in kept)
        return b'{"items":[%s],"next_cursor":%s}' % (items, orjson.dumps(found.next_cursor))

    def _kept(self, job_id: str, version: int) -> "_Kept | None":
        with self._lock:
            kept = self._answers.get(job_id)
            if kept is None or kept.version != version:
                return None
            self._answers.move_to_end(job_id)
            return kept

    def _rendered(self, job: Job) -> "_Kept":
        start = job.model_dump_json(include=_BEFORE).removesuffix("}") + ',"pending":'
        end = "," + job.model_dump_json(include=_BEHIND).removeprefix("{")
        is_queued = job.state == JobState.QUEUED
        made = _Kept(job.version, start.encode(), end.encode(), state_headers(job), is_queued)
        if len(made.start) + len(made.end) <= MOST_BYTES:
            with self._lock:
                self._answers[job.id] = made
                self._answers.move_to_end(job.id)
                if len(self._answers) > MOST_JOBS:
                    self._answers.popitem(last=False)
        return made


_NAMES = list(Job.model_fields)
_BEFORE, _BEHIND = set(_NAMES[: _NAMES.index("pending")]), set(_NAMES[_NAMES.index("pending") + 1 :])


def kept_answer(request: Request) -> Response | None:
    """For whoever asks for a job that has not changed since it was last answered, or since he last asked."""
    job_id, headers, parts = request.path_params["job"], request.headers, parts_of(request)
    standing = None if "prefer" in headers else parts.database.glances.standing(job_id)
    if standing is None:
        return None
    if is_unchanged(headers.get("if-none-match"), etag(standing[0])):
        return not_modified(*standing)
    return parts.rendered.find(job_id, standing[0])
