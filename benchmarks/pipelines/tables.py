"""A result file as a table for people, each target beside what was measured."""

import argparse
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PLACES = ("peers", "folder", "only")
"""Arguments that say where things are, not what was measured."""


@dataclass(frozen=True)
class Target:
    """What is wanted, and how near it is. `least`: more is better; else less is."""

    question: str
    found: float
    wanted: float
    unit: str
    least: bool = True

    def row(self) -> str:
        """With what is missing, where it is missed."""
        met = self.found >= self.wanted if self.least else self.found <= self.wanted
        bound = "at least" if self.least else "at most"
        missed = f"**missed by {abs(self.found - self.wanted):.3g}**"
        wanted = f"{bound} {self.wanted:,g} {self.unit}"
        return f"| {self.question} | {self.found:,g} {self.unit} | {wanted} | {'met' if met else missed} |"


def settings(given: argparse.Namespace) -> dict[str, Any]:
    """The arguments, less the places."""
    return {name: value for name, value in vars(given).items() if name not in _PLACES}


def markdown(path: Path, title: str, command: str, targets: Iterable[Target]) -> str:
    """The file as Markdown."""
    result = json.loads(path.read_text("utf-8"))
    machine = result["machine"]
    lines = [
        f"# {title}, {result['date'][:10]}",
        "",
        f"Commit {result['commit']}, {machine['processor']}, {machine['cores']} cores,"
        f" load {machine['load_1min']} at the end, {machine['system']}, Python {machine['python']},"
        f" torch {machine['torch']}. Medians of {result['settings']['rounds']} rounds, all contenders in turn."
        f" Made by `{command}`; all figures are in the JSON file beside this one.",
        "",
        "| question | answer | target | |\n|---|---|---|---|",
        *(each.row() for each in targets),
        "",
        *_speeds(result.get("speed", {}), result.get("times_as_fast", {})),
        *_notes(result),
    ]
    return "\n".join(lines) + "\n"


def _speeds(speeds: dict[str, Any], ratios: dict[str, float]) -> Iterator[str]:
    if speeds:
        yield "| contender | images/s | lowest to highest | a CPU second | ours is |\n|---|---|---|---|---|"
    for name, found in speeds.items():
        span = f"{found['lowest']:,g} to {found['highest']:,g}"
        ratio = f"{ratios[name]:g} times as fast" if name in ratios else ""
        yield f"| {name} | {found['images_per_s']:,g} | {span} | {found['images_per_cpu_s']:,g} | {ratio} |"


def _notes(result: dict[str, Any]) -> Iterator[str]:
    for part in ("exactness", "gpu", "start"):
        if found := result.get(part):
            yield ""
            yield f"{part}: " + (found if isinstance(found, str) else "; ".join(_said(found)))


def _said(found: dict[str, Any]) -> Iterator[str]:
    for name, value in found.items():
        yield f"{name.replace('_', ' ')} {value:,g}" if isinstance(value, int | float) else f"{name}: {value}"
