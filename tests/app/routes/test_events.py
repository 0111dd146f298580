"""Events page by page and as a stream, against the app and against a real server that is left, cut and stopped."""

import signal
import time

import pytest

from app.routes.streaming import Batch, accepts, follow, wants_stream

STREAM = {"Accept": "text/event-stream"}


def types(page):
    return [item["type"] for item in page["items"]]


def test_events_are_numbered_and_read_on_by_cursor(client, running, worker):
    job, work = running
    path = f"/v1/jobs/{job}/events"
    first = client.get(path).json()
    assert [item["seq"] for item in first["items"]] == list(range(1, len(first["items"]) + 1))
    assert client.get(path, params={"after": first["cursor"]}).json() == {"items": [], "cursor": first["cursor"]}
    worker.report(work, {"type": "note", "level": "info", "code": "hello", "message": "Hello."})
    (news,) = client.get(path, params={"after": first["cursor"]}).json()["items"]
    assert (news["type"], news["data"]["message"]) == ("note", "Hello.")


def test_pages_hold_no_more_than_the_limit(client, running):
    seen, after = [], None
    while page := client.get(
        f"/v1/jobs/{running[0]}/events", params={"limit": 1, **({"after": after} if after else {})}
    ).json():
        if not page["items"]:
            break
        assert len(page["items"]) == 1
        seen += page["items"]
        after = page["cursor"]
    assert seen == client.get(f"/v1/jobs/{running[0]}/events").json()["items"]


@pytest.mark.parametrize("place", ["2", "999999999"])
def test_a_place_behind_the_last_event_is_refused(client, submit, place):
    path = f"/v1/jobs/{submit()['id']}/events"
    assert client.get(path, params={"after": 1}).json() == {"items": [], "cursor": "1"}
    for answer in (
        client.get(path, params={"after": place}),
        client.get(path, params={"after": place}, headers=STREAM),
        client.get(path, headers={**STREAM, "Last-Event-ID": place}),
    ):
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, "beyond_the_end")


@pytest.mark.parametrize("after", ["x", "-1", "1.5", "9" * 30, "ä"])
def test_a_cursor_that_was_not_given_is_refused(client, submit, after):
    job = submit()["id"]
    assert client.get(f"/v1/jobs/{job}/events", params={"after": after}).status_code == 422
    assert client.get(f"/v1/jobs/{job}/events", headers={**STREAM, "Last-Event-ID": after.encode()}).status_code == 422
    assert client.get("/v1/events", params={"after": after}).status_code == 422


def test_an_unknown_job_is_404_also_as_a_stream(client):
    assert client.get("/v1/jobs/job_none/events").status_code == 404
    assert client.get("/v1/jobs/job_none/events", headers=STREAM).status_code == 404


def test_the_stream_of_a_job_that_is_over_tells_all_and_ends(client, submit, messages):
    job = submit()["id"]
    client.post(f"/v1/jobs/{job}/cancel")
    answer = client.get(f"/v1/jobs/{job}/events", headers=STREAM)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-store"
    items = client.get(f"/v1/jobs/{job}/events").json()["items"]
    told = [each for each in messages(iter(answer.text.split("\n"))) if "data" in each]
    assert [each["data"] for each in told] == items
    assert [each["id"] for each in told] == [str(item["seq"]) for item in items]


def test_the_stream_goes_on_behind_the_last_event_that_was_seen(client, submit, messages):
    job = submit()["id"]
    client.post(f"/v1/jobs/{job}/cancel")
    answer = client.get(f"/v1/jobs/{job}/events?after=0", headers={**STREAM, "Last-Event-ID": "1"})
    told = [each for each in messages(iter(answer.text.split("\n"))) if "data" in each]
    assert [each["id"] for each in told] == ["2"]


def test_events_of_all_jobs_come_once_each(client, submit):
    jobs = {submit()["id"], submit()["id"]}
    page = client.get("/v1/events", params={"after": client.get("/v1/events").json()["cursor"]}).json()
    assert page["items"] == []
    [client.post(f"/v1/jobs/{job}/cancel") for job in jobs]
    seen, cursor = [], page["cursor"]
    while (page := client.get("/v1/events", params={"after": cursor, "limit": 1}).json())["items"]:
        seen += page["items"]
        cursor = page["cursor"]
    assert len(seen) == len(jobs)
    assert len({str(event) for event in seen}) == len(seen)


@pytest.mark.parametrize(
    ("header", "stream"),
    [
        (None, False),
        ("*/*", False),
        ("application/json", False),
        ("text/event-stream", True),
        ("text/event-stream;q=0", False),
        ("application/json, text/event-stream;q=0.5", False),
        ("application/json;q=0.5, text/event-stream", True),
        ("text/event-stream, */*", True),
        ("text/event-stream;q=x", False),
    ],
)
def test_a_stream_is_sent_only_to_those_who_ask_for_it(header, stream):
    assert wants_stream(header) is stream
    assert accepts("text/html", "text/event-stream") == 0


