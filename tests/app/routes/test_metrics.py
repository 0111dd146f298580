"""Metrics over HTTP: charts, new points, and values that JSON cannot say."""

import pytest


def series(answer, name="train/loss"):
    assert answer.status_code == 200, answer.text
    return answer.json()["series"][name]


def test_a_chart_has_every_point_or_exact_buckets(client, running, worker):
    job, work = running
    worker.metrics(work, 1, 40)
    path = f"/v1/jobs/{job}/metrics"
    assert series(client.get(path))["step"] == list(range(1, 41))
    buckets = series(client.get(path, params={"max_points": 4}))
    assert 1 <= len(buckets["step"]) <= 4
    assert set(buckets) == {"step", "time", "value", "min", "max"}
    assert series(client.get(path, params={"x_from": 10, "x_to": 12}))["step"] == [10, 11, 12]


def test_only_what_is_new_comes_after_a_cursor(client, running, worker):
    job, work = running
    worker.metrics(work, 1, 3)
    path = f"/v1/jobs/{job}/metrics"
    cursor = client.get(path).json()["cursor"]
    worker.metrics(work, 4, 9)
    page = client.get(path, params={"after": cursor, "limit": 4})
    assert series(page)["step"] == [4, 5, 6, 7]
    rest = client.get(path, params={"after": page.json()["cursor"]})
    assert series(rest)["step"] == [8, 9]


def test_values_that_are_not_finite_are_strings(client, running, worker):
    job, work = running
    for step, value in ((1, "NaN"), (2, "Infinity"), (3, "-Infinity")):
        worker.metrics(work, step, step, value)
    assert series(client.get(f"/v1/jobs/{job}/metrics"))["value"] == ["NaN", "Infinity", "-Infinity"]
    assert client.get(f"/v1/jobs/{job}").json()["latest_metrics"] == {"train/loss": "-Infinity"}
    assert client.get("/v1/jobs").json()["items"][0]["latest_metrics"] == {"train/loss": "-Infinity"}


def test_names_choose_and_an_unknown_one_is_left_out(client, running, worker):
    job, work = running
    worker.report(work, {"type": "metrics", "step": 1, "values": {"train/loss": 1.0, "val/loss": 2.0}})
    answer = client.get(f"/v1/jobs/{job}/metrics", params={"names": ["val/loss", "val/x"]})
    assert {name for name, found in answer.json()["series"].items() if found["step"]} == {"val/loss"}


@pytest.mark.parametrize(
    "query",
    [
        "max_points=0",
        "max_points=100001",
        "after=x",
        "limit=5",
        "after=MA&max_points=3",
        "x_from=-1",
        "x_from=1e9",
        "name=a",
        "names=",
        "names=train/loss,val/loss",
    ],
)
def test_what_cannot_be_meant_is_refused(client, submit, query):
    assert client.get(f"/v1/jobs/{submit()['id']}/metrics?{query}").status_code == 422
