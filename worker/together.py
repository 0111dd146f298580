"""Things that go on beside a body of code, for exactly as long as it runs."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager


@asynccontextmanager
async def beside(*work: Coroutine[object, object, None]) -> AsyncIterator[None]:
    """Run `work` beside the body and cancel it behind it. What one of them raises cancels the body and is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in work]
            yield
            for task in tasks:
                task.cancel()
    except BaseExceptionGroup as several:
        # The first is what happened; the rest is what followed from it.
        raise several.exceptions[0] from several
