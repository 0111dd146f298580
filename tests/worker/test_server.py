"""The service as a worker sees it: which answers are final, and which are asked for again."""

import asyncio

import pytest

from app.contract.work import Finish
from worker.server import Fenced, Refused, Server, Unreachable, patiently
from worker.settings import WorkerSettings


@pytest.fixture
def settings(home):
    return WorkerSettings(home=home)


def _ask(settings, call):
    async def asked():
        async with Server(settings) as server:
            return await call(server)

    return asyncio.run(asked())


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (410, {"type": "urn:trainyard:problem:fenced"}, Fenced),
        (410, {}, Unreachable),  # a stranger on a reused port
        (410, {"type": "urn:trainyard:problem:not-fenced"}, Unreachable),
        (422, {}, Refused),
        (413, {}, Refused),
        (401, {}, Unreachable),
        (404, {}, Unreachable),
        (429, {}, Unreachable),
        (500, {}, Unreachable),
        (200, {"nothing": "we know"}, None),
        (200, [], Unreachable),
    ],
)
def test_answers_and_what_they_mean(door, settings, job_work, status, body, error):
    door._heartbeat = lambda _: (status, body)

    if error is None:
        assert _ask(settings, lambda server: server.heartbeat(job_work())).stop is None
    else:
        with pytest.raises(error):
            _ask(settings, lambda server: server.heartbeat(job_work()))


def test_no_service_is_no_reason_to_stop(settings, job_work):
    with pytest.raises(Unreachable):
        _ask(settings, lambda server: server.heartbeat(job_work()))


def test_a_service_that_comes_back_elsewhere_is_found(door, settings, job_work):
    async def across_a_restart(server):
        await server.heartbeat(job_work())
        door.close()
        with pytest.raises(Unreachable):
            await server.heartbeat(job_work())
        door.open()
        return await patiently(lambda: server.heartbeat(job_work()))

    assert _ask(settings, across_a_restart).stop is None


def test_who_holds_a_lease_never_waits_longer_than_between_two_heartbeats(monkeypatch):
    pauses_s = []
    answers = iter([Unreachable("down")] * 9)

    async def call():
        for error in answers:
            raise error
        return "back"

    async def sleep(seconds):
        pauses_s.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)

    assert asyncio.run(patiently(call, longest_pause_s=1.0)) == "back"
    assert len(pauses_s) == 9
    assert max(pauses_s) <= 1.0


def test_a_worker_without_a_token_asks_until_there_is_one(door, home, settings, job_work):
    (home / "worker_token").unlink()

    with pytest.raises(Unreachable, match="401"):
        _ask(settings, lambda server: server.heartbeat(job_work()))


def test_an_address_of_the_settings_wins_over_the_published_one(door, home, job_work):
    settings = WorkerSettings(home=home, url="http://127.0.0.1:1")

    with pytest.raises(Unreachable):
        _ask(settings, lambda server: server.heartbeat(job_work()))


def test_a_proxy_of_the_environment_is_not_asked(door, settings, job_work, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")

    _ask(settings, lambda server: server.finish(job_work(), Finish(token="t", outcome="released")))

    assert door.finishes[0]["outcome"] == "released"
