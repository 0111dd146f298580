"""Many who wait: event streams and long polls, and how long after its cause each is told."""

import asyncio
import json
import statistics
import threading
import time
from typing import Any

import uvloop

from benchmarks.api.client import ask, request
from benchmarks.api.hands import Hands, note
from benchmarks.api.servers import Server

SETTLE_S = 2.0


def streams(trainyard: Server, hands: Hands, watchers: int, jobs: int, events: int, per_s: float) -> dict[str, Any]:
    """`watchers` streams over `jobs` jobs; every event to all watchers of its job. Times from before its POST."""
    works = [hands.running_job() for _ in range(jobs)]
    cpu_s, begun = trainyard.cpu_s(), time.perf_counter()
    waits_s = uvloop.run(_streamed(trainyard, hands, works, watchers, events, per_s))
    cores = (trainyard.cpu_s() - cpu_s) / (time.perf_counter() - begun)
    result = _result(waits_s, events * watchers // jobs) | {"events_per_s": per_s, "cores_used": round(cores, 2)}
    for each in works:
        hands.fail(each)
    print(f"  trainyard  {watchers} streams: {result}", flush=True)
    return {f"{watchers} streams of {jobs} jobs": result}


def long_polls(trainyard: Server, hands: Hands, clients: int, changes: int) -> dict[str, Any]:
    """Clients that all wait for the same job, several times over."""
    work = hands.running_job()
    waits_s: list[float] = []
    for number in range(changes):
        waits_s += uvloop.run(_polled(trainyard, hands, work, clients, number))
    hands.fail(work)
    result = _result(waits_s, clients * changes)
    print(f"  trainyard  {clients} long polls: {result}", flush=True)
    return {f"{clients} long polls of a job": result}


def _result(waits_s: list[float], expected: int) -> dict[str, Any]:
    if len(waits_s) != expected:
        raise SystemExit(f"benchmarks api: {len(waits_s)} deliveries in place of {expected}")
    ordered = sorted(waits_s)
    p95_s = ordered[round(0.95 * len(ordered)) - 1]
    found = {"p50_ms": statistics.median(ordered), "p95_ms": p95_s, "max_ms": ordered[-1]}
    return {"deliveries": len(ordered), **{name: round(1e3 * value, 1) for name, value in found.items()}}


async def _streamed(
    trainyard: Server, hands: Hands, works: list[dict[str, Any]], watchers: int, events: int, per_s: float
) -> list[float]:
    waits_s: list[float] = []
    tasks = [
        asyncio.create_task(_watch(trainyard.port, works[index % len(works)]["job"], waits_s))
        for index in range(watchers)
    ]
    await asyncio.sleep(SETTLE_S)
    thread = threading.Thread(target=_tell, args=(trainyard.port, hands, works, events, per_s))
    thread.start()
    await asyncio.to_thread(thread.join)
    await asyncio.sleep(SETTLE_S)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return waits_s


def _tell(port: int, hands: Hands, works: list[dict[str, Any]], events: int, per_s: float) -> None:
    """Events at an even pace, over all jobs in turn; each carries the moment at which it is sent."""
    begun = time.perf_counter()
    for number in range(events):
        time.sleep(max(0.0, begun + number / per_s - time.perf_counter()))
        ask(port, hands.report(works[number % len(works)], [note(repr(time.perf_counter()))]))


async def _watch(port: int, job: str, waits_s: list[float]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request("GET", f"/v1/jobs/{job}/events", Accept="text/event-stream"))
    try:
        async for line in reader:
            if line.startswith(b"data: "):
                event = json.loads(line[6:])
                if event["type"] == "note":
                    waits_s.append(time.perf_counter() - float(event["data"]["message"]))
    finally:
        writer.close()


async def _polled(trainyard: Server, hands: Hands, work: dict[str, Any], clients: int, number: int) -> list[float]:
    path = f"/v1/jobs/{work['job']}"
    version = (await asyncio.to_thread(ask, trainyard.port, request("GET", path)))["version"]
    sent = request("GET", path, If_None_Match=f'"{version}"', Prefer="wait=25")
    tasks = [asyncio.create_task(_poll(trainyard.port, sent)) for _ in range(clients)]
    await asyncio.sleep(SETTLE_S)
    begun = time.perf_counter()
    await asyncio.to_thread(ask, trainyard.port, hands.report(work, [note(str(number))]))
    return [answered_at - begun for answered_at in await asyncio.gather(*tasks)]


async def _poll(port: int, sent: bytes) -> float:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    head = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    if not head.startswith(b"HTTP/1.1 200"):
        raise SystemExit(f"benchmarks api: a long poll was answered {head[:60]!r}")
    return time.perf_counter()
