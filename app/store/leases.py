"""Who may write about a job: guard G."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, bindparam

from app.contract.states import ACTIVE
from app.identifiers import digest
from app.store.tables import jobs


@dataclass(frozen=True)
class Lease:
    """A worker's claim on an attempt, as it proves it."""

    job_id: str
    attempt: int
    token_hash: str

    @classmethod
    def of(cls, job_id: str, attempt: int, token: str) -> "Lease":
        """The claim that `token` proves."""
        return cls(job_id, attempt, digest(token))


def held_by(lease: Lease) -> ColumnElement[bool]:
    """Guard G: job, attempt and token match, and the job is active. No row: the worker is fenced.

    The lease's end is not part of it: a late heartbeat of a worker that nobody has replaced yet is welcome.
    """
    return and_(
        jobs.c.id == lease.job_id,
        jobs.c.attempt == lease.attempt,
        jobs.c.token_hash == lease.token_hash,
        jobs.c.state.in_(ACTIVE),
    )


def guard_values(lease: Lease) -> dict[str, Any]:
    """What `GUARD` is executed with."""
    return {"of_job": lease.job_id, "of_attempt": lease.attempt, "of_token": lease.token_hash}


# the same as a condition that is made once: a run's reports come many times a second
_NAMES: Any = [bindparam(name) for name in ("of_job", "of_attempt", "of_token")]
GUARD = held_by(Lease(*_NAMES))
