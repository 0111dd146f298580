"""The pictures of a report: bars of the stages, changes of the classes, curves, and the Pareto picture."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from markupsafe import Markup

from app.services.pages import svg
from app.services.pages.svg import Scale

WIDTH = 680
LABEL, FIGURE = 190, 90  # room for names on the left, and for figures on the right
ROW = 24
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 30, 40  # around a chart with two axes
HEIGHT = 300
COLOURS = 6
MOST = 1e30
CHARACTER, MOST_NAME = 6.5, 28  # width of one, and how many of a name are shown, of 12 px


@dataclass(frozen=True)
class Bar:
    """One bar, with its figure as text."""

    name: str
    value: float
    text: str


@dataclass(frozen=True)
class Dot:
    """A point of the Pareto picture. `best`: nothing else is better in both; `here`: the job of the page."""

    name: str
    x: float
    y: float
    best: bool
    here: bool


def bars(title: str, values: Sequence[Bar]) -> Markup:
    """Horizontal bars from 0 on."""
    made = svg.picture(title, WIDTH, TOP + ROW * len(values))
    svg.write(made, 0, 16, title, cls="heading")
    longest = max((bar.value for bar in values), default=0.0) or 1.0
    for index, bar in enumerate(values):
        y = TOP + index * ROW
        svg.write(made, 0, y + 14, bar.name, most=MOST_NAME)
        length = (WIDTH - LABEL - FIGURE) * bar.value / longest
        svg.rectangle(made, LABEL, y + 2, length, ROW - 8, "bar")
        svg.write(made, LABEL + length + 6, y + 14, bar.text, cls="figure")
    return svg.rendered(made)


def changes(title: str, values: Sequence[Bar]) -> Markup:
    """Bars to the left of a middle for losses, to the right for gains."""
    made = svg.picture(title, WIDTH, TOP + ROW * len(values))
    svg.write(made, 0, 16, title, cls="heading")
    middle, room = LABEL + (WIDTH - LABEL) / 2, (WIDTH - LABEL) / 2 - FIGURE
    longest = max((abs(bar.value) for bar in values), default=0.0) or 1.0
    for index, bar in enumerate(values):
        y, length = TOP + index * ROW, room * abs(bar.value) / longest
        is_loss = bar.value < 0
        svg.write(made, 0, y + 14, bar.name, most=MOST_NAME)
        svg.rectangle(
            made, middle - length if is_loss else middle, y + 2, length, ROW - 8, "loss" if is_loss else "gain"
        )
        beside = middle - length - 6 if is_loss else middle + length + 6
        svg.write(made, beside, y + 14, bar.text, cls="figure", anchor="end" if is_loss else "start")
    svg.line(made, middle, TOP, middle, TOP + ROW * len(values), "axis")
    return svg.rendered(made)


def curves(title: str, series: Mapping[str, Sequence[tuple[float, float]]]) -> Markup | None:
    """Lines over the steps, one a name; where a value is not finite the line breaks. None when there is nothing."""
    finite = {name: _finite(points) for name, points in series.items()}
    places = [point for points in finite.values() for point in points]
    if not places:
        return None
    made = svg.picture(title, WIDTH, HEIGHT)
    svg.write(made, 0, 16, title, cls="heading")
    x = Scale([step for step, _ in places], LEFT, WIDTH - RIGHT)
    y = Scale([value for _, value in places], HEIGHT - BOTTOM, TOP)
    _axes(made, x, y, ("step", _plain), ("", _plain))
    for index, points in enumerate(series.values()):
        for part in _unbroken(points):
            svg.path(made, [(x.place(step), y.place(value)) for step, value in part], f"line line{index % COLOURS}")
    _legend(made, list(series))
    return svg.rendered(made)


def _legend(made: Element, names: Sequence[str]) -> None:
    """Above the lines, which may go anywhere below; from the right."""
    end = float(WIDTH - RIGHT)
    for index, name in reversed(list(enumerate(names))):
        svg.write(made, end, 16, name, cls=f"name name{index % COLOURS}", anchor="end", most=MOST_NAME)
        end -= CHARACTER * min(len(name), MOST_NAME) + 12


def pareto(title: str, x_axis: tuple[str, Callable[[float], str]], dots: Sequence[Dot]) -> Markup | None:
    """Accuracy over a cost: what is best, for what it costs, is joined by a line. None for fewer than two dots."""
    if len(dots) < 2:
        return None
    made = svg.picture(title, WIDTH, HEIGHT)
    svg.write(made, 0, 16, title, cls="heading")
    x = Scale([dot.x for dot in dots], LEFT, WIDTH - RIGHT, may_be_log=True)
    y = Scale([dot.y for dot in dots], HEIGHT - BOTTOM, TOP)
    _axes(made, x, y, x_axis, ("", lambda value: f"{value * 100:.3g} %"))
    front = sorted((dot.x, dot.y) for dot in dots if dot.best)
    svg.path(made, [(x.place(across), y.place(up)) for across, up in front], "front")
    for dot in sorted(dots, key=lambda dot: (dot.here, dot.best)):
        cls = "dot" + (" best" if dot.best else "") + (" here" if dot.here else "")
        svg.dot(made, x.place(dot.x), y.place(dot.y), 6 if dot.here else 4, cls, dot.name)
    return svg.rendered(made)


def _axes(
    made: Element,
    x: Scale,
    y: Scale,
    x_axis: tuple[str, Callable[[float], str]],
    y_axis: tuple[str, Callable[[float], str]],
) -> None:
    floor = HEIGHT - BOTTOM
    for value in y.ticks():
        svg.line(made, LEFT, y.place(value), WIDTH - RIGHT, y.place(value), "grid")
        svg.write(made, LEFT - 6, y.place(value) + 4, y_axis[1](value), cls="tick", anchor="end")
    for value in x.ticks():
        svg.line(made, x.place(value), floor, x.place(value), floor + 4, "axis")
        svg.write(made, x.place(value), floor + 16, x_axis[1](value), cls="tick", anchor="middle")
    svg.line(made, LEFT, floor, WIDTH - RIGHT, floor, "axis")
    svg.write(made, WIDTH - RIGHT, HEIGHT - 6, x_axis[0], cls="tick", anchor="end")
    svg.write(made, LEFT, TOP - 4, y_axis[0], cls="tick")


def _plain(value: float) -> str:
    return f"{value:,.4g}" if abs(value) < 10_000 else f"{value:,.0f}"


def _finite(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    return [point for point in points if _can_be_drawn(point)]


def _can_be_drawn(point: tuple[float, float]) -> bool:
    """A loss near the end of what a float can say has no place on an axis, as little as infinity."""
    return abs(point[1]) < MOST  # NaN is not


def _unbroken(points: Sequence[tuple[float, float]]) -> list[list[tuple[float, float]]]:
    parts: list[list[tuple[float, float]]] = [[]]
    for point in points:
        if _can_be_drawn(point):
            parts[-1].append(point)
        elif parts[-1]:
            parts.append([])
    return [part for part in parts if part]
