"""The worker's door over HTTP."""

import json
import threading
import time

import pytest

TOKEN = {"Authorization": "Bearer token-of-the-tests"}
JSON = {"Content-Type": "application/json"}
REPORT_SIDE = {"parameters": 1, "macs": 1, "file_bytes": 1, "latency": []}


def attempt(work, what):
    return f"jobs/{work['job']}/attempts/{work['attempt']}/{what}"


@pytest.mark.parametrize("headers", [
    {}, {"Authorization": "Bearer wrong"}, {"Authorization": "Bearer "}, {"Authorization": "token-of-the-tests"},
    {"Authorization": "Basic token-of-the-tests"}, {"Authorization": "Bearer \xe4".encode("latin-1")},
])  # fmt: skip
def test_only_a_worker_with_the_token_comes_in(client, headers):
    answer = client.post("/internal/v1/claims", json={"id": "w", "host": "h", "devices": []}, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_claim_that_gets_nothing_hears_when_a_job_between_attempts_is_due(worker, running):
    idle = {"id": "w2", "host": "h", "devices": []}
    assert "Retry-After" not in worker.post("claims", idle).headers
    _, work = running
    end = {"outcome": "failed", "failure": {"code": "crashed", "message": "killed"}}
    worker.post(attempt(work, "finish"), {"token": work["token"], **end})
    nothing = worker.post("claims", idle)
    assert (nothing.status_code, nothing.headers["Retry-After"]) == (204, "1")


def test_the_door_is_not_in_the_public_document(client):
    paths = client.get("/openapi.json").json()["paths"]
    assert len(paths) > 10
    assert not [path for path in paths if "internal" in path]


def test_a_claim_answers_work_or_204(worker, submit):
    assert worker.claim() is None
    job = submit()
    work = worker.claim()
    assert (work["type"], work["job"], work["attempt"], work["lease_s"]) == ("job", job["id"], 1, 60)
    assert work["order"]["spec"]["model"]["name"] == "resnet10t"


def test_a_job_goes_through_the_door_to_its_end(client, worker, running):
    job, work = running
    assert client.get(f"/v1/jobs/{job}").json()["state"] == "running"
    assert worker.post(attempt(work, "heartbeat"), {"token": work["token"]}).json() == {"stop": None}
    worker.metrics(work, 1, 3, "NaN")
    report = {
        "before": REPORT_SIDE, "after": REPORT_SIDE, "verified": True,
        "ratios": {"parameters": 1, "macs": 1, "file_bytes": 1, "latency_p50": 1},
        "machine": {"host": "h", "device": "cpu", "processor": "p", "threads": 1, "torch": "2"},
    }  # fmt: skip
    assert worker.finish(work, "succeeded", report=report) == {"state": "succeeded"}
    assert worker.finish(work, "succeeded", report=report) == {"state": "succeeded"}


@pytest.mark.parametrize("what", ["start", "heartbeat", "wish?wait_s=0", "reports", "finish"])
def test_another_token_is_fenced_with_410(worker, running, what):
    _, work = running
    body = {"token": "forged", "events": [], "outcome": "released"}
    answer = worker.post(attempt(work, what), body)
    assert answer.status_code == 410
    assert answer.json()["type"].endswith("fenced")


def test_a_gap_in_a_report_is_409(worker, running):
    _, work = running
    event = {"type": "phase", "seq": 9, "time": "2026-11-21T10:00:00Z", "phase": "training"}
    assert worker.post(attempt(work, "reports"), {"token": work["token"], "events": [event]}).status_code == 409


def test_a_wish_answers_as_soon_as_a_stop_is_wished(client, worker, running):
    job, work = running
    answers = []

    def ask():
        answers.append(worker.post(attempt(work, "wish") + "?wait_s=50", {"token": work["token"]}))

    thread = threading.Thread(target=ask)
    begun = time.monotonic()
    thread.start()
    client.post(f"/v1/jobs/{job}/cancel")
    thread.join(30)
    assert [answer.json() for answer in answers] == [{"stop": "cancel"}]
    assert time.monotonic() - begun < 50, "it did not wait to the end"


def test_without_a_wish_the_answer_comes_when_the_time_is_over(worker, running):
    _, work = running
    assert worker.post(attempt(work, "wish") + "?wait_s=0.1", {"token": work["token"]}).json() == {"stop": None}


def test_a_task_goes_through_the_door(client, worker, spec):
    assert client.post("/v1/jobs?dry_run=true", json=spec).status_code == 503
    work = worker.claim()
    assert work["type"] == "task"
    assert worker.post(f"tasks/{work['task']}/heartbeat", {"token": work["token"]}).status_code == 204
    assert worker.post(f"tasks/{work['task']}/heartbeat", {"token": "forged"}).status_code == 410
    worker.finish_task(work, failure={"code": "bad_spec", "message": "No."})
    worker.finish_task(work, failure={"code": "bad_spec", "message": "No."})


def test_unknown_fields_of_a_newer_worker_are_ignored(worker):
    body = {"id": "w", "host": "h", "devices": [], "news": 1}
    assert worker.post("claims", body).status_code == 204


def test_text_and_numbers_that_no_database_holds_do_not_break_the_door(client, worker, running):
    def post(path, body):  # the client's own `json=` cannot write a surrogate
        return client.post(f"/internal/v1/{path}", content=json.dumps(body), headers={**TOKEN, **JSON})

    job, work = running
    data = {"text": "\ud800", "number": 10**30}
    note = {"seq": 1, "time": "2026-01-01T00:00:00Z", "type": "note", "level": "info", "code": "x", "message": "m"}
    answer = post(attempt(work, "reports"), {"token": work["token"], "events": [{**note, "data": data}]})
    assert answer.json()["acknowledged"] == 1
    stored = client.get(f"/v1/jobs/{job}/events").json()["items"][-1]["data"]["data"]
    assert stored == {"text": "\\ud800", "number": str(10**30)}
    assert post(attempt(work, "heartbeat"), {"token": "\ud800"}).status_code == 422
    assert post(f"jobs/{job}/attempts/{10**30}/heartbeat", {"token": work["token"]}).status_code == 422


ODD = "a\ud800b\0c"
SHOWN = "a\\ud800b\\x00c"


def send(client, path, body):
    """As a worker does whose text was not looked at: escapes that decode to what no database holds."""
    return client.post(f"/internal/v1/{path}", content=json.dumps(body), headers=TOKEN | JSON)


def test_odd_text_of_workers_is_shown_as_text_everywhere(client, submit):
    job = submit()["id"]
    device = {"index": 0, "kind": "cpu", "name": ODD, "memory_bytes": 1}
    info = {"id": "w1", "host": ODD, "devices": [device], "versions": {ODD: ODD}}
    work = send(client, "claims", info).json()
    (worker,) = client.get("/v1/workers").json()["items"]
    assert (worker["host"], worker["devices"][0]["name"], worker["versions"]) == (SHOWN, SHOWN, {SHOWN: SHOWN})
    note = {"type": "note", "seq": 1, "time": "2026-11-21T10:00:00Z", "level": "info", "code": "x", "message": ODD}
    token = {"token": work["token"]}
    assert send(client, attempt(work, "start"), token).status_code == 204
    assert (
        send(client, attempt(work, "reports"), token | {"events": [note | {"data": {ODD: [ODD]}}]}).status_code == 200
    )
    told = {"code": "diverged", "message": ODD, "hint": ODD, "errors": [{"pointer": ODD, "detail": ODD, "code": ODD}]}
    assert send(client, attempt(work, "finish"), token | {"outcome": "failed", "failure": told}).status_code == 200
    assert client.get(f"/v1/jobs/{job}").json()["failure"]["message"] == SHOWN
    noted = [each["data"] for each in client.get(f"/v1/jobs/{job}/events").json()["items"] if each["type"] == "note"]
    assert [(each["message"], each["data"]) for each in noted] == [(SHOWN, {SHOWN: [SHOWN]})]
    assert client.get(f"/v1/jobs/{job}/attempts").status_code == 200


@pytest.mark.parametrize("media_type", [ODD, "text/html\r\nX-Evil: 1", "x" * 300])
def test_a_media_type_that_could_be_no_header_is_refused(client, running, media_type):
    job, work = running
    artifact = {"name": "a", "path": "a", "size_bytes": 1, "sha256": "a" * 64, "media_type": media_type}
    body = {"token": work["token"], "outcome": "succeeded", "report": None, "artifacts": [artifact]}
    assert send(client, attempt(work, "finish"), body).status_code == 422
    assert client.get(f"/v1/jobs/{job}").json()["state"] == "running"


SAVED = {"type": "checkpoint", "phase": "training", "epoch": 1, "step": 1, "path": "a", "size_bytes": 1}
SAVED["sha256"] = "a" * 64


@pytest.mark.parametrize("event", [
    {"type": "metrics", "step": 2**70, "values": {"train/loss": 1}}, SAVED | {"size_bytes": 2**70},
    SAVED | {"epoch": 2**40}, SAVED | {"step": -1},
])  # fmt: skip
def test_numbers_of_workers_that_fit_no_column_are_refused(client, running, event):
    _, work = running
    line = {"seq": 1, "time": "2026-11-21T10:00:00Z", **event}
    assert send(client, attempt(work, "reports"), {"token": work["token"], "events": [line]}).status_code == 422
