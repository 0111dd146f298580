"""Pictures as SVG: elements from a tree, so that no text of a name can become markup; colours by class, from the page's
own style sheet, so that they follow its light and dark."""

import math
from collections.abc import Iterator, Sequence
from xml.etree.ElementTree import Element, SubElement, tostring

from markupsafe import Markup

from app.services.pages.legible import cut, legible

LEAST = 1e-30  # of a logarithmic scale


def picture(title: str, width: int, height: int) -> Element:
    """An empty picture. Its title is read out to those who cannot see it."""
    svg = Element("svg", viewBox=f"0 0 {width} {height}", width=str(width), height=str(height), role="img")
    SubElement(svg, "title").text = legible(title)
    return svg


def rendered(svg: Element) -> Markup:
    """The picture as a part of a page."""
    return Markup(tostring(svg, encoding="unicode"))


def write(
    svg: Element, x: float, y: float, text: object, *, cls: str = "label", anchor: str = "start", most: int = 60
) -> Element:
    """A line of text. What is cut off can be read as its tooltip."""
    made = SubElement(svg, "text", {"x": f"{x:.1f}", "y": f"{y:.1f}", "class": cls, "text-anchor": anchor})
    made.text = cut(text, most)
    if made.text != legible(text):
        SubElement(made, "title").text = legible(text)
    return made


def rectangle(svg: Element, x: float, y: float, width: float, height: float, cls: str) -> Element:
    """A filled box. Widths of less than half a unit could not be seen."""
    places = {"x": x, "y": y, "width": max(width, 0.5), "height": height}
    return SubElement(svg, "rect", {name: f"{value:.1f}" for name, value in places.items()} | {"class": cls})


def line(svg: Element, x1: float, y1: float, x2: float, y2: float, cls: str) -> Element:
    """A straight line."""
    places = {"x1": x1, "y1": y1, "x2": x2, "y2": y2}
    return SubElement(svg, "line", {name: f"{value:.1f}" for name, value in places.items()} | {"class": cls})


def path(svg: Element, points: Sequence[tuple[float, float]], cls: str) -> Element:
    """A line through points."""
    steps = " ".join(f"{'L' if index else 'M'}{x:.1f} {y:.1f}" for index, (x, y) in enumerate(points))
    return SubElement(svg, "path", {"d": steps, "class": cls, "fill": "none"})


def dot(svg: Element, x: float, y: float, radius: float, cls: str, tooltip: str) -> Element:
    """A point with its name."""
    made = SubElement(svg, "circle", {"cx": f"{x:.1f}", "cy": f"{y:.1f}", "r": f"{radius:g}", "class": cls})
    SubElement(made, "title").text = legible(tooltip)
    return made


class Scale:
    """From values to places. `logarithmic` where they span more than a decade, and all are positive."""

    def __init__(self, values: Sequence[float], start: float, end: float, *, may_be_log: bool = False) -> None:
        low, high = min(values), max(values)
        self.is_log = may_be_log and low > LEAST and high / low > 10
        self._start, self._end = start, end
        self.low, self.high = _widened(self._moved(low), self._moved(high))

    def place(self, value: float) -> float:
        """Where a value stands."""
        part = (self._moved(value) - self.low) / (self.high - self.low)
        return self._start + part * (self._end - self._start)

    def ticks(self) -> Iterator[float]:
        """Round values, about five."""
        if self.is_log:
            first, last = math.ceil(self.low), math.floor(self.high)
            factors = {0: (1, 2, 5), 1: (1, 3)}.get(last - first, (1,))  # few powers of ten alone say little
            powers = range(first - 1, last + 1) if len(factors) > 1 else range(first, last + 1, (last - first) // 6 + 1)
            ticks = (factor * 10.0**power for power in powers for factor in factors)
            yield from (each for each in ticks if self.low <= math.log10(each) <= self.high)
            return
        step = _round_step((self.high - self.low) / 5)
        for index in range(math.ceil(self.low / step), math.floor(self.high / step) + 1):
            yield index * step

    def _moved(self, value: float) -> float:
        return math.log10(value) if self.is_log else value


def _widened(low: float, high: float) -> tuple[float, float]:
    """With some air; one value alone stands in the middle."""
    air = max((high - low) * 0.06, abs(high) * 1e-6, 1e-12)
    return low - air, high + air


def _round_step(least: float) -> float:
    """1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least)
