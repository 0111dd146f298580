"""The sections of a page that come from the report alone."""

from collections.abc import Callable, Iterator, Sequence

from markupsafe import Markup

from app.contract.report import ClassChange, GateResult, Latency, Measurement, Report, Stage
from app.services.pages import charts
from app.services.pages.charts import Bar
from app.services.pages.layout import Section, Table
from app.services.pages.legible import count, milliseconds, number, points, share, short, size

MOST_CLASSES = 500
DRAWN_CLASSES = 30


def gates(report: Report) -> Iterator[Section]:
    """What was asked for beside what was found."""
    if report.gates:
        rows = [_gate(each) for each in report.gates]
        wrong = frozenset(index for index, each in enumerate(report.gates) if not each.passed)
        yield Section("Gates", tables=[Table(("gate", "limit >", "found >", "", "missed by >"), rows, wrong)])


def _gate(result: GateResult) -> tuple[str, ...]:
    verdict = "passed" if result.passed else "missed" if result.found is not None else "not measured"
    missed_by = "" if result.missed_by is None else number(result.missed_by)
    return (result.gate, number(result.limit), number(result.found), verdict, missed_by)


def stages(report: Report) -> Iterator[Section]:
    """The network before, and after each method."""
    found = report.stages or [_as_stage("before", report.before), _as_stage("after", report.after)]
    notes = [] if report.accuracy_drop is None else [f"Accuracy changed by {points(-report.accuracy_drop)} points."]
    if report.stages:
        notes += _baseline_note(report)
    notes += _trained_note(found[-1])
    yield Section("What each step did", notes, [_sizes(found), *_latencies(found)], list(_pictures(found)))


def _as_stage(name: str, measured: Measurement) -> Stage:
    return Stage(name=name, **measured.model_dump(include={"parameters", "macs", "file_bytes", "latency", "accuracy"}))


def _trained_note(shipped: Stage) -> list[str]:
    """Only what is not plain: not all epochs, not the last one's weights, or an average."""
    trained = shipped.trained
    if trained is None:
        return []
    notes = []
    if trained.stopped_early:
        notes.append(f"Training was stopped early, after epoch {trained.epochs} of {trained.planned_epochs}.")
    if trained.exported_epoch != trained.epochs:
        notes.append(f"The weights are those of epoch {trained.exported_epoch}, the best one.")
    if trained.averaged:
        notes.append("The weights are a moving average.")
    return notes


def _baseline_note(report: Report) -> list[str]:
    before = report.before
    return [
        f"Compared with: {count(before.parameters)} parameters, {count(before.macs)} MACs, {size(before.file_bytes)}, "
        f"accuracy {share(before.accuracy)}."
    ]


def _sizes(found: Sequence[Stage]) -> Table:
    headings = ("stage", "parameters >", "MACs >", "file >", "gzip >", "training memory >", "accuracy >", "95 % >")
    return Table(headings, [_size_row(each) for each in found])


def _size_row(stage: Stage) -> tuple[str, ...]:
    low_high = stage.accuracy_interval
    interval = "–" if low_high is None else f"{low_high[0] * 100:.2f} to {low_high[1] * 100:.2f} %"
    sizes = (size(stage.file_bytes), size(stage.gzip_bytes), size(stage.training_memory_bytes))
    return (stage.name, count(stage.parameters), count(stage.macs), *sizes, share(stage.accuracy), interval)


def _latencies(found: Sequence[Stage]) -> Iterator[Table]:
    """One row for each runtime and batch size, both columns of each stage beside each other."""
    keys = list(dict.fromkeys((each.runtime, each.batch_size) for stage in found for each in stage.latency))
    if not keys:
        return
    headings = ("latency, p50 / p95", *(f"{stage.name} >" for stage in found))
    rows = [
        (f"{runtime}, batch {batch_size}", *(_cell(stage.latency, runtime, batch_size) for stage in found))
        for runtime, batch_size in keys
    ]
    yield Table(headings, rows)


