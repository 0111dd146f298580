"""Pages of jobs: every job once, in order, by any filter; and always by walking an index."""

from datetime import UTC, datetime
from itertools import product

import pytest
from sqlalchemy import Integer, cast, func, insert, select, text, update

from app.contract.states import JobState
from app.errors import InvalidQuery
from app.services.listing import list_jobs
from app.store import listing
from app.store.listing import JobFilters
from app.store.tables import job_labels, jobs

STATES = (JobState.QUEUED, JobState.CANCELLED)


def moment(seconds):
    return datetime.fromtimestamp(seconds, UTC)


@pytest.fixture
def many(service, database):
    """60 jobs, some of the same moment, in two states, with two names and two labels."""
    model = service.submit()
    with database.write() as session:
        row = dict(session.execute(select(jobs)).one()._mapping)
        session.execute(jobs.delete())
        made = [_job(row, n) for n in range(60)]
        session.execute(insert(jobs), made)
        session.execute(insert(job_labels), [_label(each, key) for each in made for key in each["labels"]])
    assert model
    return made


def _job(row, n):
    state = STATES[n % 3 == 0]
    finished = 1.0 if state == JobState.CANCELLED else None
    labels = {"team": "vision" if n % 2 else "audio"} | ({"rare": "yes"} if n % 10 == 0 else {})
    name = "a" if n % 4 else "b"
    age = 1000.0 + n // 2
    return row | {
        "id": f"job_{n:03}", "state": state, "finished_at": finished, "labels": labels, "name": name, "created_at": age,
    }  # fmt: skip


def _label(job, key):
    same = {"state": job["state"], "created_at": job["created_at"]}
    return {"job_id": job["id"], "key": key, "value": job["labels"][key], **same}


FILTERS = [
    JobFilters(states=states, labels=labels, name=name, created_after=after, created_before=before)
    for states, labels, name, (after, before) in product(
        [(), (JobState.QUEUED,), STATES],
        [{}, {"team": "vision"}, {"rare": "yes", "team": "audio"}],
        [None, "a"],
        [(None, None), (moment(1005), moment(1020))],
    )
]


def _matches(job, filters):
    return (
        (not filters.states or job["state"] in filters.states)
        and filters.labels.items() <= job["labels"].items()
        and filters.name in (None, job["name"])
        and (filters.created_after is None or job["created_at"] > filters.created_after.timestamp())
        and (filters.created_before is None or job["created_at"] < filters.created_before.timestamp())
    )


def _all_pages(database, filters, order, limit):
    ids, cursor = [], None
    while True:
        with database.read() as session:
            page = list_jobs(session, filters, order, limit, cursor)
        ids += [job.id for job in page.items]
        cursor = page.next_cursor
        if cursor is None:
            return ids


@pytest.mark.parametrize("order", ["created_at", "-created_at"])
def test_pages_give_every_matching_job_once_and_in_order(database, many, order):
    for filters in FILTERS:
        expected = sorted(
            (job for job in many if _matches(job, filters)), key=lambda job: (job["created_at"], job["id"])
        )
        wanted = [job["id"] for job in expected]
        assert _all_pages(database, filters, order, 7) == (wanted if order == "created_at" else wanted[::-1])


def test_a_cursor_of_another_order_is_refused(database, many):
    with database.read() as session:
        cursor = list_jobs(session, JobFilters(), "created_at", 5, None).next_cursor
        with pytest.raises(InvalidQuery):
            list_jobs(session, JobFilters(), "-created_at", 5, cursor)


@pytest.fixture
def crowded(service, database):
    """So many jobs that a planner prefers an index where it can."""
    service.submit(labels={"team": "vision"})
    with database.write() as session:
        row = dict(session.execute(select(jobs)).one()._mapping)
        label = dict(session.execute(select(job_labels)).one()._mapping)
        ages = range(20_000)
        session.execute(
            insert(jobs), [row | {"id": f"job_{n:06}", "created_at": float(n), "name": f"n{n % 4}"} for n in ages]
        )
        session.execute(
            insert(job_labels),
            [
                label | {"job_id": f"job_{n:06}", "created_at": float(n), "key": key, "value": value}
                for n in ages
                for key, value in (("team", f"v{n % 4}"), ("other", "x"))
            ],
        )
        ended = (
            update(jobs)
            .where(func.mod(cast(jobs.c.created_at, Integer), 2) == 0)
            .values(state="cancelled", finished_at=1.0)
        )
        session.execute(ended)
    with database.write() as session:
        session.execute(text("ANALYZE"))
    return database


SIGNS = ("TEMP B-TREE", "Seq Scan", "Sort  (", "AUTOMATIC")
"""How the two databases say that they sort, or read a whole table."""

PLANNED = [
    JobFilters(states=states, labels=labels, name=name, created_after=after)
    for states, labels, name, after in product(
        [(), (JobState.QUEUED,), STATES],
        [{}, {"team": "v1"}],
        [None, "n1"],
        [None, moment(500)],
    )
    if not (labels and name)  # an intersection: PostgreSQL may join two indexes rather than walk one and probe
]


@pytest.mark.parametrize("newest_first", [True, False])
def test_no_filter_makes_the_database_scan_or_sort(crowded, newest_first, statements_of):
    for filters, behind in product(PLANNED, [None, (9000.0, "job_009000")]):
        with crowded.read() as session:
            plan = _plan_of(session, filters, behind, newest_first)
        offences = [line for line in plan if any(sign in line for sign in SIGNS)]
        offences += [line for line in plan if line.startswith("SCAN") and "USING" not in line and "anon_" not in line]
        assert not offences, "\n".join([str(filters), *plan])


def _plan_of(session, filters, behind, newest_first):
    """The lines of EXPLAIN for the statement that a page executes."""
    captured = []

    class Recorder:
        def execute(self, statement):
            captured.append(statement)
            return session.execute(statement)

    listing.places(Recorder(), filters, behind, 50, newest_first=newest_first)
    sql = captured[-1].compile(session.get_bind(), compile_kwargs={"literal_binds": True})
    prefix = "EXPLAIN QUERY PLAN" if session.get_bind().dialect.name == "sqlite" else "EXPLAIN"
    rows = session.connection().exec_driver_sql(f"{prefix} {sql}".replace("%", "%%")).all()
    return [str(row[-1]).strip() for row in rows]


CROSSED = [
    JobFilters(states=states, labels=labels, name=name)
    for states, labels, name in product(
        [(), (JobState.QUEUED,), STATES],
        [{"team": "v1"}, {"team": "v1", "other": "x"}],
        [None, "n1"],
    )
    if name is not None or len(labels) > 1
]
WHOLE = ("Seq Scan", "SCAN jobs", "SCAN job_labels")


@pytest.mark.parametrize("newest_first", [True, False])
def test_filters_that_cross_read_no_whole_table(crowded, newest_first):
    """A name beside labels, or several labels: an intersection, which either database may find in its own way."""
    for filters, behind in product(CROSSED, [None, (9000.0, "job_009000")]):
        with crowded.read() as session:
            plan = _plan_of(session, filters, behind, newest_first)
        assert any("ix_job" in line for line in plan), "\n".join([str(filters), *plan])
        offences = [line for line in plan if any(sign in line for sign in WHOLE) and "USING" not in line]
        assert not offences, "\n".join([str(filters), *plan])
