"""The result file as a table for people, each target beside what was measured."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HEAD = "| question | answer | target | |\n|---|---|---|---|\n"
MAIN_SHAPE = "ingest, a million points of 1 metric"


def markdown(path: Path) -> str:
    """The file as Markdown."""
    result = json.loads(path.read_text())
    machine = result["machine"]
    lines = [
        f"# The API under load, {result['date'][:10]}",
        "",
        f"Commit {result['commit']}, {machine['processor']}, {machine['cores']} cores,"
        f" load {machine['load_1min']} at the end, {machine['system']}, Python {machine['python']}."
        f" SQLite with synchronous=FULL, {result['jobs']:,} old jobs. Medians of the rounds; rounds of compared servers"
        " in turn. Made by `make bench ARGS=api`; all figures are in the JSON file beside this one.",
        "",
        HEAD + "\n".join(_targets(result)),
        "",
        *_details(result),
    ]
    return "\n".join(lines) + "\n"


def _targets(result: dict[str, Any]) -> Iterator[str]:
    if read := result.get("read"):
        for bare in ("bare route, pydantic model", "bare route, ready bytes"):
            ratio = read["read a running job"]["per_s"] / read[bare]["per_s"]
            cpu = read[bare]["cpu_us"] / read["read a running job"]["cpu_us"]
            yield _row(f"reading a job, to a {bare}", f"{ratio:.2f} ({cpu:.2f} by CPU time)", "0.5", ratio >= 0.5)
    if submit := result.get("submit"):
        best = max(each["per_s"] for each in submit.values())
        yield _row("durable submits", f"{best:,.0f}/s", "150/s", best >= 150)
    if chart := result.get("chart"):
        drawn = chart["chart, 1,000 of a million"]
        for shape, ingest in {**result.get("ingest", {}), MAIN_SHAPE: chart[MAIN_SHAPE]}.items():
            yield _row(f"points: {shape}", f"{ingest['per_s']:,.0f}/s", "20,000/s", ingest["per_s"] >= 20_000)
        yield _row("a chart of a million points, p95", f"{drawn['p95_ms']} ms", "100 ms", drawn["p95_ms"] < 100)
    if streams := result.get("streams"):
        ((name, found),) = streams.items()
        yield _row(f"{name}, slowest delivery", f"{found['max_ms']} ms", "1,000 ms", found["max_ms"] < 1000)
    if pages := result.get("list"):
        name, slowest = max(pages.items(), key=lambda each: each[1]["p95_ms"])
        said = f"{slowest['p95_ms']} ms ({name.removeprefix('list: ')})"
        yield _row("a page of the list, slowest filter, p95", said, "50 ms", slowest["p95_ms"] < 50)
    peak = result["memory"]["service_peak_mb"]
    yield _row("memory of the service, highest", f"{peak} MB", "300 MB", peak < 300)
    for name, found in result.get("peers", {}).items():
        ratio = found["times_as_fast"]
        yield _row(f"{name}, to MLflow", f"{ratio} times as fast", "10 times", ratio >= 10)


def _row(question: str, answer: str, target: str, met: bool) -> str:
    return f"| {question} | {answer} | {target} | {'met' if met else '**missed**'} |"


def _details(result: dict[str, Any]) -> Iterator[str]:
    yield "| request | a second | CPU, µs | p50, ms | p95, ms | slowest, ms |\n|---|---|---|---|---|---|"
    for part in ("read", "submit", "list", "ingest", "chart"):
        for name, found in result.get(part, {}).items():
            yield _detail(name, found)
    for name, found in result.get("peers", {}).items():
        for who in ("trainyard", "mlflow"):
            yield _detail(f"{who}: {name}", found[who])


def _detail(name: str, found: dict[str, Any]) -> str:
    columns = (found["per_s"], found["cpu_us"], found["p50_ms"], found["p95_ms"], found["max_ms"])
    return f"| {name} | " + " | ".join(f"{each:,}" for each in columns) + " |"
