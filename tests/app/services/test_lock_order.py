"""Changes that need the same rows take them in one order, so that none is undone for another."""

import threading
import time

import pytest
from sqlalchemy import text

from app.contract.datasets import DatasetSource, DatasetSpec
from app.errors import InvalidSpec
from app.services import datasets
from app.store import datasets as rows
from tests.support.service import FACTS, worker

WAITERS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


@pytest.fixture
def finished(service, database):
    """A job that is over, on a registered data set: their ids."""
    for name in ("cats", "dogs"):
        folder = database.settings.roots[0] / "pets" / name
        folder.mkdir(parents=True)
        (folder / "1.png").touch()
    with database.write() as session:
        made = datasets.add(session, service.context, DatasetSpec(name="p", source=DatasetSource(path="pets")))
    service.finish_task(service.claim(worker(task_slots=1)), result=FACTS)
    job, work = service.running(dataset={"kind": "registered", "id": made.id})
    service.finish(work)
    return job, made.id


@pytest.mark.parametrize("again", ["retry", "clone"])
def test_making_a_job_again_while_its_data_set_is_deleted(service, database, finished, again):
    job, dataset = finished
    ends = []

    def make():
        try:
            service.retry(job) if again == "retry" else service.clone(job, {})
        except Exception as error:  # noqa: BLE001  (which one is what the test is about)
            ends.append(error)

    with database.write() as session:
        rows.lock(session, dataset)
        thread = threading.Thread(target=make)
        thread.start()
        deadline = time.monotonic() + 60
        while not database.is_sqlite and not _waiters(database):
            assert time.monotonic() < deadline, "nobody waits"
        rows.remove(session, dataset)
    thread.join()
    assert [type(error) for error in ends] == [InvalidSpec]


def _waiters(database):
    """Asked anew: a transaction sees the activity of one moment alone."""
    with database.read() as session:
        return session.execute(text(WAITERS)).scalar()
