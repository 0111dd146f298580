"""Wake-ups must come from any thread, miss nothing, and leave nothing behind."""

import asyncio
import threading

from app.changes import EVERY_JOB, Changes


def test_a_wake_from_another_thread_ends_a_wait():
    changes = Changes()

    async def waits() -> bool:
        with changes.watch("job_1") as watch:
            threading.Thread(target=changes.wake, args=({"job_1"},)).start()
            return await watch.wait(60)

    assert asyncio.run(waits()) is True


def test_a_wake_between_read_and_wait_is_not_missed():
    changes = Changes()

    async def waits() -> bool:
        with changes.watch("job_1") as watch:
            changes.wake(["job_1"])
            await asyncio.sleep(0)
            return await watch.wait(60)

    assert asyncio.run(waits()) is True


def test_a_wait_without_news_ends_after_the_time_to_look_again():
    changes = Changes()

    async def waits() -> bool:
        with changes.watch("job_1") as watch:
            changes.wake(["job_2"])
            return await watch.wait(60)

    assert asyncio.run(waits()) is False  # within RECHECK_S, long before the 60 s


def test_who_watches_every_job_hears_of_each():
    changes = Changes()

    async def waits() -> bool:
        with changes.watch(EVERY_JOB) as watch:
            changes.wake(["job_7"])
            return await watch.wait(60)

    assert asyncio.run(waits()) is True


def test_waiters_are_forgotten_when_they_leave():
    changes = Changes()

    async def waits() -> tuple[int, int]:
        with changes.watch("job_1"), changes.watch("job_1"), changes.watch("job_2"):
            during = changes.waiting
        return during, changes.waiting

    assert asyncio.run(waits()) == (3, 0)


def test_closing_wakes_everyone_and_says_so():
    changes = Changes()

    async def waits() -> bool:
        with changes.watch("job_1") as watch:
            changes.close()
            return await watch.wait(60)

    assert asyncio.run(waits()) is True
    assert changes.closed


def test_waking_a_waiter_whose_loop_is_gone_does_no_harm():
    changes = Changes()

    async def leaves_without_goodbye() -> None:
        changes.watch("job_1").__enter__()

    asyncio.run(leaves_without_goodbye())
    changes.wake(["job_1"])
