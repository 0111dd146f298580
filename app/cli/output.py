"""What commands print: data on stdout (tables for people, JSON for programs), messages on stderr."""

import json
import re
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, for programs.")]
UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
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
    """A table on stdout. Cells are text, never markup; headings that end in ` >` are right-aligned."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD if sys.stdout.isatty() else None, pad_edge=False, show_edge=False)
    for heading in headings:
        table.add_column(heading.removesuffix(" >"), justify="right" if heading.endswith(" >") else "left")
    for row in rows:
        table.add_row(*(Text(plain("" if cell is None else cell)) for cell in row))
    Console(file=sys.stdout, width=None if sys.stdout.isatty() else WIDE, highlight=False).print(table)


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
