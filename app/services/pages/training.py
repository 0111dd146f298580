"""The sections of a page about how the model came to be, and where it stands among others."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from markupsafe import Markup

from app.contract.comparison import ComparedJob, Cost
from app.contract.plan import LayerChange
from app.services import comparing
from app.services.pages import charts
from app.services.pages.charts import Dot
from app.services.pages.layout import Section, Table
from app.services.pages.legible import count, milliseconds, share, short, size

MOST_LAYERS = 500
MOST_OTHERS = 50

COSTS: Mapping[Cost, tuple[str, str, Callable[[float], str]]] = {
    "file_bytes": ("Accuracy for the size of the file", "bytes", size),
    "p95_s": ("Accuracy for the latency of one image, p95", "latency", milliseconds),
    "macs": ("Accuracy for the work of one image", "MACs", short),
}


def curves(series: Mapping[str, Sequence[tuple[float, float]]]) -> Iterator[Section]:
    """Loss and accuracy over the steps, of the baseline too where it was trained."""
    found = [
        charts.curves(title, {name: points for name, points in sorted(series.items()) if name.endswith(what)})
        for title, what in (("Loss", "/loss"), ("Accuracy", "/accuracy"))
    ]
    pictures = [each for each in found if each is not None]
    if pictures:
        last = [(name, *points[-1]) for name, points in sorted(series.items()) if points]
        rows = [(name, f"{step:,.0f}", f"{value:.4g}") for name, step, value in last]
        yield Section("Training", tables=[Table(("metric", "last step >", "value >"), rows)], pictures=pictures)


def layers(found: Sequence[LayerChange]) -> Iterator[Section]:
    """What each method did to each layer, as it was planned."""
    if not found:
        return
    rows = [(each.name, each.method, each.status, *_costs(each), each.reason) for each in found[:MOST_LAYERS]]
    more = [f"The first {MOST_LAYERS} of {len(found)}."] if len(found) > MOST_LAYERS else []
    headings = ("layer", "method", "status", "parameters before >", "after >", "MACs before >", "after >", "why")
    table = Table(headings, rows)
    yield Section("Layers", more, [table], folded=True)


def _costs(layer: LayerChange) -> Iterator[str]:
    yield count(layer.parameters_before)
    yield count(layer.parameters_after)
    yield from ("" if each is None else count(each) for each in (layer.macs_before, layer.macs_after))


def pareto(jobs: Sequence[ComparedJob]) -> Iterator[Section]:
    """The first of the jobs among the others on the same data."""
    if len(jobs) < 2:
        return
    own = jobs[0]
    on_machine = [each for each in jobs if comparing.place(each) == comparing.place(own)]
    pictures = [_picture(cost, on_machine if cost == "p95_s" else jobs) for cost in COSTS]
    notes = [
        f"This job among the {len(jobs) - 1} newest others that succeeded on the same data; the line joins those that "
        "nothing beats in both. The large dot is this job."
    ]
    if len(on_machine) < len(jobs):
        notes.append(
            f"{len(jobs) - len(on_machine)} of them were measured on other machines: latencies leave them out."
        )
    headings = ("job", "name", "accuracy >", "parameters >", "MACs >", "bytes >", "p95 of one image >")
    first = sorted(jobs, key=lambda each: -(each.accuracy or 0.0))[:MOST_OTHERS]
    table = Table(headings, [_row(each) for each in first])
    yield Section("Beside other jobs", notes, [table], [each for each in pictures if each is not None])


def _row(job: ComparedJob) -> tuple[str, ...]:
    figures = (share(job.accuracy), count(job.parameters), count(job.macs), size(job.file_bytes))
    return (job.job, job.name, *figures, milliseconds(job.p95_s))


def _picture(cost: Cost, jobs: Sequence[ComparedJob]) -> Markup | None:
    title, axis, told = COSTS[cost]
    dots = []
    for index, job in enumerate(jobs):
        value = getattr(job, cost)
        if value is not None and job.accuracy is not None:
            name = f"{job.name} ({job.job}): {share(job.accuracy)}, {told(value)}"
            dots.append(Dot(name, float(value), job.accuracy, best=cost in job.optimal, here=index == 0))
    return charts.pareto(title, (axis, told), dots)
