"""Eight workers who claim at once, at two replicas: each job is given once, and in the queue's order."""

import time
from collections import Counter

import pytest
from sqlalchemy import select

from app.store.tables import jobs, workers

WORKERS = 8


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "count", [40, pytest.param(1000, marks=pytest.mark.slow)]
)  # fmt: skip
def test_each_job_is_given_once_and_none_before_one_that_comes_first(replicas, in_threads, service, database, count):
    made = [service.submit(priority=number % 3).id for number in range(count)]
    with replicas(2) as yard:

        def work(name):
            given = []
            while True:
                begun = time.monotonic()
                found = yard.claim(name, slots=count)
                if found is None:
                    return given
                given.append((found["job"], begun, time.monotonic()))

        found = in_threads(*(lambda number=number: work(f"w{number}") for number in range(WORKERS)))
    claims = [each for given in found for each in given]
    assert Counter(job for job, _, _ in claims) == dict.fromkeys(made, 1)
    assert _out_of_order(database, claims) == []
    with database.read() as session:
        assert len(session.execute(select(workers)).all()) == WORKERS


def _out_of_order(database, claims):
    """Pairs in which a job was asked for only after one that stands behind it had been given away.

    Claims that overlap in time may end in any order; for all others the queue's order is the order in which jobs leave.
    """
    with database.read() as session:
        queue = session.execute(select(jobs.c.id).order_by(jobs.c.rank, jobs.c.created_at, jobs.c.id)).scalars().all()
    asked = {job: begun for job, begun, _ in claims}
    given = {job: ended for job, _, ended in claims}
    wrong, first_given = [], (float("inf"), "")
    for job in reversed(queue):  # those behind are seen before those in front
        if asked[job] > first_given[0]:
            wrong.append((job, first_given[1]))
        first_given = min(first_given, (given[job], job))
    return wrong
