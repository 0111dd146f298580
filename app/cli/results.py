"""`trainyard logs | metrics | artifacts`: what a job leaves."""

import math
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.exits import CommandFailed, Exit
from app.cli.jobs import JobArgument
from app.cli.output import JsonOption, number, plain, print_json, print_table, say, size


def metrics(
    job: JobArgument,
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Only these; default: all.")] = None,
    max_points: Annotated[int, typer.Option(min=1, max=100_000, help="Buckets per metric.")] = 1000,
    as_json: JsonOption = False,
) -> None:
    """Show a job's metrics: first and last value, exact minimum and maximum; all points with --json."""
    from app.cli.service import Service

    page = Service().get(f"/v1/jobs/{job}/metrics", names=names or None, max_points=max_points)
    if as_json:
        print_json(page)
        return
    headings = ("metric", "steps >", "first >", "last >", "min >", "max >")
    print_table(headings, (_series_row(name, series) for name, series in sorted(page["series"].items())))


def _series_row(name: str, series: dict[str, list[Any]]) -> tuple[str, ...]:
    if not series["step"]:
        return (name, "0")
    first, last = series["value"][0], series["value"][-1]
    steps = f"{series['step'][0]:,} to {series['step'][-1]:,}"
    return (name, steps, *map(number, (first, last, _least(series["min"]), _greatest(series["max"]))))


def _least(values: list[Any]) -> Any:
    return min(values, key=_order)


def _greatest(values: list[Any]) -> Any:
    return max(values, key=_order)


def _order(value: float | str) -> tuple[bool, float]:
    """NaN, which is not ordered, stands above everything: it is what a person must see."""
    as_float = float(value)
    return (True, 0.0) if math.isnan(as_float) else (False, as_float)


def artifacts(
    job: JobArgument,
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Download these.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Download all.")] = False,
    to: Annotated[Path, typer.Option(metavar="FOLDER", help="Where downloads go.")] = Path(),
    force: Annotated[bool, typer.Option("--force", help="Replace files that are another one.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List a job's artifacts, or download some: checked by SHA-256, and gone on with after a break."""
    from app.cli.service import Service

    service = Service()
    listed = artifact_list(service, job)
    if not names and not every:
        _print_artifacts(listed, as_json)
        return
    wanted = listed if every else [_named(name, listed) for name in names or []]
    _download_all(service, job, wanted, to, force, as_json)


def artifact_list(service: Any, job: str) -> list[dict[str, Any]]:
    """The artifacts of a job."""
    answer = service.get(f"/v1/jobs/{job}/artifacts")
    items: list[dict[str, Any]] = answer["items"] if isinstance(answer, dict) else answer
    return items


def _print_artifacts(listed: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        print_json(listed)
    else:
        rows = ((each["name"], size(each["size_bytes"]), each["sha256"]) for each in listed)
        print_table(("name", "size >", "sha256"), rows)


def _download_all(
    service: Any, job: str, wanted: list[dict[str, Any]], folder: Path, force: bool, as_json: bool
) -> None:
    from app.cli.download import download

    paths = []
    for artifact in wanted:
        paths.append(str(download(service, job, artifact, folder, force)))
        say(f"{paths[-1]}: {size(artifact['size_bytes'])}, SHA-256 is right")
    if as_json:
        print_json(paths)


def _named(name: str, listed: list[dict[str, Any]]) -> dict[str, Any]:
    for artifact in listed:
        if artifact["name"] == name:
            return artifact
    there = ", ".join(artifact["name"] for artifact in listed) or "none yet"
    raise CommandFailed(f"the job has no artifact {name!r}. There are: {there}.", Exit.REFUSED)


def logs(
    job: JobArgument,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job is over.")] = False,
    tail: Annotated[int | None, typer.Option(min=1, help="Only the last lines.")] = None,
    rank: Annotated[int | None, typer.Option(min=0, help="Only lines of this rank.")] = None,
    level: Annotated[str | None, typer.Option(help="Only this level and above.")] = None,
    search: Annotated[str | None, typer.Option(help="Only lines that contain this text.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Print a job's log; with --json one JSON object a line."""
    from app.cli import log_lines
    from app.cli.service import Service

    filters = {"tail": tail, "rank": rank, "level": level, "search": search}
    service = Service()
    for line in log_lines.follow(service, job, filters) if follow else log_lines.read(service, job, filters):
        print(line.strip() if as_json else _log_text(line))


def _log_text(line: str) -> str:
    import json

    entry = json.loads(line)
    rank = "" if entry["rank"] is None else f" rank {entry['rank']}"
    return plain(f"{entry['time']} {entry['level'].upper():<7} [attempt {entry['attempt']}{rank}] {entry['message']}")
