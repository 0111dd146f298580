"""A followed job on the screen: live bars on a terminal, one line per epoch and phase everywhere else."""

import sys
from typing import Any, Protocol, TextIO

from app.cli.output import duration, number, plain


class Display(Protocol):
    """Where a followed job is shown."""

    def __enter__(self) -> "Display": ...

    def __exit__(self, *error: object) -> None: ...

    def line(self, text: str) -> None:
        """Something that stays on the screen."""

    def job(self, job: dict[str, Any]) -> None:
        """The job as it is now."""

    def event(self, event: dict[str, Any], job: dict[str, Any], fresh: bool) -> None:
        """Something that happened to the job, in order. `fresh`: just now, so `job` is how it stood then."""


def choose_display(stream: TextIO) -> "Display":
    """Bars when `stream` is a terminal, lines otherwise."""
    return Bars(stream) if stream.isatty() else Lines(stream)


class Lines:
    """Plain lines: phases, epochs, notes, and why the job waits."""

    def __init__(self, stream: TextIO = sys.stdout) -> None:
        self._stream = stream
        self._standing: str | None = None

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *error: object) -> None:
        self._stream.flush()

    def line(self, text: str) -> None:
        """One line, at once."""
        print(plain(text), file=self._stream, flush=True)

    def job(self, job: dict[str, Any]) -> None:
        """A line when the state, the attempt or the reason to wait is another than before."""
        standing = standing_line(job)
        if standing != self._standing:
            self._standing = standing
            self.line(standing)

    def event(self, event: dict[str, Any], job: dict[str, Any], fresh: bool) -> None:
        """A line for each event that a person wants to know of."""
        text = event_line(event, job, fresh)
        if text:
            self.line(text)


class Bars:
    """A live bar with epoch, step, loss, accuracy, images/s and time left; notes and phases scroll above it."""

    def __init__(self, stream: TextIO = sys.stdout) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn

        self._console = Console(file=stream, highlight=False)
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.fields[phase]:<9}", markup=False),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TextColumn("{task.fields[figures]}", markup=False),
            console=self._console,
            transient=True,
        )
        self._task = self._progress.add_task("", total=1.0, phase="", figures="")

    def __enter__(self) -> "Bars":
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def line(self, text: str) -> None:
        """One line above the bar."""
        self._console.print(plain(text), markup=False)

    def job(self, job: dict[str, Any]) -> None:
        """Redraw the bar."""
        progress = job["progress"] or {}
        waiting = job["state"] in ("queued", "paused")
        self._progress.update(
            self._task,
            completed=progress.get("fraction", 0.0),
            phase=job["state"] if waiting else job["phase"] or job["state"],
            figures=standing_line(job) if waiting else figures(job),
        )

    def event(self, event: dict[str, Any], job: dict[str, Any], fresh: bool) -> None:
        """Phases and notes scroll; epochs are in the bar."""
        text = event_line(event, job, fresh)
        if text and event["type"] != "epoch":
            self.line(text)


def standing_line(job: dict[str, Any]) -> str:
    """State, why the job waits, and what a user must do for it to go on."""
    if job["state"] == "queued" and job["pending"]:
        pending = job["pending"]
        return f"queued: {pending['reason']}, position {pending['position']}: {pending['detail']}"
    if job["state"] == "paused":
        return f"paused: nothing of it runs until `trainyard resume {job['id']}`"
    wish = f", {job['stop_requested']} requested" if job["stop_requested"] else ""
    attempt = f", attempt {job['attempt']}" if job["attempt"] > 1 else ""
    return f"{job['state']}{attempt}{wish}"


def figures(job: dict[str, Any]) -> str:
    """Epoch, step, latest metrics and time left, as far as they are known."""
    progress, metrics = job["progress"] or {}, of_phase(job["latest_metrics"], job["phase"])
    parts = []
    if progress:
        parts.append(f"epoch {progress['epoch']}/{progress['epochs']}  step {progress['step']}/{progress['steps']}")
    parts += _metrics(metrics, ("train/loss", "val/accuracy"))
    return "  ".join([*parts, *_pace(job, job["phase"])])


def of_phase(metrics: dict[str, Any], phase: str | None) -> dict[str, Any]:
    """The metrics under their plain names: those of the baseline are called `baseline/train/loss` and so on."""
    prefix = "baseline/" if phase == "baseline" else ""
    return {name.removeprefix(prefix): value for name, value in metrics.items() if name.startswith(prefix)}


def event_line(event: dict[str, Any], job: dict[str, Any], fresh: bool) -> str | None:
    """The event for a person; None for those that only programs need."""
    data = event["data"]
    if event["type"] == "phase":
        return str(data["phase"])
    if event["type"] == "note":
        return f"{data['level']}: {data['message']}"
    if event["type"] == "compressed":
        return _compressed_line(data)
    if event["type"] == "epoch":
        return _epoch_line(data, job, fresh)
    return None


def _compressed_line(data: dict[str, Any]) -> str:
    looked_at = data["layers_changed"] + data["layers_kept"]
    costs = [f"{name} {data[f'{name}_before']:,} > {data[f'{name}_after']:,}" for name in ("parameters", "macs")]
    return "  ".join([f"{data['method']}: {data['layers_changed']} of {looked_at} layers", *costs])


def _epoch_line(data: dict[str, Any], job: dict[str, Any], fresh: bool) -> str:
    epochs = job["spec"]["training"]["epochs"]
    names = ("train/loss", "train/accuracy", "val/loss", "val/accuracy")
    values = of_phase(data["values"], data["phase"])
    parts = [f"{data['phase']} epoch {data['epoch']}/{epochs}", *_metrics(values, names)]
    return "  ".join([*parts, *_pace(job, data["phase"])] if fresh else parts)


def _pace(job: dict[str, Any], phase: str | None) -> list[str]:
    """Images a second and the time left, as far as they are known."""
    rate = of_phase(job["latest_metrics"], phase).get("train/images_per_s")
    eta_s = (job["progress"] or {}).get("eta_s")
    parts = [] if rate is None else [f"{_rate(rate)} images/s"]
    return parts if eta_s is None else [*parts, f"{duration(eta_s)} left"]


def _metrics(values: dict[str, Any], names: tuple[str, ...]) -> list[str]:
    return [f"{name} {number(values[name])}" for name in names if name in values]


def _rate(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:,.0f}"
