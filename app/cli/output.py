"""What commands print: data on stdout (tables for people, JSON for programs), messages on stderr."""

import json
import re
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import typer

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, for programs.")]
UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
IDS = ("id", "job", "sha256")
NARROWEST, GAP = 4, 3  # of a column that gives way to an id, and between two columns; in characters
WIDE = 500  # columns when nobody's terminal bounds the line: nothing is cut for a program or a file


def print_json(document: Any) -> None:
    """One JSON document on stdout."""
    print(json.dumps(document, indent=2, ensure_ascii=False))


def say(message: str) -> None:
    """A message for the person, on stderr."""
    print(message, file=sys.stderr)


def plain(text: Any) -> str:
    """The text without control characters: what a job printed must not steer the reader's terminal."""
    return UNPRINTABLE.sub("", str(text))


def print_table(headings: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A table on stdout. Cells are text, never markup; headings that end in ` >` are right-aligned.

    Ids are never cut or folded, since they are there to be copied: a terminal that is too narrow wraps the lines.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    names = [heading.removesuffix(" >") for heading in headings]
    cells = [[plain("" if cell is None else cell) for cell in row] for row in rows]
    table = Table(box=box.SIMPLE_HEAD if sys.stdout.isatty() else None, pad_edge=False, show_edge=False)
    for name, heading in zip(names, headings, strict=True):
        justify: Literal["left", "right"] = "right" if heading != name else "left"
        table.add_column(name, justify=justify, no_wrap=name in IDS)
    for row in cells:
        table.add_row(*map(Text, row))
    width = max(Console(file=sys.stdout).width, _least_width(names, cells)) if sys.stdout.isatty() else WIDE
    Console(file=sys.stdout, width=width, highlight=False).print(table)


def _least_width(names: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """Columns of the terminal that the ids need in full, when all else gives way."""
    widths = [
        max((len(row[column]) for row in rows), default=0) if name in IDS else NARROWEST
        for column, name in enumerate(names)
    ]
    return sum(widths) + GAP * len(widths)


def print_fields(fields: dict[str, Any]) -> None:
    """Names and values, one a line; what is None is left out."""
    shown = {name: plain(value) for name, value in fields.items() if value is not None}
    width = max(map(len, shown), default=0)
    for name, value in shown.items():
        print(f"{name:<{width}}  {value}")


def duration(seconds: float) -> str:
    """`42 s`, `3 min 05 s`, `2 h 10 min`."""
    whole = max(round(seconds), 0)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def size(size_bytes: float) -> str:
    """`512 B`, `1.4 MB`: decimal units."""
    for unit in ("B", "kB", "MB", "GB"):
        if size_bytes < 1000:
            return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.1f} TB"


def age(time: str) -> str:
    """How long ago an RFC 3339 time was."""
    return duration((datetime.now(UTC) - datetime.fromisoformat(time)).total_seconds()) + " ago"


def number(value: Any) -> str:
    """A metric's value in four significant digits; "NaN" and the infinities as they are; nothing for None."""
    if value is None:
        return "-"
    return value if isinstance(value, str) else f"{value:.4g}"
