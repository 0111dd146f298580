"""The services of the compose file together: a job to its end, and an upgrade in the middle of one."""

import hashlib
import signal
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.deploy.compose import GIVEN
from tests.deploy.stack import JOB_S, Stack, until
from tests.e2e.place import spec

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def steps_of(stack: Stack, job: str) -> list[int]:
    series = stack.get(f"/v1/jobs/{job}/metrics", params={"max_points": 100_000, "names": "train/loss"})["series"]
    return list(series["train/loss"]["step"])


def steps_planned(stack: Stack, job: str, epochs: int) -> int:
    events: list[dict[str, Any]] = stack.get(f"/v1/jobs/{job}/events", params={"limit": 1000})["items"]
    plan = next(event for event in events if event["type"] == "plan")["data"]["plan"]
    return int(plan["steps_per_epoch"]) * epochs


def test_every_service_is_healthy(stack: Stack) -> None:
    assert stack.is_healthy("api")
    assert stack.is_healthy("worker")
    assert stack.get("/readyz") == {"status": "ok", "database": "ok", "broker": "ok"}


def test_the_broker_wants_its_password_and_keeps_what_it_gets(stack: Stack) -> None:
    with redis.Redis(port=stack.broker_port) as stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()
    with redis.Redis(port=stack.broker_port, password=GIVEN["BROKER_PASSWORD"]) as known:
        assert known.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert known.config_get("appendonly") == {"appendonly": "yes"}
    lines = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert not any(GIVEN["BROKER_PASSWORD"].encode() in line for line in lines)


def test_a_job_runs_to_its_checked_model(stack: Stack) -> None:
    job = stack.submit(spec(1))
    done = stack.job_when(job, lambda _: False)
    assert done["state"] == "succeeded", done["failure"]
    artifacts = {each["name"]: each for each in stack.get(f"/v1/jobs/{job}/artifacts")["items"]}
    model = artifacts["model.safetensors"]
    assert hashlib.sha256(stack.call("GET", model["url"]).content).hexdigest() == model["sha256"]


def test_an_upgrade_in_the_middle_of_a_job_costs_no_step(stack: Stack) -> None:
    """The procedure of docs/operations.md: api, migration, api, worker, while a job runs."""
    job = stack.submit(spec(6))
    until(lambda: stack.get(f"/v1/jobs/{job}/checkpoints")["items"], JOB_S)
    api, worker = stack.programs["api"], stack.programs["worker"]

    assert api.stop() == -signal.SIGTERM  # uvicorn ends in order, then hands the signal on
    stack.migrate()
    assert worker.running
    api.start()
    stack.until_healthy("api")
    assert stack.get(f"/v1/jobs/{job}")["attempt"] == 1, "a restarted api ends no attempt"

    assert worker.stop(signal.SIGTERM) == 0
    assert stack.job_when(job, lambda shown: shown["state"] == "queued")["state"] == "queued"
    worker.start()

    done = stack.job_when(job, lambda _: False)
    assert done["state"] == "succeeded", done["failure"]
    states = [attempt["state"] for attempt in stack.get(f"/v1/jobs/{job}/attempts")["items"]]
    assert states == ["released", "succeeded"]
    notes = [event["data"].get("code") for event in stack.get(f"/v1/jobs/{job}/events")["items"]]
    assert "resumed" in notes
    assert steps_of(stack, job) == list(range(1, steps_planned(stack, job, 6) + 1))
