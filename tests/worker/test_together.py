"""Things that go on beside a body."""

import asyncio

import pytest

from worker.together import beside


def _run(body):
    return asyncio.run(asyncio.wait_for(body(), 10))


def test_what_goes_on_beside_ends_with_the_body():
    ended = []

    async def endless():
        try:
            await asyncio.sleep(1000)
        finally:
            ended.append(1)

    async def body():
        async with beside(endless(), endless()):
            await asyncio.sleep(0.01)
        return "done"

    assert _run(body) == "done"
    assert ended == [1, 1]


def test_what_is_raised_beside_cancels_the_body_and_comes_out_as_it_is():
    cancelled = []

    async def failing():
        raise KeyError("beside")

    async def body():
        async with beside(failing()):
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                cancelled.append(1)
                raise

    with pytest.raises(KeyError, match="beside"):
        _run(body)
    assert cancelled == [1]


def test_what_the_body_raises_comes_out_as_it_is():
    async def body():
        async with beside(asyncio.sleep(1000)):
            raise KeyError("body")

    with pytest.raises(KeyError, match="body"):
        _run(body)


def test_a_time_out_around_it_is_a_time_out():
    async def body():
        async with asyncio.timeout(0.01), beside(asyncio.sleep(1000)):
            await asyncio.sleep(1000)

    with pytest.raises(TimeoutError):
        _run(body)
