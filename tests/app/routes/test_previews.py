"""Previews over HTTP: a worker makes them, the answer waits for it, and `Accept` says what it is."""

import hashlib
import threading
import time

import pytest

from app.contract.previews import PreviewSpec
from app.routes import examples
from app.services import previews

REQUEST = PreviewSpec.examples[0]
GRID, DOCUMENT = b"\x89PNG of a grid", b'{"images": []}'
PNG = {"Accept": "image/png"}
URL = "/v1/previews"


def stored(settings, task, content):
    """A file as the worker's program leaves it."""
    folder = settings.storage_dir / "tasks" / task
    folder.mkdir(parents=True, exist_ok=True)
    sha256 = hashlib.sha256(content).hexdigest()
    (folder / sha256).write_bytes(content)
    return {"sha256": sha256, "size_bytes": len(content)}


@pytest.fixture
def make(worker, settings):
    """Do the next task, which must be a preview, as a worker does."""

    def finish(task=None):
        work = task or worker.claim()
        assert work["order"]["kind"] == "preview"
        assert work["order"]["order"]["paths"]["run_dir"] == str(settings.storage_dir / "tasks" / work["task"])
        grid, document = (stored(settings, work["task"], content) for content in (GRID, DOCUMENT))
        worker.finish_task(work, result={"grid": grid, "document": document})
        return work

    return finish


def problem(answer, status):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.json()


def test_without_a_worker_it_is_503_with_the_reason(client):
    answer = client.post(URL, json=REQUEST)
    assert "No worker" in problem(answer, 503)["detail"]
    assert int(answer.headers["retry-after"]) >= 1
    assert client.get("/v1/jobs").json()["items"] == []


def test_it_is_answered_as_soon_as_a_worker_has_made_it(make_app, as_client, hands, settings):
    client = as_client(make_app(dry_run_wait_s=60))
    worker, answers = hands(client), []
    thread = threading.Thread(target=lambda: answers.append(client.post(URL, json=REQUEST, headers=PNG)))
    thread.start()
    while (task := worker.claim()) is None:
        time.sleep(0.02)
    result = {"grid": stored(settings, task["task"], GRID), "document": stored(settings, task["task"], DOCUMENT)}
    worker.finish_task(task, result=result)
    thread.join()
    assert (answers[0].status_code, answers[0].content) == (200, GRID)


def test_what_is_answered_is_what_accept_asks_for(client, make):
    client.post(URL, json=REQUEST)
    make()
    for accept, media_type, content in (
        ("image/png", "image/png", GRID),
        ("*/*", "application/json", DOCUMENT),
        ("image/*, application/json;q=0.5", "image/png", GRID),
    ):
        answer = client.post(URL, json=REQUEST, headers={"Accept": accept})
        assert (answer.headers["content-type"], answer.content) == (media_type, content)
        assert answer.headers["vary"] == "Accept"


def test_another_media_type_is_406_and_asks_nobody(client, worker):
    refused = problem(client.post(URL, json=REQUEST, headers={"Accept": "image/jpeg"}), 406)
    assert refused["type"] == "urn:trainyard:problem:not-acceptable"
    assert "image/png" in refused["detail"]
    assert worker.claim() is None


def test_the_worker_is_told_the_job_whose_images_these_are(client, worker):
    client.post(URL, json=REQUEST)
    order = worker.claim()["order"]
    assert (order["count"], order["epochs"], order["order"]["spec"]["training"]["seed"]) == (8, 3, 7)
    assert [each["kind"] for each in order["order"]["spec"]["augment"]] == ["random_crop", "random_rotate", "normalize"]
    assert order["order"]["spec"]["evaluation"] == [{"kind": "resize", "size": [32, 32], "fit": "cover"}]


def test_the_same_request_is_made_once_and_another_one_apart(client, worker, make):
    for _ in range(2):
        client.post(URL, json=REQUEST)
    spelled_out = PreviewSpec.model_validate(REQUEST).resolved().model_dump(mode="json")
    client.post(URL, json=spelled_out)
    task = worker.claim()
    assert worker.claim() is None
    assert "goes on" in client.post(URL, json=REQUEST).json()["detail"]
    make(task)
    assert client.post(URL, json=spelled_out).status_code == 200
    client.post(URL, json=REQUEST | {"seed": 8})
    assert worker.claim() is not None


def test_a_preview_is_made_again_after_a_while_and_when_its_files_are_gone(client, worker, make, settings, pass_time):
    client.post(URL, json=REQUEST)
    first = make()
    (settings.storage_dir / "tasks" / first["task"] / hashlib.sha256(GRID).hexdigest()).unlink()
    assert client.post(URL, json=REQUEST).status_code == 503
    make()
    assert client.post(URL, json=REQUEST).status_code == 200
    pass_time(150)
    assert client.post(URL, json=REQUEST).status_code == 503
    make()
    assert client.post(URL, json=REQUEST).status_code == 200


