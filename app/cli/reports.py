"""`trainyard report | compare`: what a model costs, by itself and beside others."""

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.exits import CommandFailed, Exit
from app.cli.jobs import JobArgument
from app.cli.output import JsonOption, number, print_fields, print_json, print_table, say, size


class Format(StrEnum):
    """How a report is shown."""

    TEXT = "text"
    MARKDOWN = "markdown"
    HTML = "html"
    JSON = "json"


MEDIA_TYPES = {Format.MARKDOWN: "text/markdown", Format.HTML: "text/html", Format.JSON: "application/json"}
ENDINGS = {".md": Format.MARKDOWN, ".markdown": Format.MARKDOWN, ".html": Format.HTML, ".htm": Format.HTML,
           ".json": Format.JSON}  # fmt: skip


def report(
    job: JobArgument,
    form: Annotated[
        Format | None, typer.Option("--format", help="Default: text, or what the name of the file says.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write it there: report.html, report.md.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is another one.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show the compression report, as measured on the exported file; as a page with pictures: -o report.html."""
    from app.cli.service import Service

    form = Format.JSON if as_json else form or ENDINGS.get(output.suffix.lower() if output else "", Format.TEXT)
    path = f"/v1/jobs/{job}/report"
    if form == Format.TEXT:
        if output is not None:
            raise CommandFailed("a file takes --format markdown, html or json.", Exit.USAGE)
        print_report(Service().get(path))
        return
    text = Service().request("GET", path, headers={"Accept": MEDIA_TYPES[form]})
    if output is not None:
        _write(output, text.content, force)
        say(f"wrote {output}")
    elif form == Format.JSON:
        print_json(text.json())
    else:
        print(text.text, end="")


def compare(
    jobs: Annotated[list[str], typer.Argument(metavar="JOB JOB [JOB]...", help="Ids of 2 to 50 jobs.")],
    as_json: JsonOption = False,
) -> None:
    """Put jobs side by side: accuracy, size and speed of their models, and which of them nothing beats."""
    from app.cli.service import Service

    found = Service().get("/v1/compare", jobs=",".join(jobs))
    if as_json:
        print_json(found)
        return
    headings = (
        "id",
        "name",
        "accuracy >",
        "parameters >",
        "MACs >",
        "bytes >",
        "p95, batch 1 >",
        "nothing beats it in",
    )
    print_table(headings, map(_compared_row, found["jobs"]))
    for job in found["without_report"]:
        say(f"{job} has no report")
    for warning in found["warnings"]:
        say(f"warning: {warning['message']} {' '.join(warning['jobs'])}")


SHORT = {"file_bytes": "bytes", "p95_s": "latency", "macs": "MACs"}


def _compared_row(job: dict[str, Any]) -> tuple[str, ...]:
    missed = f", missed {' '.join(job['gates_missed'])}" if job["gates_missed"] else ""
    figures = (_share(job["accuracy"]), f"{job['parameters']:,}", f"{job['macs']:,}", size(job["file_bytes"]))
    latency = "-" if job["p95_s"] is None else f"{job['p95_s'] * 1000:.2f} ms"
    return (job["job"], job["name"], *figures, latency, ", ".join(SHORT[each] for each in job["optimal"]) + missed)


def print_report(report: dict[str, Any]) -> None:
    """The report as tables and where it was measured."""
    print_table(("", "before >", "after >", "ratio >"), _report_rows(report))
    machine = report["machine"]
    where = f"{machine['device']} on {machine['host']} ({machine['processor']}, {machine['threads']} threads)"
    verified = "the reloaded file gives the same outputs" if report["verified"] else "NOT verified"
    library = next(f"{name} {machine[name]}" for name in ("torch", "tensorflow") if machine.get(name))
    print_fields({"measured": f"{where}, {library}", "verified": verified})
    print_gates(report)


def print_gates(report: dict[str, Any]) -> None:
    """Each gate of the spec with its verdict; nothing where there is none."""
    if report.get("gates"):
        print()
        print_table(("gate", "limit >", "found >", "", "missed by >"), map(_gate_row, report["gates"]))


def _gate_row(gate: dict[str, Any]) -> tuple[str, ...]:
    verdict = "passed" if gate["passed"] else "MISSED"
    limit, found = _figure(gate["limit"]), _figure(gate["found"])
    return (gate["gate"], limit, found, verdict, "" if gate["missed_by"] is None else _figure(gate["missed_by"]))


def _figure(value: float | None) -> str:
    return f"{value:,}" if isinstance(value, int) else number(value)


def _report_rows(report: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    before, after, ratios = report["before"], report["after"], report["ratios"]
    yield ("parameters", f"{before['parameters']:,}", f"{after['parameters']:,}", _ratio(ratios["parameters"]))
    yield ("MACs", f"{before['macs']:,}", f"{after['macs']:,}", _ratio(ratios["macs"]))
    yield ("file bytes", f"{before['file_bytes']:,}", f"{after['file_bytes']:,}", _ratio(ratios["file_bytes"]))
    olds = {(each.get("runtime"), each["batch_size"]): each for each in before["latency"]}
    for new in after["latency"]:
        old = olds.get((new.get("runtime"), new["batch_size"]))
        if old is not None:
            yield from _latency_rows(old, new)
    drop = report["accuracy_drop"]
    accuracies = (_share(before["accuracy"]), _share(after["accuracy"]))
    yield ("accuracy", *accuracies, "-" if drop is None else f"{round(-drop, 4) + 0.0:+.4f}")  # no -0.0000


def _latency_rows(old: dict[str, Any], new: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for name in ("p50", "p95"):
        times = (old[f"{name}_s"], new[f"{name}_s"])
        row = f"latency {name}, batch {old['batch_size']}"
        yield (row, *(f"{seconds * 1000:.2f} ms" for seconds in times), _ratio(times[0] / times[1]))


def _ratio(value: float) -> str:
    return f"{value:.2f}x"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _write(path: Path, content: bytes, force: bool) -> None:
    try:
        if path.exists() and not force and path.read_bytes() != content:
            raise CommandFailed(f"{path} is there already and is another file.\n  Remove it, or add --force.")
        path.write_bytes(content)
    except OSError as error:
        raise CommandFailed(f"{path} cannot be written: {error.strerror}.") from error
