"""Several replicas over one database act as one service: what happens at one is seen, and done once, at all."""

import time

import pytest
from sqlalchemy import func, select

from app.queue import QUEUE
from app.store.tables import attempts, events, jobs, reservations
from tests.support.service import SPEC

pytestmark = pytest.mark.timeout(600)  # several processes start

WAIT_S = 25
SEEN_WITHIN_S = 20
"""A replica looks again every second (`app.changes.RECHECK_S`). Below `WAIT_S`, which is when all are answered."""


def test_what_happens_at_one_replica_reaches_those_who_wait_at_another(replicas, messages, in_threads):
    with replicas(2) as yard:
        job = yard.submit(at=0)
        work = yard.claim(at=1)
        version = yard.ask("GET", f"/v1/jobs/{job}", at=0).headers["ETag"]

        def stream(path):
            headers = {"Accept": "text/event-stream"}
            with yard.clients[0].stream("GET", path, headers=headers) as answer:
                for message in messages(answer.iter_lines()):
                    if message.get("event") == "phase":
                        return message["data"]["data"]["phase"]

        def poll():
            return yard.ask("GET", f"/v1/jobs/{job}", at=0, If_None_Match=version, Prefer=f"wait={WAIT_S}")

        def wish():
            return yard.say(work, f"wish?wait_s={WAIT_S}", at=0)

        def act():
            said = {"seq": 1, "type": "phase", "phase": "training", "time": "2026-11-21T10:00:00Z"}
            assert yard.say(work, "reports", at=1, events=[said]).status_code == 200
            return yard.ask("POST", f"/v1/jobs/{job}/cancel", at=1).status_code

        one, all_jobs, polled, wished, cancelled = in_threads(
            lambda: stream(f"/v1/jobs/{job}/events"), lambda: stream("/v1/events"), poll, wish, act
        )
    assert (one, all_jobs, cancelled) == ("training", "training", 202)
    assert polled.status_code == 200
    assert polled.json()["phase"] == "training"
    assert wished.json() == {"stop": "cancel"}
    assert max(polled.elapsed.total_seconds(), wished.elapsed.total_seconds()) < SEEN_WITHIN_S


def test_100_equal_requests_at_three_replicas_make_one_job(replicas, in_threads, database):
    with replicas(3) as yard:

        def post(number):
            found = []
            for turn in range(5):
                answer = yard.ask("POST", "/v1/jobs", SPEC, at=(number + turn) % 3, Idempotency_Key="once")
                found.append((answer.status_code, answer.json()["id"], "Idempotency-Replayed" in answer.headers))
            return found

        found = in_threads(*(lambda number=number: post(number) for number in range(20)))
        other = yard.ask("POST", "/v1/jobs", SPEC | {"priority": 1}, at=1, Idempotency_Key="once")
    answers = [each for some in found for each in some]
    assert len(answers) == 100
    assert {(status, job) for status, job, _ in answers} == {(201, answers[0][1])}
    assert sum(not replayed for _, _, replayed in answers) == 1
    assert (other.status_code, other.json()["type"].rpartition(":")[2]) == (422, "key-reused")
    with database.read() as session:
        assert session.execute(select(func.count()).select_from(jobs)).scalar() == 1


JOBS = 6
FEW = 40
"""Messages: one for each job submitted, lost, and ready again, and one for each replica's start. Three replicas that
each nudged at each of their ticks would have sent hundreds."""


def test_three_upkeeps_end_each_lost_attempt_once_and_do_not_storm(replicas, broker, database, until):
    url, queue = broker
    short = {"TRAINYARD_LEASE_S": "2", "TRAINYARD_HEARTBEAT_S": "1", "TRAINYARD_UPKEEP_S": "0.1"}
    with replicas(3, TRAINYARD_BROKER_URL=url, TRAINYARD_NUDGE_AFTER_S="3600", **short) as yard:
        for _ in range(JOBS):
            yard.submit()
        given = [work for work in (yard.claim(slots=JOBS) for _ in range(JOBS)) if work]
        until(lambda: len(_ended(database)) >= len(given), "all leases were ended")
        time.sleep(3)  # many ticks of all three
        for work in given:
            assert yard.say(work, "heartbeat").status_code == 410
    assert given
    assert sorted(_ended(database)) == sorted((work["job"], work["attempt"]) for work in given)
    with database.read() as session:
        assert set(session.execute(select(attempts.c.state)).scalars()) == {"lost"}
        assert session.execute(select(reservations)).all() == []
    assert 1 <= queue.llen(QUEUE) <= FEW


def _ended(database):
    """(job, attempt), once for each event that tells the end of an attempt."""
    with database.read() as session:
        told = session.execute(select(events).where(events.c.type == "state")).all()
    return [(row.job_id, row.data["attempt"]) for row in told if row.data["state"] in ("queued", "failed")]
