"""Everything at once, at two replicas: no answer that nobody foresaw, no deadlock, and sense in the database."""

import random
from collections import Counter

import pytest
from sqlalchemy import select, text

from app.contract.states import ACTIVE
from app.store.tables import attempts, events, jobs, reservations
from tests.support.service import FACTS, SPEC

THREADS = 8
FORESEEN = {200, 201, 202, 204, 404, 409, 410, 422}


class Crowd:
    """Users and workers who know the same few jobs and data sets, so that they meet."""

    def __init__(self, yard):
        self.yard = yard
        self.jobs = []
        self.works = []
        self.sets = []
        self.answers = Counter()

    def ask(self, *arguments, **headers):
        answer = self.yard.ask(*arguments, **headers)
        self.answers[arguments[0], answer.status_code] += 1
        return answer

    def submit(self):
        data = {"dataset": {"kind": "registered", "id": random.choice(self.sets)}} if self.sets else {}
        key = random.choice(["k1", "k2", "k3"])
        answer = self.ask("POST", "/v1/jobs", SPEC | data, Idempotency_Key=key) if random.random() < 0.3 else None
        answer = answer or self.ask("POST", "/v1/jobs", SPEC | data | {"labels": {"team": "a"}})
        if answer.status_code == 201:
            self.jobs = [*self.jobs[-12:], answer.json()["id"]]

    def claim(self):
        body = self.yard.claim(random.choice(["w1", "w2"]), slots=4)
        if body and body["type"] == "job":
            self.works = [*self.works[-12:], body]

    def user(self):
        job = random.choice(self.jobs)
        path = f"/v1/jobs/{job}"
        what = random.choice(["cancel", "cancel", "retry", "clone", "PATCH", "DELETE", "DELETE"])
        if what == "PATCH":
            self.ask("PATCH", path, {"priority": random.randint(-1, 1), "labels": {"team": random.choice("ab")}})
        elif what == "DELETE":
            self.ask("DELETE", path)
        else:
            self.ask("POST", f"{path}/{what}", {} if what == "clone" else None)

    def worker(self):
        work = random.choice(self.works)
        what = random.choice(["start", "heartbeat", "heartbeat", "reports", "finish"])
        point = {"seq": 1, "type": "metrics", "step": 1, "values": {"train/loss": 0.5}, "time": "2026-11-21T10:00:00Z"}
        failed = {"code": random.choice(["diverged", "crashed"]), "message": "It broke."}
        body = {"reports": {"events": [point]}, "finish": {"outcome": "failed", "failure": failed}}.get(what, {})
        self.answers[what, self.yard.say(work, what, **body).status_code] += 1

    def datasets(self):
        """Register one, have it checked, or delete one that jobs name."""
        if len(self.sets) < 2:
            answer = self.ask("POST", "/v1/datasets", {"name": "pets", "source": {"kind": "folder", "path": "pets"}})
            hands = {"id": "hands", "host": "h", "devices": [], "versions": {}, "task_slots": 8}
            task = self.ask("POST", "/internal/v1/claims", hands)
            if task.status_code == 200:
                done = {"token": task.json()["token"], "result": FACTS}
                self.ask("POST", f"/internal/v1/tasks/{task.json()['task']}/finish", done)
            self.sets = [*self.sets, answer.json()["id"]]
        elif random.random() < 0.3:
            self.ask("DELETE", f"/v1/datasets/{random.choice(self.sets)}")
        elif random.random() < 0.2:
            self.sets = self.sets[1:]

    def go_on(self, count):
        for _ in range(count):
            acts = [self.submit, self.claim, self.datasets, *[self.user] * 3 * bool(self.jobs)]
            random.choice([*acts, *[self.worker] * 4 * bool(self.works)])()


@pytest.mark.timeout(900)
@pytest.mark.parametrize("count", [20, pytest.param(400, marks=pytest.mark.slow)])
def test_a_crowd_gets_foreseen_answers_and_leaves_sense_behind(replicas, in_threads, settings, database, count):
    for name in ("cats", "dogs"):
        folder = settings.roots[0] / "pets" / name
        folder.mkdir(parents=True)
        (folder / "1.png").touch()
    environment = {"TRAINYARD_UPKEEP_S": "0.1", "TRAINYARD_LEASE_S": "1", "TRAINYARD_HEARTBEAT_S": "0.5"}
    with replicas(2, **environment) as yard:
        crowd = Crowd(yard)
        crowd.submit()
        in_threads(*[lambda: crowd.go_on(count)] * THREADS)
    print(sum(crowd.answers.values()), sorted(map(str, crowd.answers.items())))
    assert set(yard.statuses) - FORESEEN == set(), crowd.answers
    assert len(yard.statuses) > THREADS * count // 2
    _makes_sense(database)


def _makes_sense(database):
    with database.read() as session:
        found = session.execute(select(jobs)).all()
        opened = session.execute(select(attempts).where(attempts.c.state == "open")).all()
        held = session.execute(select(reservations)).all()
        told = Counter(session.execute(select(events.c.job_id)).scalars())
        if not database.is_sqlite:
            query = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
            assert session.execute(text(query)).scalar() == 0
    assert {(row.job_id, row.attempt) for row in opened} == {(j.id, j.attempt) for j in found if j.state in ACTIVE}
    assert sorted(row.device_index for row in held) == sorted(index for row in opened for index in row.devices)
    assert told == {row.id: row.event_seq for row in found}
