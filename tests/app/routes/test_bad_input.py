"""What a client can get wrong is always a problem document, never a 500, and stores nothing."""

import base64
from concurrent.futures import ThreadPoolExecutor

import pytest

JSON = {"Content-Type": "application/json"}


def refused(client, status, **request):
    answer = client.post("/v1/jobs", **request)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status
    assert client.get("/v1/jobs").json()["items"] == []
    return answer.json()


@pytest.mark.parametrize(
    "body",
    [b"{", b"NaN", b'{"priority": NaN}', b'{"priority": 1e999}', b'{"name":"a","name":"b"}', b"\xff\xfe", b"[" * 50_000,
     b'{"a":' * 40 + b"1" + b"}" * 40, b'{"priority": ' + b"9" * 5000 + b"}"],
)  # fmt: skip
def test_what_is_not_json_is_400(client, body):
    problem = refused(client, 400, content=body, headers=JSON)
    assert problem["type"] == "urn:trainyard:problem:bad-request"


@pytest.mark.parametrize(
    "content_type",
    [None, "text/plain", "application/xml", "multipart/form-data", "application/json; charset=latin-1", "x"],
)
def test_another_media_type_is_415(client, content_type):
    headers = {"Content-Type": content_type} if content_type else {}
    problem = refused(client, 415, content=b"{}", headers=headers)
    assert "application/json" in problem["detail"]


def test_no_body_at_all_is_422(client):
    problem = refused(client, 422)
    assert problem["errors"] == [{"pointer": "", "detail": "This request needs a JSON body.", "code": "missing"}]


@pytest.mark.parametrize("value", [b"null", b"[]", b'"x"', b"3", b"true"])
def test_a_value_that_is_no_object_is_422(client, value):
    assert refused(client, 422, content=value, headers=JSON)["errors"][0]["pointer"] == ""


@pytest.mark.parametrize(
    ("text", "code"), [(rb"\ud800", "lone_surrogate"), (rb"\u0000", "nul_character"), (rb"a\udfffb", "lone_surrogate")]
)
def test_text_that_no_database_holds_is_422_wherever_it_stands(client, text, code):
    for body, pointer in (
        (b'{"labels": {"a": "%s"}}' % text, "/labels/a"),
        (b'{"name": "%s"}' % text, "/name"),
        (b'{"model": {"name": ["%s"]}}' % text, "/model/name/0"),
    ):
        errors = refused(client, 422, content=body, headers=JSON)["errors"]
        assert [(error["pointer"], error["code"]) for error in errors] == [(pointer, code)]
    key = refused(client, 422, content=b'{"labels": {"%s": "x"}}' % text, headers=JSON)["errors"]
    assert [error["code"] for error in key] == [code]


def test_names_of_ten_thousand_characters_are_422(client, spec):
    for name in ("x" * 10_000, "😀" * 10_000):
        assert refused(client, 422, json=spec | {"name": name})["errors"][0]["pointer"] == "/name"
        assert refused(client, 422, json=spec | {"labels": {"a": name}})["errors"][0]["pointer"] == "/labels/a"
        assert refused(client, 422, json=spec | {"model": {"kind": "timm", "name": name}})["errors"]


def test_unicode_in_names_and_labels_comes_back_as_it_was(client, spec):
    name = "Ünïcödé 模型 😀 \u202e \u2028"
    job = client.post("/v1/jobs", json=spec | {"name": name, "labels": {"a": name}}).json()
    found = client.get(f"/v1/jobs/{job['id']}").json()
    assert (found["name"], found["labels"]["a"]) == (name, name)
    assert client.get("/v1/jobs", params={"label.a": name}).json()["items"][0]["id"] == job["id"]


def test_numbers_that_fit_no_column_are_422(client, spec):
    for number in (2**31, 2**63, 10**300):
        assert refused(client, 422, json=spec | {"priority": number})["errors"][0]["pointer"] == "/priority"
    huge = {"optimizer": {"kind": "sgd", "learning_rate": 10**400}}
    assert refused(client, 422, json=spec | {"training": huge})["errors"]


def test_wrong_types_are_422_at_each_place(client):
    body = {
        "dataset": [],
        "model": {"kind": "timm", "name": 3},
        "augment": {},
        "priority": "1",
        "training": {"epochs": 1.5},
    }
    errors = {error["pointer"] for error in refused(client, 422, json=body)["errors"]}
    assert errors == {"/dataset", "/model/name", "/augment", "/priority", "/training/epochs"}


def test_a_body_of_ten_megabytes_is_413_whether_its_length_is_declared_or_not(client):
    body = b'{"name": "' + b"x" * 10_000_000 + b'"}'
    declared = refused(client, 413, content=body, headers=JSON)
    assert "1048576" in declared["detail"]
    chunks = (body[start : start + 65_536] for start in range(0, len(body), 65_536))
    assert refused(client, 413, content=chunks, headers=JSON)["type"] == "urn:trainyard:problem:payload-too-large"


def test_a_large_body_is_413_also_where_none_is_taken(client):
    assert client.post("/v1/jobs/job_1/cancel", content=b"x" * 2_000_000).status_code == 413
    assert client.post("/nowhere", content=b"x" * 2_000_000).status_code == 413


