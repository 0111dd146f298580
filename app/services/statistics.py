"""What an operator watches: the jobs, the queue and the workers, in numbers."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.contract.states import JobState
from app.services import workers
from app.store import statistics


@dataclass(frozen=True)
class Statistics:
    """Numbers of one moment."""

    jobs_by_state: dict[JobState, int]
    oldest_queued_s: float
    workers_alive: int

    @property
    def queue_depth(self) -> int:
        """Jobs that wait for a worker."""
        return self.jobs_by_state[JobState.QUEUED]


def take(session: Session) -> Statistics:
    """The numbers of now."""
    alive = [worker for worker in workers.list_workers(session).items if worker.state == "alive"]
    return Statistics(statistics.jobs_by_state(session), statistics.oldest_queued_s(session), len(alive))