def test_a_stream_with_nothing_to_say_sends_comments():
    import asyncio

    from app.changes import Changes

    looks = [Batch([], False, False), Batch([b"data: 1\n\n"], True, False), Batch([], False, True)]

    async def look():
        return looks.pop(0)

    async def read():
        changes = Changes()
        changes.wake(["job_1"])
        return [each async for each in follow(look, changes, "job_1", heartbeat_s=0)]

    assert asyncio.run(read()) == [b"retry: 2000\n\n", b": heartbeat\n\n", b"data: 1\n\n"]


class TestRealServer:
    """What only a real connection shows."""

    def test_a_stream_brings_events_as_they_happen_and_ends_with_the_job(self, serve, spec, messages):
        with serve() as (client, _):
            job = client.post("/v1/jobs", json=spec).json()["id"]
            with client.stream("GET", f"/v1/jobs/{job}/events", headers=STREAM) as answer:
                told = (each for each in messages(answer.iter_lines()) if "data" in each)
                assert next(told)["id"] == "1"
                client.post(f"/v1/jobs/{job}/cancel")
                rest = list(told)
            assert rest[-1]["data"]["data"]["state"] == "cancelled"

    def test_a_client_that_leaves_is_noticed(self, serve, spec):
        with serve() as (client, _):
            job = client.post("/v1/jobs", json=spec).json()["id"]
            with client.stream("GET", f"/v1/jobs/{job}/events", headers=STREAM) as answer:
                lines = answer.iter_lines()  # kept: the client leaves when its reader is collected
                next(lines)
                assert _waiting(client) == 1
            deadline = time.monotonic() + 20
            while _waiting(client) and time.monotonic() < deadline:
                time.sleep(0.1)
            assert _waiting(client) == 0

    def test_streams_and_long_polls_hold_no_threads(self, serve, spec):
        with serve() as (client, _):
            job = client.post("/v1/jobs", json=spec).json()["id"]
            import httpx

            limits = httpx.Limits(max_connections=None)
            with httpx.Client(base_url=client.base_url, limits=limits, timeout=30, trust_env=False) as many:
                streams = [many.send(many.build_request("GET", f"/v1/jobs/{job}/events", headers=STREAM), stream=True)
                           for _ in range(60)]  # fmt: skip
                assert client.get(f"/v1/jobs/{job}").status_code == 200  # 40 threads serve all routes
                assert _waiting(client) == 60
                [each.close() for each in streams]

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_a_server_that_stops_ends_its_streams_and_long_polls(self, serve, spec, number):
        import threading

        with serve() as (client, process):
            path = f"/v1/jobs/{client.post('/v1/jobs', json=spec).json()['id']}"
            headers = {"If-None-Match": client.get(path).headers["etag"], "Prefer": "wait=60"}
            polled = []
            poll = threading.Thread(target=lambda: polled.append(client.get(path, headers=headers)))
            with client.stream("GET", f"{path}/events", headers=STREAM) as answer:
                lines = answer.iter_lines()
                next(lines)
                poll.start()
                while _waiting(client) < 2:
                    time.sleep(0.05)
                process.send_signal(number)
                list(lines)  # ends without an error: the last chunk was sent
            poll.join()
            assert polled[0].status_code == 304
            assert process.wait(timeout=20) in (0, -number, 128 + number)  # the last: as a shell says it of Ctrl-C


def _waiting(client):
    """Open streams and long polls, as the server counts them."""
    for line in client.get("/metrics").text.splitlines():
        if line.startswith("trainyard_waiting_clients "):
            return int(float(line.split()[1]))
    raise AssertionError("no such measure")


def test_streams_at_the_same_place_share_one_read(app, running, worker, statements_of):
    """Two hundred looks at the same moment: one statement each for the job's state, its version and its events."""
    import asyncio

    from app.routes.events import _batch
    from app.routes.streaming import SharedReads

    changes, database = app.state.changes, app.state.database

    async def look_together():
        shared = SharedReads(changes)
        together = await asyncio.gather(*(shared.read(_batch, database, running[0], None, 500) for _ in range(200)))
        changes.wake([running[0]])
        later = await shared.read(_batch, database, running[0], None, 500)
        return together, later, shared._running

    with statements_of(database) as statements:
        together, later, left = asyncio.run(look_together())
    assert all(each is together[0] for each in together)
    assert later is not together[0]
    assert sum("FROM events" in each for each in statements) == 2
    assert left == {}


def test_a_shared_read_goes_on_when_its_first_asker_leaves():
    import asyncio
    import threading

    from app.changes import Changes
    from app.routes.streaming import SharedReads

    may_end = threading.Event()

    async def leave():
        shared = SharedReads(Changes())
        first = asyncio.create_task(shared.read(may_end.wait))
        await asyncio.sleep(0)
        second = asyncio.create_task(shared.read(may_end.wait))
        await asyncio.sleep(0)
        first.cancel()
        may_end.set()
        return await second

    assert asyncio.run(leave()) is True
