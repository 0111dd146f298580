"""What a user does, over real HTTP with a real broker, worker and ranks."""

import hashlib
import json
import os
import signal
from typing import Any

import httpx
import pytest

from app.cli.exits import Exit
from tests.e2e.place import Api, Place, spec, wait_for

pytestmark = pytest.mark.timeout(200)
METHODS = {"depthwise_separable", "activation_compression"}
EPOCHS = 5


def running_for(place: Place, job: str) -> dict[int, str]:
    return {pid: line for pid, line in place.processes().items() if job in line}


def all_devices_are_free(api: Api) -> bool:
    devices = [device for worker in api.get("/v1/workers")["items"] for device in worker["devices"]]
    return len(devices) == 2 and not any(device["job"] for device in devices)


@pytest.mark.timeout(300)
def test_a_spec_can_be_tried_without_storing_it(api: Api) -> None:
    before = len(api.get("/v1/jobs")["items"])
    for _ in range(10):  # on a busy machine a plan takes longer than one request waits for it
        answer = api.call("POST", "/v1/jobs", params={"dry_run": "true"}, json=spec(2))
        if answer.status_code != 503:
            break
    assert answer.status_code == 200, answer.text
    plan = answer.json()["plan"]
    assert plan["after"]["parameters"] < plan["before"]["parameters"]
    assert {layer["method"] for layer in plan["layers"] if layer["status"] == "changed"} == METHODS
    assert len(api.get("/v1/jobs")["items"]) == before


def test_a_job_goes_from_the_submit_to_the_checked_model_file(api: Api, place: Place) -> None:
    key = {"Idempotency-Key": "once"}
    job = api.submit(spec(EPOCHS, baseline={"kind": "train"}), **key)
    assert api.submit(spec(EPOCHS, baseline={"kind": "train"}), **key) == job

    done = api.final(job)

    assert done["state"] == "succeeded", done["failure"]
    assert done["attempt"] == 1
    assert done["progress"]["fraction"] == 1
    check_events(api, job)
    check_metrics(api, job)
    check_report(api.get(f"/v1/jobs/{job}/report"))
    check_model_file(api, job)
    wait_for(lambda: not running_for(place, job), 10)
    wait_for(lambda: all_devices_are_free(api), 10)


def check_events(api: Api, job: str) -> None:
    page = api.get(f"/v1/jobs/{job}/events", params={"limit": 1000})
    assert [event["seq"] for event in page["items"]] == list(range(1, len(page["items"]) + 1))
    phases = [event["data"]["phase"] for event in page["items"] if event["type"] == "phase"]
    assert phases == ["planning", "baseline", "training", "measuring"]
    stream = api.call("GET", f"/v1/jobs/{job}/events", headers={"Accept": "text/event-stream"})
    streamed = [json.loads(line[5:]) for line in stream.text.splitlines() if line.startswith("data:")]
    assert streamed == page["items"]


def check_metrics(api: Api, job: str) -> None:
    series = api.get(f"/v1/jobs/{job}/metrics", params={"max_points": 100_000})["series"]
    plan = next(e for e in api.get(f"/v1/jobs/{job}/events")["items"] if e["type"] == "plan")["data"]["plan"]
    epoch, steps = plan["steps_per_epoch"], EPOCHS * plan["steps_per_epoch"]
    assert series["train/loss"]["step"] == list(range(1, steps + 1))
    assert series["val/accuracy"]["step"] == list(range(epoch, steps + 1, epoch))
    assert series["train/loss"]["value"][-1] < series["train/loss"]["value"][0]


def check_report(report: dict[str, Any]) -> None:
    assert report["verified"] is True
    assert report["ratios"]["parameters"] > 2
    assert report["ratios"]["macs"] > 2
    assert 0.2 < report["before"]["accuracy"] <= 1
    assert 0.2 < report["after"]["accuracy"] <= 1


def check_model_file(api: Api, job: str) -> None:
    artifacts = {each["name"]: each for each in api.get(f"/v1/jobs/{job}/artifacts")["items"]}
    assert {"model.safetensors", "model.json", "report.json", "baseline.safetensors"} <= set(artifacts)
    model = artifacts["model.safetensors"]
    whole = api.call("GET", model["url"]).content
    assert hashlib.sha256(whole).hexdigest() == model["sha256"]
    part = api.call("GET", model["url"], headers={"Range": "bytes=100-199"})
    assert part.status_code == httpx.codes.PARTIAL_CONTENT
    assert part.content == whole[100:200]


