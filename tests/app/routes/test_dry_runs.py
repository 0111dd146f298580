"""Dry runs over HTTP: a worker plans, and the answer waits for it."""

import threading
import time

from app.routes import examples


def unavailable(answer):
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:trainyard:problem:service-unavailable")
    assert int(answer.headers["retry-after"]) > 0
    return answer.json()["detail"]


def test_without_a_worker_it_is_503_with_the_reason_and_stores_no_job(client, spec):
    answer = client.post("/v1/jobs?dry_run=true", json=spec)
    assert "worker" in unavailable(answer)
    assert client.get("/v1/jobs").json()["items"] == []


def test_the_plan_of_a_worker_is_the_answer(make_app, as_client, worker, spec):
    client = as_client(make_app(dry_run_wait_s=30))
    answer = in_the_meantime(client, spec, lambda task: worker.finish_task(task, result=examples.PLAN), worker)
    assert answer.status_code == 200
    assert answer.json()["plan"]["steps_per_epoch"] == 22
    assert answer.json()["spec"]["training"]["epochs"] == 10


def test_a_plan_warns_of_more_processes_than_any_worker_has(make_app, as_client, worker, spec):
    client = as_client(make_app(dry_run_wait_s=30))
    spec = spec | {"distributed": {"kind": "ddp", "processes": 8}}
    answer = in_the_meantime(client, spec, lambda task: worker.finish_task(task, result=examples.PLAN), worker)
    (warning,) = answer.json()["plan"]["warnings"]
    assert "needs 8 devices, and no worker has more than 4" in warning


def test_a_plan_that_takes_longer_goes_on_and_is_there_when_asked_again(client, worker, spec):
    assert "No worker" in client.post("/v1/jobs?dry_run=true", json=spec).json()["detail"]
    task = worker.claim()
    slow = client.post("/v1/jobs?dry_run=true", json=spec)
    assert "goes on" in unavailable(slow)
    assert worker.claim() is None
    worker.finish_task(task, result=examples.PLAN)
    assert client.post("/v1/jobs?dry_run=true", json=spec).json()["plan"]["steps_per_epoch"] == 22


def test_a_spec_that_the_network_does_not_allow_is_422_with_pointers(make_app, as_client, worker, spec):
    client = as_client(make_app(dry_run_wait_s=30))
    errors = [{"pointer": "/compression/0", "detail": "No layer fits.", "code": "does_not_fit"}]
    failure = {"code": "bad_spec", "message": "No layer fits.", "errors": errors}
    answer = in_the_meantime(client, spec, lambda task: worker.finish_task(task, failure=failure), worker)
    assert (answer.status_code, answer.json()["errors"]) == (422, errors)


def in_the_meantime(client, spec, finish, worker):
    answers = []
    thread = threading.Thread(target=lambda: answers.append(client.post("/v1/jobs?dry_run=true", json=spec)))
    thread.start()
    deadline = time.monotonic() + 20
    while (task := worker.claim()) is None and time.monotonic() < deadline:
        time.sleep(0.02)
    finish(task)
    thread.join()
    return answers[0]
