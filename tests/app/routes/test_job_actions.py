"""Pause and resume over HTTP; the same request twice makes one new job."""

import threading

import pytest


def problem(answer, status):
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    return answer.json()


class TestPause:
    """202 while it takes effect, 200 when it already has, 409 with the state when it cannot."""

    def test_a_queued_job_is_paused_and_resumed_at_once(self, client, submit):
        path = f"/v1/jobs/{submit()['id']}"
        for verb, state in (("pause", "paused"), ("pause", "paused"), ("resume", "queued"), ("resume", "queued")):
            answer = client.post(f"{path}/{verb}")
            assert (answer.status_code, answer.json()["state"]) == (200, state)
            assert answer.headers["etag"] == client.get(path).headers["etag"]

    def test_a_running_job_takes_the_wish_until_its_worker_lets_go(self, client, running, worker):
        job, work = running
        for _ in range(2):
            answer = client.post(f"/v1/jobs/{job}/pause")
            assert (answer.status_code, answer.json()["stop_requested"]) == (202, "pause")
        assert worker.finish(work, "released") == {"state": "paused"}
        assert client.post(f"/v1/jobs/{job}/pause").status_code == 200
        assert client.get(f"/v1/jobs/{job}").json()["stop_requested"] is None
        assert client.post(f"/v1/jobs/{job}/resume").json()["state"] == "queued"
        assert worker.claim()["attempt"] == 2

    def test_a_pause_can_be_taken_back_before_it_came_true(self, client, running):
        path = f"/v1/jobs/{running[0]}"
        client.post(f"{path}/pause")
        answer = client.post(f"{path}/resume")
        assert (answer.status_code, answer.json()["stop_requested"]) == (202, None)

    @pytest.mark.parametrize("verb", ["pause", "resume"])
    def test_what_is_over_or_being_cancelled_says_its_state(self, client, running, worker, verb):
        job, work = running
        client.post(f"/v1/jobs/{job}/cancel")
        assert problem(client.post(f"/v1/jobs/{job}/{verb}"), 409)["state"] == "running"
        worker.finish(work, "released")
        assert problem(client.post(f"/v1/jobs/{job}/{verb}"), 409)["state"] == "cancelled"
        problem(client.post(f"/v1/jobs/job_none/{verb}"), 404)

    def test_a_paused_job_is_found_counted_and_asked_about_again(self, client, submit):
        job = submit()["id"]
        submit()
        client.post(f"/v1/jobs/{job}/pause")
        found = client.get("/v1/jobs", params={"state": "paused"}).json()["items"]
        assert [(each["id"], each["pending"]) for each in found] == [(job, None)]
        assert 'trainyard_jobs{state="paused"} 1.0' in client.get("/metrics").text
        assert "trainyard_queue_depth 1.0" in client.get("/metrics").text
        assert "retry-after" in client.get(f"/v1/jobs/{job}").headers

    def test_a_stream_goes_on_over_a_pause(self, serve, spec, messages):
        with serve() as (client, _):
            job = client.post("/v1/jobs", json=spec).json()["id"]
            client.post(f"/v1/jobs/{job}/pause")
            with client.stream("GET", f"/v1/jobs/{job}/events", headers={"Accept": "text/event-stream"}) as answer:
                told = (each["data"] for each in messages(answer.iter_lines()) if "data" in each)
                assert [next(told)["type"], next(told)["data"]["state"]] == ["created", "paused"]
                client.post(f"/v1/jobs/{job}/resume")
                client.post(f"/v1/jobs/{job}/cancel")
                assert [each["data"]["state"] for each in told] == ["queued", "cancelled"]


class TestOnce:
    """An Idempotency-Key on the routes that make a job of another."""

    @pytest.fixture
    def failed(self, running, worker):
        worker.finish(running[1])
        return running[0]

    @pytest.mark.parametrize("verb", ["retry", "clone"])
    def test_the_same_request_makes_one_job(self, client, failed, verb):
        path, key = f"/v1/jobs/{failed}/{verb}", {"Idempotency-Key": "again"}
        first, second = client.post(path, headers=key), client.post(path, json={}, headers=key)
        assert first.status_code == second.status_code == 201
        assert first.json()["id"] == second.json()["id"]
        assert "idempotency-replayed" not in first.headers
        assert second.headers["idempotency-replayed"] == "true"
        assert client.post(path).json()["id"] != first.json()["id"]

    def test_another_request_under_the_same_key_is_refused(self, client, failed, spec):
        key = {"Idempotency-Key": "one"}
        client.post(f"/v1/jobs/{failed}/clone", json={"training": {"epochs": 3}}, headers=key)
        for path, body in ((f"/v1/jobs/{failed}/clone", {}), (f"/v1/jobs/{failed}/retry", {}), ("/v1/jobs", spec)):
            refused = problem(client.post(path, json=body, headers=key), 422)
            assert refused["type"] == "urn:trainyard:problem:key-reused"

    def test_a_refused_request_leaves_its_key_free(self, client, running, worker):
        path, key = f"/v1/jobs/{running[0]}/retry", {"Idempotency-Key": "later"}
        problem(client.post(path, headers=key), 409)
        worker.finish(running[1])
        assert client.post(path, headers=key).status_code == 201

    def test_many_at_once_make_one_job(self, client, failed):
        made = []

        def retry():
            made.append(client.post(f"/v1/jobs/{failed}/retry", headers={"Idempotency-Key": "k"}).json()["id"])

        threads = [threading.Thread(target=retry) for _ in range(12)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert len(made) == 12
        assert len(set(made)) == 1

    @pytest.mark.parametrize("verb", ["retry", "clone"])
    def test_the_new_job_joins_the_trace_of_its_request(self, client, failed, worker, verb):
        trace = "4bf92f3577b34da6a3ce929d0e0e4736"
        client.post(f"/v1/jobs/{failed}/{verb}", headers={"traceparent": f"00-{trace}-00f067aa0ba902b7-01"})
        assert worker.claim()["traceparent"].split("-")[1] == trace


def test_nobody_is_told_to_ask_again_for_a_job_that_is_over(client, submit):
    path = f"/v1/jobs/{submit()['id']}"
    waiting = client.get(path, headers={"If-None-Match": client.get(path).headers["etag"]})
    assert (waiting.status_code, int(waiting.headers["retry-after"]) >= 1) == (304, True)
    client.post(f"{path}/cancel")
    over = client.get(path, headers={"If-None-Match": client.get(path).headers["etag"]})
    assert over.status_code == 304
    assert "retry-after" not in over.headers