def test_the_command_line_follows_a_job_and_fetches_its_model(place: Place, tmp_path: Any) -> None:
    path = tmp_path / "spec.json"
    path.write_text(json.dumps(spec(1)))
    followed = place.command("submit", str(path), "--follow")
    assert followed.returncode == Exit.SUCCEEDED, followed.stderr
    lines = followed.stdout.splitlines()
    assert "training" in lines
    assert any(line.startswith("training epoch 1/1  train/loss ") for line in lines)
    job = lines[-1].split()[0]
    assert lines[-1].startswith(f"{job} succeeded in ")

    fetched = place.command("artifacts", job, "--all", "--to", str(tmp_path / "model"), "--json", check=True)
    assert str(tmp_path / "model" / "model.safetensors") in json.loads(fetched.stdout)
    assert json.loads(place.command("show", job, "--json", check=True).stdout)["state"] == "succeeded"
    assert "val/accuracy" in place.command("metrics", job, check=True).stdout
    assert "parameters" in place.command("report", job, check=True).stdout
    logs = place.command("logs", job, "--json", check=True).stdout.splitlines()
    assert {json.loads(line)["rank"] for line in logs} >= {0, 1}
    assert place.command("logs", job, "--follow", "--json", check=True).stdout.splitlines() == logs
    assert place.command("delete", job, "--json", check=True).returncode == 0
    assert place.command("show", job).returncode == Exit.REFUSED


def test_a_refused_spec_is_shown_with_its_pointers(place: Place) -> None:
    wrong = spec(1, training={"epochs": 1, "batch_size": 63})
    (place.home / "wrong.json").write_text(json.dumps(wrong))
    done = place.command("submit", str(place.home / "wrong.json"))
    assert done.returncode == Exit.REFUSED
    assert done.stdout == ""
    assert "/training/batch_size: " in done.stderr


def test_a_job_that_cannot_succeed_fails_with_its_reason(api: Api, place: Place) -> None:
    job = api.submit(spec(1, compression=[{"kind": "activation_compression", "ratio": 2, "layers": ["nothing.*"]}]))
    watched = place.command("watch", job)
    assert watched.returncode == Exit.FAILED
    assert "bad_spec" in watched.stderr
    assert "/compression/0" in watched.stderr


def test_jobs_are_cancelled_while_queued_and_while_running(api: Api, place: Place) -> None:
    running = api.submit(spec(500))
    api.job_when(running, lambda job: job["phase"] == "training")
    waiting = api.submit(spec(500))
    pending = api.job_when(waiting, lambda job: bool(job["pending"]))["pending"]
    assert pending["reason"] == "waiting_for_gpus"

    assert api.call("POST", f"/v1/jobs/{waiting}/cancel").json()["state"] == "cancelled"

    assert running_for(place, running)
    assert api.call("POST", f"/v1/jobs/{running}/cancel").status_code == httpx.codes.ACCEPTED
    assert api.final(running)["state"] == "cancelled"
    # It is cancelled only when its processes are gone and its devices free: no waiting here, but for the supervisor's
    # own last breath after it said so.
    assert not [line for line in running_for(place, running).values() if "worker.training" in line]
    assert all_devices_are_free(api)
    wait_for(lambda: not running_for(place, running), 10)
    assert place.command("watch", running).returncode == Exit.CANCELLED
    assert api.call("POST", f"/v1/jobs/{running}/cancel").status_code == httpx.codes.OK


def test_a_job_whose_supervisor_is_killed_goes_on_from_its_checkpoint(api: Api, place: Place) -> None:
    job = api.submit(spec(20))
    api.job_with_checkpoint(job)
    (supervisor,) = [pid for pid, line in running_for(place, job).items() if "worker.supervisor" in line]
    os.kill(supervisor, signal.SIGKILL)

    done = api.final(job)

    assert done["state"] == "succeeded", done["failure"]
    attempts = api.get(f"/v1/jobs/{job}/attempts")["items"]
    assert [attempt["state"] for attempt in attempts][-1] == "succeeded"
    assert len(attempts) >= 2
    saved = api.get(f"/v1/jobs/{job}/checkpoints")["items"]
    first_of_second = min(point["step"] for point in saved if point["attempt"] == attempts[-1]["attempt"])
    assert first_of_second > min(point["step"] for point in saved if point["attempt"] == 1)
    wait_for(lambda: not running_for(place, job), 10)
