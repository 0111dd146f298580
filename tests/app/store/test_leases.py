"""Guard G: every part of it alone keeps a stranger out, also where another part would have done so too."""

import pytest
from sqlalchemy import update
from sqlalchemy.sql import visitors

from app.contract.states import ACTIVE
from app.store import jobs
from app.store.leases import held_by
from app.store.tables import jobs as table
from tests.support.service import lease_of


def is_held(database, work) -> bool:
    with database.read() as session:
        return jobs.lock(session, held_by(lease_of(work))) is not None


@pytest.mark.parametrize("other", [{"attempt": 2}, {"token_hash": "another"}], ids=str)
def test_a_job_that_differs_in_one_thing_is_not_held(service, database, other):
    job, work = service.running()
    assert is_held(database, work)
    with database.write() as session:
        session.execute(update(table).where(table.c.id == job).values(**other))
    assert not is_held(database, work)


def test_another_job_is_not_held(service, database):
    _, work = service.running()
    assert not is_held(database, work.model_copy(update={"job": service.submit().id}))


def test_only_an_active_job_is_held(service):
    """The tables let no other job have a token; the guard must not rely on it. So its text is looked at."""
    _, work = service.running()
    compared = {each.left.name: each.right for each in visitors.iterate(held_by(lease_of(work))) if _compares(each)}
    assert compared.keys() == {"id", "attempt", "token_hash", "state"}
    assert set(compared["state"].value) == ACTIVE


def _compares(element) -> bool:
    return element.__visit_name__ == "binary"