def test_the_limit_is_a_setting(make_app, as_client, spec):
    client = as_client(make_app(max_body_bytes=1024))
    assert client.post("/v1/jobs", json=spec).status_code == 201
    assert client.post("/v1/jobs", json=spec | {"name": "x" * 1024}).status_code == 413


def test_paths_and_methods_that_are_not_there_are_problems(client):
    for method, path, status in (
        ("GET", "/v1/nothing", 404),
        ("GET", "/v1/jobs/", 404),
        ("PUT", "/v1/jobs", 405),
        ("GET", "/v1/jobs/../../etc/passwd", 404),
        ("GET", "/%ff%fe", 404),
        ("POST", "/v1/jobs/job_1/pause", 404),
        ("GET", "/docs", 404),
    ):
        answer = client.request(method, path)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), path
    assert client.put("/v1/jobs").headers["allow"] == "GET, HEAD, POST"
    assert client.post("/v1/jobs/job_1").headers["allow"] == "GET, HEAD, PATCH, DELETE"
    assert client.get("/v1/jobs/job_1/cancel").headers["allow"] == "POST"


def _flips(cursor):
    """The cursor with each of its characters changed, and, where it is base64, with each of its bits flipped."""
    yield from (cursor[:place] + other + cursor[place + 1 :] for place in range(len(cursor)) for other in "0_%é")
    yield from (cursor[:-1], cursor + "A", cursor * 2, cursor[::-1], "")
    raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)) if not cursor.isdigit() else b""
    for bit in range(len(raw) * 8):
        flipped = bytearray(raw)
        flipped[bit // 8] ^= 1 << bit % 8
        yield base64.urlsafe_b64encode(flipped).decode().rstrip("=")


def test_a_cursor_that_was_tampered_with_is_refused_or_a_place_never_a_500(client, submit):
    for number in range(3):
        job = submit(name=str(number))["id"]
    given = {
        ("/v1/jobs", "cursor"): client.get("/v1/jobs?limit=1").json()["next_cursor"],
        ("/v1/events", "after"): client.get("/v1/events?limit=1").json()["cursor"],
        (f"/v1/jobs/{job}/events", "after"): client.get(f"/v1/jobs/{job}/events").json()["cursor"],
        (f"/v1/jobs/{job}/metrics", "after"): client.get(f"/v1/jobs/{job}/metrics").json()["cursor"],
    }
    for (path, parameter), cursor in given.items():
        statuses = {client.get(path, params={parameter: each}).status_code for each in _flips(cursor)}
        assert 422 in statuses
        assert statuses <= {200, 422}, path


HEADERS = {
    "If-None-Match": ["x", '"', "W/", '"a", W/"b", *', "*" * 1000, '"' * 999, "\xff"],
    "If-Match": ["x", '"', '"-1"', '"99999999999999999999"', 'W/"1"', "\xff"],
    "Prefer": ["wait", "wait=", "wait=-1", "wait=1e9x", "wait=999999999999", "wait=0, wait=0", ";;;,=", "\xff"],
    "Accept": ["", "x", "*/*;q=nan", "text/event-stream;q=0", "application/json;q=1e999", ",;,", "\xff"],
    "Last-Event-ID": ["-1", "1:2:3", "\xff", "x" * 3000, "1" * 400],
    "Range": [
        "bytes=0-",
        "bytes=-",
        "bytes=9" * 99,
        "bytes=1-0",
        "bytes=--1",
        "lines=1-2",
        "bytes=0-0,0-0,0-0",
        "\xff",
    ],
    "If-Range": ["x", "\xff"],
}


@pytest.mark.parametrize("name", HEADERS)
def test_headers_that_mean_nothing_are_ignored_or_refused_never_a_500(client, submit, name):
    job = f"/v1/jobs/{submit()['id']}"
    for value in HEADERS[name]:
        headers = {name: value.encode("latin-1")}
        for path in ("/v1/jobs", job, f"{job}/logs", f"{job}/artifacts/x", "/v1/catalog"):
            assert client.get(path, headers=headers).status_code < 500, (path, value)
        assert client.patch(job, json={"priority": 1}, headers=headers).status_code in (200, 412, 422), value


def test_a_hundred_conflicting_requests_on_one_job_leave_one_end(client, submit):
    job = f"/v1/jobs/{submit()['id']}"
    calls = [
        lambda: client.patch(job, json={"priority": 5, "labels": {"a": "b"}}),
        lambda: client.patch(job, json={"labels": {"a": None}}, headers={"If-Match": '"1"'}),
        lambda: client.post(f"{job}/cancel"),
        lambda: client.delete(job),
    ]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda number: calls[number % 4](), range(100)))
    assert {answer.status_code for answer in answers} <= {200, 202, 204, 404, 409, 412}
    assert sum(answer.status_code == 204 for answer in answers) <= 1
    client.post(f"{job}/cancel")
    client.delete(job)
    assert client.get(job).status_code == 404
    assert client.get("/v1/jobs").json()["items"] == []
