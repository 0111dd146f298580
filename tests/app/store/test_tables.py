"""The database refuses impossible states, whatever code asks for them."""

import pytest
from sqlalchemy import insert, update
from sqlalchemy.exc import IntegrityError

from app.store.tables import attempts, jobs, reservations

IMPOSSIBLE = [
    {"state": "resting"},
    {"state": "paused", "stop_requested": "pause"},
    {"state": "paused", "finished_at": 1.0},
    {"state": "paused", "lease_until": 1.0},
    {"stop_requested": "pause"},
    {"state": "running", "started_at": 1.0},
    {"state": "starting", "worker_id": "w", "token_hash": "t", "lease_until": 1.0},
    {"state": "succeeded", "finished_at": 1.0},
    {"state": "failed", "finished_at": 1.0},
    {"state": "cancelled"},
    {"finished_at": 1.0},
    {"failure": {"code": "internal"}},
    {"report": {}},
    {"token_hash": "t"},
    {"lease_until": 1.0},
    {"stop_requested": "cancel"},
    {"processes": 0},
    {"version": 0},
]


@pytest.mark.parametrize("values", IMPOSSIBLE, ids=str)
def test_a_queued_job_cannot_become(service, database, values):
    service.submit()
    with pytest.raises(IntegrityError), database.write() as session:
        session.execute(update(jobs).values(**values))


def test_an_unknown_wish_is_refused(service, database):
    service.running()
    with pytest.raises(IntegrityError), database.write() as session:
        session.execute(update(jobs).values(stop_requested="explode"))


def test_a_device_is_not_reserved_twice(service, database):
    _, work = service.running()
    twice = {"worker_id": "w1", "device_index": work.order.devices[0], "job_id": work.job, "attempt": 1}
    with pytest.raises(IntegrityError), database.write() as session:
        session.execute(insert(reservations).values(**twice))


def test_a_job_has_one_open_attempt(service, database):
    job, _ = service.running()
    second = {"job_id": job, "attempt": 2, "worker_id": "w1", "devices": [], "state": "open", "token_hash": "t"}
    with pytest.raises(IntegrityError), database.write() as session:
        session.execute(insert(attempts).values(**second, started_at=1.0, reported_seq=0, saved_checkpoint=False))


def test_an_open_attempt_has_no_end(service, database):
    service.running()
    with pytest.raises(IntegrityError), database.write() as session:
        session.execute(update(attempts).values(finished_at=1.0))