def _cell(latency: Sequence[Latency], runtime: str, batch_size: int) -> str:
    for each in latency:
        if (each.runtime, each.batch_size) == (runtime, batch_size):
            return f"{each.p50_s * 1000:.2f} / {milliseconds(each.p95_s)}"
    return "–"


def _pictures(found: Sequence[Stage]) -> Iterator[Markup]:
    yield _bars("Parameters", found, lambda stage: stage.parameters, short)
    yield _bars("Multiply-accumulates of one image", found, lambda stage: stage.macs, short)
    yield _bars("Bytes of the file", found, lambda stage: stage.file_bytes, size)
    for runtime in dict.fromkeys(each.runtime for stage in found for each in stage.latency):
        title = f"Latency of one image, p95, {runtime}"
        yield _bars(title, found, lambda stage, runtime=runtime: _p95(stage, runtime), milliseconds)  # type: ignore[misc]
    if any(stage.accuracy is not None for stage in found):
        yield _bars("Accuracy", found, lambda stage: stage.accuracy, share)


def _bars(
    title: str, found: Sequence[Stage], value: Callable[[Stage], float | None], told: Callable[[float], str]
) -> Markup:
    known = [(stage.name, value(stage)) for stage in found]
    return charts.bars(title, [Bar(name, each, told(each)) for name, each in known if each is not None])


def _p95(stage: Stage, runtime: str) -> float | None:
    return next((each.p95_s for each in stage.latency if (each.runtime, each.batch_size) == (runtime, 1)), None)


def classes(report: Report) -> Iterator[Section]:
    """Each class, those first that lost most."""
    if not report.classes:
        return
    found = sorted(report.classes, key=_gain)
    rows = [(each.name, count(each.images), share(each.before), share(each.after), _points(each)) for each in found]
    changed = [Bar(each.name, _gain(each), points(_gain(each))) for each in found if _is_known(each)]
    drawn = (
        changed if len(changed) <= DRAWN_CLASSES else [*changed[: DRAWN_CLASSES // 2], *changed[-DRAWN_CLASSES // 2 :]]
    )
    notes = (
        ["Those first that lost most."] if changed else ["The network before was not trained: no class has a before."]
    )
    if len(drawn) < len(changed):
        notes.append(f"Drawn are the {DRAWN_CLASSES // 2} that lost most and as many that gained most.")
    if len(rows) > MOST_CLASSES:
        notes.append(f"Listed are the first {MOST_CLASSES} of {len(rows)} classes; the JSON has all.")
    headings = ("class", "images >", "before >", "after >", "points >")
    pictures = [charts.changes("Change of each class, in percentage points", drawn)] if drawn else []
    yield Section("Classes", notes, [Table(headings, rows[:MOST_CLASSES])], pictures, folded=len(rows) > DRAWN_CLASSES)


def _is_known(change: ClassChange) -> bool:
    return change.before is not None and change.after is not None


def _gain(change: ClassChange) -> float:
    return 0.0 if change.before is None or change.after is None else change.after - change.before


def _points(change: ClassChange) -> str:
    return points(_gain(change)) if _is_known(change) else "–"


def exports(report: Report) -> Iterator[Section]:
    """Every file that was reloaded, and how far its outputs are from the trained network's."""
    if not report.exports:
        return
    headings = ("file", "format", "bytes >", "runtime", "largest difference >", "same class >", "images >")
    rows = [
        (
            each.file,
            each.format,
            count(each.size_bytes),
            each.runtime,
            "–" if each.max_abs_difference is None else f"{each.max_abs_difference:.3g}",
            share(each.top1_agreement),
            count(each.images),
        )
        for each in report.exports
    ]
    note = "Each reloaded in a clean process, its outputs compared with those of the trained network."
    yield Section("Files", [note], [Table(headings, rows)])
