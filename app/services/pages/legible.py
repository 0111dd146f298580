"""Names and figures as a page shows them. Names are other people's: they must not steer who reads them."""

import re
from bisect import bisect_right
from itertools import accumulate
from unicodedata import east_asian_width

UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u2028\u2029"  # controls, and other ends of lines
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # what turns the direction of writing around
    "\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180e\u200b\u2060-\u2065\u3164\ufeff\uffa0\U000e0000-\U000e007f"  # no width
    "\ud800-\udfff]"  # halves of characters
)
_MARKDOWN = re.compile(r"[\\`*_~<>&|\[\]$]")
_CALL = re.compile(r"([@#])(?=\w)")
_LINK = re.compile(r"(?i)(www)\.|:(?=//)")


def legible(text: object) -> str:
    """The text with characters that nobody sees written out, so that two names that differ look different."""
    return UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", str(text))


def cut(text: object, length: int) -> str:
    """At most so many characters, for a label; those of Chinese, Japanese and Korean are wide, and count twice."""
    shown = legible(text)
    ends = list(accumulate(1 + (east_asian_width(each) in "WF") for each in shown))
    if not ends or ends[-1] <= length:
        return shown
    return shown[: bisect_right(ends, length - 1)] + "…"


def in_markdown(text: object) -> str:
    """The text as GitHub shows it to the letter, in a paragraph or a cell: no markup, no link, nobody called."""
    escaped = _MARKDOWN.sub(lambda found: "&lt;" if found[0] == "<" else f"\\{found[0]}", legible(text))
    unlinked = _LINK.sub(lambda found: f"{found[1]}\\." if found[1] else "\\:", escaped)
    return _CALL.sub(
        r"\1&#8203;", unlinked
    )  # GitHub looks for @name and #1 in what is rendered: a backslash is gone there


def count(value: float | None) -> str:
    """`4,927,618`."""
    return "–" if value is None else f"{value:,.0f}"


def short(value: float) -> str:
    """`4.93 M`, three digits."""
    for unit in ("", " k", " M", " G"):
        if abs(value) < 999.5:
            return f"{value:.3g}{unit}"
        value /= 1000
    return f"{value:.3g} T"


def size(value: float | None) -> str:
    """`1.56 MB`, decimal units."""
    return "–" if value is None else (short(value) + "B" if abs(value) >= 999.5 else f"{value:.0f} B")


def milliseconds(value_s: float | None) -> str:
    """`4.75 ms`."""
    return "–" if value_s is None else f"{value_s * 1000:.2f} ms"


def share(value: float | None) -> str:
    """`97.77 %`."""
    return "–" if value is None else f"{value * 100:.2f} %"


def points(value: float | None) -> str:
    """`+1.39`: percentage points."""
    return "–" if value is None else f"{round(value * 100, 2) + 0.0:+.2f}"  # + 0.0: nothing is not less than nothing


def number(value: float | None) -> str:
    """Whole numbers to the last digit, others in four."""
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
