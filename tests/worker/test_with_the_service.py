"""The worker against the real service, with a real broker; only the training is a program of the test."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from worker import processes, records

HERE = Path(__file__).parent
SPEC = {"dataset": {"kind": "builtin", "name": "digits"}, "model": {"kind": "timm", "name": "resnet10t"}}
API = [sys.executable, "-m", "app.cli", "api", "--port", "0", "--upgrade"]
WORKER = [
    *(sys.executable, "-m", "celery", "-A", "worker.celery_app", "worker"),
    *("--pool", "solo", "--queues", "trainyard", "--without-gossip", "--without-mingle", "--without-heartbeat"),
]


class Yard:
    """A service and its worker, as processes; `crash` kills one, `begin` starts it again."""

    def __init__(self, home, mode, log, **settings):
        self.home = home
        self.log = log
        self.running = {}
        self.environment = os.environ | {
            "TRAINYARD_HOME": str(home),
            "TRAINYARD_WORKER_ID": "w",
            "TRAINYARD_WORKER_SLOTS": "2",
            "TRAINYARD_TRAINING_COMMAND": json.dumps([sys.executable, str(HERE / "fake_run.py"), mode]),
            "TRAINYARD_IDLE_ASK_S": "0.5",
            "TRAINYARD_DRAIN_S": "10",
            "PYTHONPATH": str(HERE.parents[1]),
            **settings,
        }

    def begin(self, name, command):
        with self.log.open("ab") as file:
            self.running[name] = subprocess.Popen(
                command, env=self.environment, stdout=file, stderr=file, start_new_session=True
            )

    def end(self, name, number):
        process = self.running.pop(name)
        process.send_signal(number)
        process.wait(timeout=60)

    def call(self, method, path, **options):
        url = json.loads((self.home / "run" / "api.json").read_text())["url"]
        return httpx.request(method, url + path, trust_env=False, timeout=30, **options)

    def answers(self):
        try:
            return self.call("GET", "/readyz").status_code == 200
        except (httpx.HTTPError, OSError):
            return False

    def submit(self):
        answer = self.call("POST", "/v1/jobs", json=SPEC)
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]

    def job(self, job_id):
        return self.call("GET", f"/v1/jobs/{job_id}").json()

    def run_dir(self, job_id, attempt=1):
        return self.home / "storage" / "jobs" / job_id / "attempts" / str(attempt)

    def clean(self):
        for name in list(self.running):
            self.end(name, signal.SIGKILL)
        for record in records.all_of(self.home / "run" / "attempts", "w").values():
            if record.supervisor:
                processes.send(record.supervisor, signal.SIGKILL)
                processes.wait_for(record.supervisor, 5)
                processes.kill(processes.session_leftovers(record.supervisor))


@pytest.fixture
def start_yard(home, broker, tmp_path, eventually):
    (home / "worker_token").unlink()  # the service makes one
    yards = []

    def start(mode, **settings):
        yard = Yard(home, mode, tmp_path / "log", **settings)
        yards.append(yard)
        yard.begin("api", API)
        eventually(yard.answers, "the service answers")
        yard.begin("worker", WORKER)
        return yard

    yield start
    for yard in yards:
        yard.clean()


@pytest.fixture
def state_is(eventually):
    def wait(yard, job_id, *states):
        return eventually(lambda: (job := yard.job(job_id))["state"] in states and job, f"{job_id} is {states}")

    return wait


def _steps(yard, job_id):
    return yard.call("GET", f"/v1/jobs/{job_id}/metrics").json()["series"]["train/loss"]["step"]


def test_a_job_goes_from_its_post_to_its_success(start_yard, state_is):
    yard = start_yard("quick")

    job_id = yard.submit()

    job = state_is(yard, job_id, "succeeded", "failed")
    assert job["failure"] is None
    assert job["report"]["verified"] is True
    assert _steps(yard, job_id) == [1, 2, 3]
    logs = yard.call("GET", f"/v1/jobs/{job_id}/logs", headers={"Accept": "text/plain"}).text
    assert "hello from the launcher" in logs
    assert [worker["id"] for worker in yard.call("GET", "/v1/workers").json()["items"]] == ["w"]


@pytest.mark.parametrize(("verb", "state"), [("cancel", "cancelled"), ("pause", "paused")])
def test_a_stopped_job_leaves_nothing_running(start_yard, state_is, eventually, verb, state):
    yard = start_yard("patient")
    job_id = yard.submit()
    eventually((yard.run_dir(job_id) / "began").exists, "the run began")

    assert yard.call("POST", f"/v1/jobs/{job_id}/{verb}").status_code == 202

    state_is(yard, job_id, state)
    assert processes.stat(int((yard.run_dir(job_id) / "launcher").read_text())) is None


def test_a_service_that_was_killed_gets_every_event_once_when_it_is_back(start_yard, state_is, eventually):
    yard = start_yard("until_told")
    job_id = yard.submit()
    eventually(lambda: yard.job(job_id)["latest_metrics"], "the first events are stored")
    events = yard.run_dir(job_id) / "events.jsonl"

    yard.end("api", signal.SIGKILL)
    before = len(events.read_bytes().splitlines())
    eventually(lambda: len(events.read_bytes().splitlines()) > before + 10, "the run goes on alone")
    yard.begin("api", API)
    eventually(yard.answers, "the service is back")
    (yard.run_dir(job_id) / "go").touch()

    assert state_is(yard, job_id, "succeeded", "failed")["attempt"] == 1
    metrics = [json.loads(line) for line in events.read_bytes().splitlines()][:-1]
    assert _steps(yard, job_id) == [event["step"] for event in metrics]


def test_a_killed_supervisor_ends_in_a_new_attempt(start_yard, state_is, eventually):
    yard = start_yard("until_told")
    job_id = yard.submit()
    eventually((yard.run_dir(job_id) / "began").exists, "the run began")
    record = records.read(yard.home / "run" / "attempts" / f"{job_id}-1.json")

    processes.send(record.supervisor, signal.SIGKILL)

    eventually((yard.run_dir(job_id, 2) / "began").exists, "the second attempt began")
    (yard.run_dir(job_id, 2) / "go").touch()
    assert state_is(yard, job_id, "succeeded", "failed")["attempt"] == 2
    attempts = yard.call("GET", f"/v1/jobs/{job_id}/attempts").json()["items"]
    assert sorted((each["attempt"], each["state"]) for each in attempts) == [(1, "failed"), (2, "succeeded")]


def test_a_drained_job_goes_on_from_its_checkpoint_on_the_next_worker(start_yard, state_is, eventually):
    yard = start_yard("patient")
    job_id = yard.submit()
    eventually((yard.run_dir(job_id) / "began").exists, "the run began")

    yard.end("worker", signal.SIGTERM)
    state_is(yard, job_id, "queued")
    yard.begin("worker", WORKER)

    eventually((yard.run_dir(job_id, 2) / "began").exists, "the second attempt began")
    order = json.loads((yard.run_dir(job_id, 2) / "order.json").read_text())
    assert order["paths"]["resume"] == str(yard.run_dir(job_id) / "checkpoints" / "x")
    yard.call("POST", f"/v1/jobs/{job_id}/cancel")
    state_is(yard, job_id, "cancelled")


def test_a_killed_worker_leaves_the_run_to_its_end(start_yard, state_is, eventually):
    yard = start_yard("until_told")
    job_id = yard.submit()
    eventually((yard.run_dir(job_id) / "began").exists, "the run began")

    yard.end("worker", signal.SIGKILL)
    (yard.run_dir(job_id) / "go").touch()

    assert state_is(yard, job_id, "succeeded", "failed")["attempt"] == 1
