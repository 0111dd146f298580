"""What befalls whole hosts: two workers and doubled messages, a drain, wrong clocks, a database that is long away."""

import json
import signal
import time
from pathlib import Path

import pytest
from celery import Celery

from tests.faults.places import can_mount
from tests.faults.scenarios import JobScenario, Training
from tests.faults.settled import check_settled
from tests.faults.yard import Yard
from worker.celery_app import QUEUE, WAKE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
AWAY_S = 60.0
FULL_S = 5.0


def attempts(yard: Yard, job: str) -> list[str]:
    return [each["state"] for each in yard.get(f"/v1/jobs/{job}/attempts")["items"]]


def events(yard: Yard, job: str, attempt: int) -> list[dict]:
    path = yard.folder / "data" / "storage" / "jobs" / job / "attempts" / str(attempt) / "events.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def begun(yard: Yard):
    """Begins a scenario; at the end everything must have settled."""
    yard.spoilt = True

    def begin(scenario: JobScenario) -> JobScenario:
        scenario.begin()
        return scenario

    yield begin
    check_settled(yard)
    yard.sweep()
    yard.spoilt = False


def test_two_workers_and_doubled_messages_give_one_attempt(yard: Yard, begun) -> None:
    yard.second_worker()
    yard.until(lambda: len(yard.get("/v1/workers")["items"]) == 2, "both workers are there")
    sender = Celery("test", broker=f"redis+socket://{yard.home / 'run' / 'broker.sock'}", set_as_current=False)
    jobs = [begun(JobScenario(yard, full=False)) for _ in range(4)]
    for _ in range(20):
        sender.send_task(WAKE, queue=QUEUE)
    sender.close()
    for job in jobs:
        job.end()
        assert attempts(yard, job.submitted()) == ["succeeded"]
    yard.kill("worker 2", signal.SIGTERM)


def test_a_drained_run_goes_on_at_the_step_that_it_saved(yard: Yard, begun) -> None:
    scenario = JobScenario(yard, full=False)
    scenario.every_ms = 300
    job = begun(scenario).submitted()
    yard.until(lambda: yard.get(f"/v1/jobs/{job}")["latest_metrics"], "a step is made")
    yard.kill("worker", signal.SIGTERM)
    scenario.end()
    assert attempts(yard, job) == ["released", "succeeded"]
    saved = [each["step"] for each in events(yard, job, 1) if each["type"] == "checkpoint"]
    made = [each["step"] for each in events(yard, job, 2) if each["type"] == "metrics"]
    assert made == list(range(saved[-1] + 1, scenario.steps + 1))


@pytest.mark.parametrize("hours_off", [-24, 24])
def test_a_host_whose_clock_is_wrong_neither_loses_nor_keeps_its_job(yard: Yard, begun, hours_off: int) -> None:
    """Leases and durations are the database's; the worker's clock only dates what it reports."""
    scenario = JobScenario(yard, full=False)
    scenario.hours_off = hours_off
    begun(scenario).end()
    shown = yard.get(f"/v1/jobs/{scenario.job['id']}")
    assert shown["attempt"] == 1
    assert shown["created_at"] < shown["started_at"] < shown["finished_at"]
    numbers = [each["seq"] for each in yard.get(f"/v1/jobs/{scenario.job['id']}/events?limit=1000")["items"]]
    assert numbers == list(range(1, len(numbers) + 1))


def test_a_database_that_is_away_for_a_minute_costs_no_attempt(yard: Yard, begun) -> None:
    scenario = JobScenario(yard, full=False)
    scenario.every_ms, scenario.steps = 250, 280
    job = begun(scenario).submitted()
    yard.until(lambda: yard.get(f"/v1/jobs/{job}")["latest_metrics"], "a step is made")
    yard.store.lose()
    time.sleep(AWAY_S)
    yard.store.restore()
    scenario.end()
    assert scenario.job["attempt"] == 1


@pytest.mark.parametrize("number", [0, 1, 2], ids=["home", "data", "tmp"])
def test_a_disk_that_fills_up_while_a_network_trains(yard: Yard, begun, number: int) -> None:
    if not can_mount():
        pytest.skip("no disk can be filled: this process may not mount a small file system (root in a container can)")
    scenario = Training(yard, full=True)
    job = begun(scenario).submitted()
    yard.until(lambda: yard.get(f"/v1/jobs/{job}")["phase"] == "training", "it trains")
    yard.disks[number].fill()
    time.sleep(FULL_S)
    yard.disks[number].free()
    scenario.end()
    assert Path(yard.disks[number].path).is_dir()
