"""Jobs over HTTP: status codes, headers, conditions, and nothing stored that was refused."""

import json
import threading
from datetime import datetime, timedelta

import pytest


def problem(answer, status, slug):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == f"urn:trainyard:problem:{slug}"
    assert answer.json()["status"] == status
    return answer.json()


def pointers(answer):
    return {each["pointer"]: each["code"] for each in problem(answer, 422, "invalid-spec")["errors"]}


class TestSubmit:
    def test_a_job_is_made_with_its_place_and_version(self, client, spec):
        answer = client.post("/v1/jobs", json=spec)
        job = answer.json()
        assert (answer.status_code, job["state"], job["version"]) == (201, "queued", 1)
        assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
        assert answer.headers["etag"] == '"1"'
        assert client.get(answer.headers["location"]).json()["spec"]["augment"][-1]["kind"] == "normalize"

    def test_the_same_key_and_body_make_one_job(self, client, spec):
        headers = {"Idempotency-Key": "k 1"}
        first = client.post("/v1/jobs", json=spec, headers=headers)
        turned = json.dumps(dict(reversed(list(spec.items()))), indent=3)
        again = client.post("/v1/jobs", content=turned, headers={**headers, "Content-Type": "application/json"})
        assert (first.status_code, again.status_code) == (201, 201)
        assert again.json() == first.json()
        assert again.headers["location"] == first.headers["location"]
        assert again.headers["idempotency-replayed"] == "true"
        assert "idempotency-replayed" not in first.headers
        assert len(client.get("/v1/jobs").json()["items"]) == 1

    def test_the_same_key_with_another_body_is_refused(self, client, spec):
        headers = {"Idempotency-Key": "k"}
        client.post("/v1/jobs", json=spec, headers=headers)
        problem(client.post("/v1/jobs", json=spec | {"priority": 1}, headers=headers), 422, "key-reused")

    @pytest.mark.parametrize("key", ["", "x" * 256, "a\tb", "ä"])
    def test_a_key_that_cannot_be_kept_is_refused(self, client, spec, key):
        answer = client.post("/v1/jobs", json=spec, headers={"Idempotency-Key": key.encode()})
        assert problem(answer, 422, "invalid-query")["errors"][0]["parameter"] == "idempotency-key"

    def test_a_reference_to_something_unknown_is_refused_with_its_pointer(self, client, spec):
        answer = client.post("/v1/jobs", json=spec | {"dataset": {"kind": "registered", "id": "ds_0"}})
        assert list(pointers(answer)) == ["/dataset/id"]

    def test_many_parallel_posts_with_one_key_make_one_job(self, client, spec):
        answers = []
        post = lambda: answers.append(client.post("/v1/jobs", json=spec, headers={"Idempotency-Key": "one"}))  # noqa: E731
        threads = [threading.Thread(target=post) for _ in range(12)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        assert {answer.status_code for answer in answers} == {201}
        assert len({answer.json()["id"] for answer in answers}) == 1


class TestList:
    def test_pages_follow_one_another_by_cursor_and_link(self, client, submit):
        made = [submit(name=f"n{number}")["id"] for number in range(5)]
        seen, url = [], "/v1/jobs?limit=2"
        while url:
            answer = client.get(url)
            seen += [job["id"] for job in answer.json()["items"]]
            link = answer.headers.get("link")
            assert bool(link) == bool(answer.json()["next_cursor"])
            url = link.removeprefix("<").partition(">")[0] if link else None
        assert seen == made[::-1]

    def test_filters_by_label_name_and_state_hold_together(self, client, submit):
        wanted = submit(name="a", labels={"team": "vision", "env": "x/y"})
        submit(name="a", labels={"team": "text"})
        submit(name="b", labels={"team": "vision", "env": "x/y"})
        query = {"label.team": "vision", "label.env": "x/y", "name": "a", "state": ["queued", "running"]}
        assert [job["id"] for job in client.get("/v1/jobs", params=query).json()["items"]] == [wanted["id"]]
        assert client.get("/v1/jobs?state=failed").json()["items"] == []

    def test_filters_by_time_exclude_the_rest(self, client, submit):
        made = datetime.fromisoformat(submit()["created_at"])
        later = (made + timedelta(milliseconds=10)).isoformat()
        assert client.get("/v1/jobs", params={"created_after": later}).json()["items"] == []
        assert len(client.get("/v1/jobs", params={"created_before": later}).json()["items"]) == 1
        assert client.get("/v1/jobs?created_before=2000-01-01T00:00:00Z").json()["items"] == []
        for far in ("created_after=0001-01-01T00:00:00%2B14:00", "created_before=9999-12-31T23:59:59-14:00"):
            assert len(client.get(f"/v1/jobs?{far}").json()["items"]) == 1
        assert len(client.get("/v1/jobs?created_after=2000-01-01T00:00:00%2B02:00").json()["items"]) == 1

    def test_a_jobs_own_time_excludes_it(self, client, submit):
        for made in [submit()["created_at"] for _ in range(20)]:
            for bound in ("created_after", "created_before"):
                found = client.get("/v1/jobs", params={bound: made}).json()["items"]
                assert made not in [job["created_at"] for job in found]

    @pytest.mark.parametrize(
        ("query", "parameter", "code"),
        [
            ("stat=queued", "stat", "unknown"),
            ("limit=1&limit=2", "limit", "repeated"),
            ("limit=0", "limit", "greater_than_equal"),
            ("limit=x", "limit", "int_parsing"),
            ("state=resting", "state", "enum"),
            ("order=name", "order", "literal_error"),
            ("created_after=2026-01-01T00:00:00", "created_after", "timezone_aware"),
            ("created_after=0.5", "created_after", "datetime_parsing"),
            ("created_after=-1", "created_after", "datetime_parsing"),
            ("name=%00", "name", "nul_character"),
            ("label.a%20b=c", "label.a b", "string_pattern_mismatch"),
            ("label.=c", "label.", "string_pattern_mismatch"),
            ("label.a=%01", "label.a", "string_pattern_mismatch"),
            ("label.a=1&label.a=2", "label.a", "repeated"),
        ],
    )
    def test_a_parameter_that_would_be_ignored_or_misread_is_refused_by_name(self, client, query, parameter, code):
        (error,) = problem(client.get(f"/v1/jobs?{query}"), 422, "invalid-query")["errors"]
        assert (error["parameter"], error["code"]) == (parameter, code)

    @pytest.mark.parametrize("cursor", ["x", "%00", "e30", "ä", "AAAA" * 100])
    def test_a_cursor_that_was_not_given_is_refused(self, client, cursor):
        assert client.get(f"/v1/jobs?cursor={cursor}").status_code == 422


class TestGet:
    def test_an_unknown_job_is_404_also_with_an_odd_id(self, client):
        for name in ("job_none", "%00", "job_%F0%9F%98%80", "x" * 100):
            problem(client.get(f"/v1/jobs/{name}"), 404, "not-found")

    def test_what_is_unchanged_is_304(self, client, submit):
        path = f"/v1/jobs/{submit()['id']}"
        tag = client.get(path).headers["etag"]
        for header in (tag, f"W/{tag}", f'"0", {tag}', "*"):
            answer = client.get(path, headers={"If-None-Match": header})
            assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", tag)
        assert client.get(path, headers={"If-None-Match": '"0"'}).status_code == 200

    def test_a_change_moves_the_version_and_the_tag(self, client, submit):
        path = f"/v1/jobs/{submit()['id']}"
        before = client.get(path).headers["etag"]
        client.patch(path, json={"priority": 3})
        assert client.get(path, headers={"If-None-Match": before}).status_code == 200

    def test_retry_after_is_said_until_the_job_is_over(self, client, submit):
        path = f"/v1/jobs/{submit()['id']}"
        assert int(client.get(path).headers["retry-after"]) >= 1
        client.post(f"{path}/cancel")
        assert "retry-after" not in client.get(path).headers

    def test_a_long_poll_answers_when_the_job_changes(self, client, submit):
        path = f"/v1/jobs/{submit()['id']}"
        answers = []
        headers = {"If-None-Match": client.get(path).headers["etag"], "Prefer": "wait=50"}
        thread = threading.Thread(target=lambda: answers.append(client.get(path, headers=headers)))
        thread.start()
        client.patch(path, json={"name": "changed"})
        thread.join(timeout=40)
        assert answers[0].json()["name"] == "changed"
        assert answers[0].headers["preference-applied"] == "wait=50"

    def test_a_long_poll_without_a_change_is_304_when_the_time_is_over(self, client, submit):
        path = f"/v1/jobs/{submit()['id']}"
        headers = {"If-None-Match": client.get(path).headers["etag"], "Prefer": "wait=1"}
        answer = client.get(path, headers=headers)
        assert (answer.status_code, answer.headers["preference-applied"]) == (304, "wait=1")

    def test_without_a_version_to_compare_nothing_is_waited_for(self, client, submit):
        answer = client.get(f"/v1/jobs/{submit()['id']}", headers={"Prefer": "wait=50"})
        assert answer.status_code == 200
        assert "preference-applied" not in answer.headers


class TestPatch:
    @pytest.mark.parametrize("media_type", ["application/json", "application/merge-patch+json; charset=utf-8"])
    def test_a_merge_patch_changes_what_it_names(self, client, submit, media_type):
        job = submit(name="old", labels={"a": "1", "b": "2"}, priority=1)
        body = json.dumps({"labels": {"a": None, "c": "3"}, "priority": 7})
        answer = client.patch(f"/v1/jobs/{job['id']}", content=body, headers={"Content-Type": media_type})
        found = answer.json()
        assert (found["name"], found["labels"], found["priority"]) == ("old", {"b": "2", "c": "3"}, 7)
        assert answer.headers["etag"] == f'"{found["version"]}"'
        assert client.get("/v1/jobs?label.a=1").json()["items"] == []

    def test_a_version_that_is_no_longer_there_is_412_and_changes_nothing(self, client, submit):
        path = f"/v1/jobs/{submit(name='old')['id']}"
        tag = client.get(path).headers["etag"]
        assert client.patch(path, json={"name": "new"}, headers={"If-Match": f'"99", {tag}'}).status_code == 200
        for stale in (tag, f"W/{tag}", '"x"'):
            problem(client.patch(path, json={"name": "newer"}, headers={"If-Match": stale}), 412, "precondition-failed")
        assert client.patch(path, json={"name": "newest"}, headers={"If-Match": "*"}).json()["name"] == "newest"

    def test_what_cannot_be_patched_is_refused(self, client, submit):
        path = f"/v1/jobs/{submit()['id']}"
        assert pointers(client.patch(path, json={"state": "succeeded"})) == {"/state": "extra_forbidden"}
        assert pointers(client.patch(path, json={"labels": {"a b": "c"}})) == {"/labels/a b": "string_pattern_mismatch"}

    def test_an_unknown_job_is_404(self, client):
        problem(client.patch("/v1/jobs/job_none", json={"name": "x"}), 404, "not-found")


class TestActions:
    def test_a_queued_job_is_cancelled_at_once_and_again_without_harm(self, client, submit):
        path = f"/v1/jobs/{submit()['id']}/cancel"
        first, again = client.post(path), client.post(path, json={})
        assert first.json()["state"] == again.json()["state"] == "cancelled"
        assert again.status_code == 200

    def test_a_running_job_takes_the_wish(self, client, running):
        answer = client.post(f"/v1/jobs/{running[0]}/cancel")
        assert (answer.status_code, answer.json()["stop_requested"]) == (202, "cancel")

    def test_a_job_that_is_over_says_its_state(self, client, running, worker):
        worker.finish(running[1])
        assert problem(client.post(f"/v1/jobs/{running[0]}/cancel"), 409, "conflict")["state"] == "failed"

    def test_only_a_job_that_is_over_is_deleted(self, client, submit):
        path = f"/v1/jobs/{submit()['id']}"
        problem(client.delete(path), 409, "conflict")
        client.post(f"{path}/cancel")
        answer = client.delete(path)
        assert (answer.status_code, answer.content) == (204, b"")
        problem(client.get(path), 404, "not-found")
        problem(client.delete(path), 404, "not-found")

    def test_retry_makes_a_new_job_of_one_that_failed(self, client, running, worker):
        problem(client.post(f"/v1/jobs/{running[0]}/retry"), 409, "conflict")
        worker.finish(running[1])
        answer = client.post(f"/v1/jobs/{running[0]}/retry")
        assert (answer.status_code, answer.json()["cloned_from"]) == (201, running[0])
        assert answer.headers["location"] == f"/v1/jobs/{answer.json()['id']}"

    @pytest.mark.parametrize("media_type", ["application/json", "application/merge-patch+json"])
    def test_clone_makes_a_new_job_with_a_patch_on_the_spec(self, client, submit, media_type):
        job = submit(labels={"a": "1"})
        body = json.dumps({"training": {"epochs": 3}, "labels": {"b": "2"}})
        answer = client.post(f"/v1/jobs/{job['id']}/clone", content=body, headers={"Content-Type": media_type})
        made = answer.json()
        assert (answer.status_code, made["cloned_from"], made["spec"]["training"]["epochs"]) == (201, job["id"], 3)
        assert made["labels"] == {"a": "1", "b": "2"}

    def test_clone_needs_no_body(self, client, submit):
        assert client.post(f"/v1/jobs/{submit()['id']}/clone").status_code == 201

    def test_a_patch_that_makes_a_bad_spec_is_refused_with_pointers(self, client, submit):
        path = f"/v1/jobs/{submit()['id']}/clone"
        assert pointers(client.post(path, json={"training": {"epochs": 0}})) == {
            "/training/epochs": "greater_than_equal"
        }
        assert pointers(client.post(path, json={"model": {"kind": "timm", "nam": "x"}})) == {
            "/model/nam": "extra_forbidden"
        }
        assert pointers(client.post(path, json={"dataset": None})) == {"/dataset": "missing"}

    @pytest.mark.parametrize("verb", ["cancel", "retry"])
    def test_a_body_that_would_be_ignored_is_refused(self, client, submit, verb):
        path = f"/v1/jobs/{submit()['id']}/{verb}"
        assert pointers(client.post(path, json={"force": True})) == {"": "unexpected_body"}
