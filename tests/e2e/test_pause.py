"""A pause as its user sees it: real ranks save and let go, another job takes their place, and no step is lost."""

import json

import httpx
import pytest

from tests.e2e.place import Api, Place, spec, wait_for

pytestmark = pytest.mark.timeout(900)
EPOCHS = 5


def devices(api: Api) -> list[str | None]:
    return [device["job"] for worker in api.get("/v1/workers")["items"] for device in worker["devices"]]


def programs_of(place: Place, job: str) -> list[str]:
    return [line for line in place.processes().values() if job in line and "worker.training" in line]


def arrived_steps(api: Api, job: str, cursor: str) -> list[int]:
    """The steps of the training loss behind a cursor, one by one, in the order of their arrival."""
    page = api.get(f"/v1/jobs/{job}/metrics", params={"names": "train/loss", "after": cursor, "limit": 50_000})
    return list(page["series"]["train/loss"]["step"])


def test_a_paused_job_makes_room_and_goes_on_at_the_next_step(api: Api, place: Place) -> None:
    job = api.submit(spec(EPOCHS))
    beginning = api.get(f"/v1/jobs/{job}/metrics")["cursor"]
    api.job_with_checkpoint(job)

    assert api.call("POST", f"/v1/jobs/{job}/pause").status_code == httpx.codes.ACCEPTED
    api.job_when(job, lambda shown: shown["state"] == "paused")

    assert devices(api) == [None, None]
    assert programs_of(place, job) == []
    api.job_when(api.submit(spec(1)), lambda shown: shown["state"] == "succeeded", timeout_s=400)
    assert api.get(f"/v1/jobs/{job}")["state"] == "paused"
    saved = api.get(f"/v1/jobs/{job}/checkpoints")["items"][-1]["step"]
    assert arrived_steps(api, job, beginning) == list(range(1, saved + 1))

    resumed = json.loads(place.command("resume", job, "--json", check=True).stdout)
    assert resumed["state"] == "queued"
    done = api.job_when(job, lambda shown: shown["state"] == "succeeded", timeout_s=400)

    attempts = api.get(f"/v1/jobs/{job}/attempts")["items"]
    assert [attempt["state"] for attempt in attempts] == ["released", "succeeded"]
    steps = done["progress"]["steps"]
    assert saved < steps
    assert arrived_steps(api, job, beginning) == list(range(1, steps + 1))  # none twice, none missing
    states = [each["data"]["state"] for each in api.get(f"/v1/jobs/{job}/events")["items"] if each["type"] == "state"]
    assert states == ["starting", "running", "paused", "queued", "starting", "running", "succeeded"]
    wait_for(lambda: not programs_of(place, job), 10)