def test_a_damaged_file_is_not_answered(client, make, settings):
    client.post(URL, json=REQUEST)
    path = settings.storage_dir / "tasks" / make()["task"] / hashlib.sha256(GRID).hexdigest()
    path.write_bytes(GRID[::-1])
    assert "damaged" in problem(client.post(URL, json=REQUEST, headers=PNG), 503)["detail"]
    assert client.post(URL, json=REQUEST).content == DOCUMENT


@pytest.mark.parametrize("sha256", ["../../../../etc/passwd", "A" * 64, "a" * 63, "", "/" * 64])
def test_a_worker_cannot_name_a_file_of_another_place(client, worker, sha256):
    client.post(URL, json=REQUEST)
    work = worker.claim()
    file = {"sha256": sha256, "size_bytes": 1}
    answer = worker.post(f"tasks/{work['task']}/finish", {"token": work["token"], "result": {"grid": file, "document": file}})  # fmt: skip  # noqa: E501
    assert answer.status_code == 422


def test_what_the_data_refuse_is_422_at_the_data_set(client, worker):
    client.post(URL, json=REQUEST)
    failure = {"code": "bad_dataset", "message": "3 of 9 files cannot be used: a.png is empty."}
    worker.finish_task(worker.claim(), failure=failure)
    refused = problem(client.post(URL, json=REQUEST), 422)
    assert refused["errors"] == [{"pointer": "/dataset", "code": "bad_dataset", "detail": failure["message"]}]


def test_a_preview_that_failed_by_itself_is_503_and_tried_again(client, worker, make):
    client.post(URL, json=REQUEST)
    worker.finish_task(worker.claim(), failure={"code": "crashed", "message": "It died."})
    client.post(URL, json=REQUEST)
    make()
    assert client.post(URL, json=REQUEST).status_code == 200


@pytest.mark.parametrize(
    ("change", "pointer", "code"),
    [
        ({"count": 0}, "/count", "greater_than_equal"),
        ({"count": 10**9}, "/count", "less_than_equal"),
        ({"count": 64, "augment": [{"kind": "resize", "size": [1024, 1024]}]}, "/count", "too_many_pixels"),
        ({"cuont": 1}, "/cuont", "extra_forbidden"),
        ({"model": {"kind": "timm", "name": "resnet10t"}}, "/model", "extra_forbidden"),
        ({"augment": [{"kind": "random_flip", "probability": 2}]}, "/augment/0/probability", "less_than_equal"),
        ({"augment": [{"kind": "normalize"}, {"kind": "grayscale"}]}, "/augment/1", "after_normalize"),
        ({"augment": [{"kind": "random_flip"}] * 5000}, "/augment", "too_long"),
        ({"augment": [{"kind": "unheard_of"}]}, "/augment/0/kind", "union_tag_invalid"),
        ({"dataset": {"kind": "folder", "path": "/etc"}}, "/dataset/path", "outside_roots"),
        ({"dataset": {"kind": "folder", "path": "../.."}}, "/dataset/path", "outside_roots"),
        ({"dataset": {"kind": "registered", "id": "ds_0"}}, "/dataset/id", "unknown_dataset"),
    ],
)
def test_what_cannot_be_is_refused_at_its_place_and_asks_nobody(client, worker, change, pointer, code):
    refused = problem(client.post(URL, json=REQUEST | change), 422)
    assert [(each["pointer"], each["code"]) for each in refused["errors"]] == [(pointer, code)]
    assert worker.claim() is None


def test_not_a_number_is_no_json(client):
    body = b'{"dataset": {"kind": "builtin", "name": "digits"}, "count": NaN}'
    problem(client.post(URL, content=body, headers={"Content-Type": "application/json"}), 400)


def test_a_data_set_that_is_being_imported_is_refused_with_its_state(client, worker, settings):
    for name in ("cats", "dogs"):
        (settings.roots[0] / "pets" / name).mkdir(parents=True)
        (settings.roots[0] / "pets" / name / "1.png").touch()
    dataset = client.post("/v1/datasets", json=examples.DATASET_SPEC | {"source": {"path": "pets"}}).json()["id"]
    body = REQUEST | {"dataset": {"kind": "registered", "id": dataset}}
    refused = problem(client.post(URL, json=body), 422)["errors"][0]
    assert (refused["pointer"], refused["code"]) == ("/dataset/id", "dataset_not_ready")
    assert "importing" in refused["detail"]


def test_more_than_a_worker_will_ever_get_to_are_refused(client, worker, monkeypatch):
    monkeypatch.setattr(previews, "MOST_WAITING", 2)
    for seed in range(2):
        assert "No worker" in problem(client.post(URL, json=REQUEST | {"seed": seed}), 503)["detail"]
    refused = client.post(URL, json=REQUEST | {"seed": 3})
    assert "Too many previews" in problem(refused, 503)["detail"]
    assert refused.headers["retry-after"] == "30"
    assert "No worker" in client.post(URL, json=REQUEST | {"seed": 1}).json()["detail"]
    assert [worker.claim(task_slots=9) is not None for _ in range(3)] == [True, True, False]
