"""What operators and their machines ask."""

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text

from app.queue import Nudger


def measures(client):
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_the_process_is_alive_whatever_the_database_does(client, app):
    app.state.database.engine.dispose()
    assert client.get("/healthz").json() == {"status": "ok"}


def test_it_is_ready_with_the_tables_of_this_version(client):
    assert client.get("/readyz").json() == {"status": "ok", "database": "ok", "broker": "ok"}


def test_a_lost_broker_is_degraded_and_submits_still_work(app, client, spec):
    nudger: Nudger = app.state.nudger
    nudger.broken = True
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["status"], answer.json()["broker"]) == (200, "degraded", "down")
    assert client.post("/v1/jobs", json=spec).status_code == 201


def test_another_version_of_the_tables_is_503(app, client):
    with app.state.database.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = 'other'"))
    try:
        answer = client.get("/readyz")
        assert (answer.status_code, answer.json()["type"]) == (503, "urn:trainyard:problem:tables-missing")
    finally:
        from app.store.migrate import expected_heads

        with app.state.database.write() as session:
            session.execute(
                text("UPDATE alembic_version SET version_num = :head"), {"head": next(iter(expected_heads()))}
            )


@pytest.mark.parametrize("path", ["/readyz", "/v1/jobs", "/metrics"])
def test_a_database_that_is_away_is_said_and_is_no_500(make_app, as_client, path):
    away = as_client(make_app(database_url="postgresql://nobody@127.0.0.1:1/none"))
    assert away.get("/healthz").status_code == 200
    answer = away.get(path)
    if path == "/metrics":
        assert "trainyard_database_up 0.0" in answer.text
    else:
        assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
        assert int(answer.headers["retry-after"]) >= 1


def test_jobs_queue_and_workers_are_counted(client, submit, worker):
    submit()
    submit()
    worker.claim(slots=1)
    found = measures(client)
    assert found["trainyard_jobs", ("state", "queued")] == 1
    assert found["trainyard_jobs", ("state", "starting")] == 1
    assert found["trainyard_jobs", ("state", "failed")] == 0
    assert found[("trainyard_queue_depth",)] == 1
    assert found[("trainyard_queue_oldest_seconds",)] >= 0
    assert found[("trainyard_workers_alive",)] == 1
    assert ("trainyard_nudges_failed_total",) in found


def test_answers_are_timed_by_route_and_no_path_becomes_a_label(client):
    for number in range(20):
        client.get(f"/v1/jobs/job_{number}")
        client.get(f"/nowhere/{number}")
        client.request(f"X{number}", "/healthz")
    found = measures(client)
    labels = {key for key in found if key[0] == "trainyard_http_request_seconds_count"}
    assert labels == {
        ("trainyard_http_request_seconds_count", ("method", "GET"), ("route", "/v1/jobs/{job}"), ("status", "4xx")),
        ("trainyard_http_request_seconds_count", ("method", "GET"), ("route", "unmatched"), ("status", "4xx")),
        ("trainyard_http_request_seconds_count", ("method", "OTHER"), ("route", "/healthz"), ("status", "4xx")),
    }


def test_a_long_poll_that_waited_is_no_slow_answer(client, submit):
    path = f"/v1/jobs/{submit()['id']}"
    before = measures(client).get(_count("/v1/jobs/{job}"), 0)
    client.get(path, headers={"If-None-Match": client.get(path).headers["etag"], "Prefer": "wait=1"})
    assert measures(client)[_count("/v1/jobs/{job}")] == before + 1


def _count(route):
    return ("trainyard_http_request_seconds_count", ("method", "GET"), ("route", route), ("status", "2xx"))
