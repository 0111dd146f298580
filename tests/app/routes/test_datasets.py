"""Data sets over HTTP."""

import pytest


@pytest.fixture
def client(make_app, as_client, tmp_path):
    folder = tmp_path / "roots" / "flowers"
    for name in ("rose", "tulip"):
        (folder / name).mkdir(parents=True)
        (folder / name / "1.png").write_bytes(b"read by a worker, not here")
    (tmp_path / "outside" / "a").mkdir(parents=True)
    (tmp_path / "outside" / "b").mkdir()
    (tmp_path / "roots" / "link").symlink_to(tmp_path / "outside")
    return as_client(make_app(dataset_roots=(tmp_path / "roots",)))


def body(path="flowers", **more):
    return {"name": "flowers", "source": {"kind": "folder", "path": path}} | more


def test_a_folder_is_registered_checked_and_forgotten(client):
    answer = client.post("/v1/datasets", json=body())
    made = answer.json()
    assert (answer.status_code, made["state"], made["facts"]) == (201, "importing", None)
    assert answer.headers["location"] == f"/v1/datasets/{made['id']}"
    assert client.get(answer.headers["location"]).json() == made
    assert client.get("/v1/datasets").json()["items"] == [made]
    assert client.delete(answer.headers["location"]).status_code == 204
    assert client.get(answer.headers["location"]).status_code == 404


@pytest.mark.parametrize("path", ["none", "../outside", "link", "/etc", "flowers/rose", "a\x01b", "x" * 999])
def test_a_folder_that_cannot_be_used_is_refused_with_its_pointer(client, path):
    answer = client.post("/v1/datasets", json=body(path))
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/source/path"]
    assert client.get("/v1/datasets").json()["items"] == []


def test_a_source_is_one_of_two(client):
    for source, pointer in (
        ({"kind": "upload", "path": "flowers"}, "/source/path"),
        ({"kind": "folder"}, "/source/path"),
        ({}, "/source/path"),
        ({"kind": "url"}, "/source/kind"),
        ([], "/source"),
    ):
        answer = client.post("/v1/datasets", json={"name": "x", "source": source})
        assert answer.status_code == 422
        assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


def test_pages_follow_one_another(client):
    made = [client.post("/v1/datasets", json=body(name=f"n{number}")).json()["id"] for number in range(3)]
    first = client.get("/v1/datasets?limit=2").json()
    rest = client.get("/v1/datasets", params={"limit": 2, "cursor": first["next_cursor"]}).json()
    assert [each["id"] for each in first["items"] + rest["items"]] == made[::-1]
    assert rest["next_cursor"] is None
