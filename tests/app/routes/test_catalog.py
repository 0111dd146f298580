"""The catalog over HTTP."""

import json


def test_the_catalog_and_the_schema_are_cached_by_tag(client):
    for path in ("/v1/catalog", "/v1/schemas/job"):
        answer = client.get(path)
        assert answer.status_code == 200
        assert client.get(path, headers={"If-None-Match": answer.headers["etag"]}).status_code == 304


def test_the_schema_says_what_it_is(client):
    answer = client.get("/v1/schemas/job")
    assert answer.headers["content-type"] == "application/schema+json"
    schema = json.loads(answer.content)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"] == "/v1/schemas/job"
    assert schema["examples"]


def test_names_of_models_are_searched(client):
    found = client.get("/v1/catalog/models", params={"search": "resnet10", "limit": 2}).json()
    assert found["items"] == ["resnet101", "resnet10t"]
    assert found["total"] > 2
    assert client.get("/v1/catalog/models?limit=2000").json()["total"] > 1000
    assert client.get("/v1/catalog/models?search=nothing-like-it").json() == {"items": [], "total": 0}


def test_workers_are_listed(client, worker):
    assert client.get("/v1/workers").json() == {"items": []}
    worker.claim(slots=2)
    (found,) = client.get("/v1/workers").json()["items"]
    assert (found["id"], found["state"], [device["index"] for device in found["devices"]]) == ("w1", "alive", [0, 1])
