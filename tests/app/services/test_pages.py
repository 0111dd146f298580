"""Pictures and words of a page by themselves: pure functions, whatever numbers and names they are given."""

from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.services.pages import charts, legible
from app.services.pages.charts import Bar, Dot
from app.services.pages.svg import Scale

ANY = st.floats(allow_nan=True, allow_infinity=True)
FINITE = st.floats(min_value=-1e29, max_value=1e29)
NAMES = st.text(max_size=80)


def read(picture):
    """It is well-formed, and every place in it is a number."""
    tree = ElementTree.fromstring(picture)
    for element in tree.iter():
        for name in ("x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "width", "height"):
            value = float(element.get(name, 0))
            assert -1e6 < value < 1e6, (element.tag, name, value)
        assert "nan" not in element.get("d", "")
        assert "inf" not in element.get("d", "")
    return tree


@given(st.lists(st.tuples(st.integers(1, 2**53), ANY), max_size=20), NAMES)
def test_curves_are_drawn_of_whatever_a_run_reports(points, name):
    picture = charts.curves("Loss", {name: points})
    assert (picture is None) == (not [value for _, value in points if abs(value) < charts.MOST])
    if picture is not None:
        read(picture)


def test_a_curve_breaks_where_a_value_is_none():
    values = [1.0, 2.0, float("nan"), 3.0, 2.5, float("inf"), 4.0]
    tree = read(charts.curves("Loss", {"train/loss": list(enumerate(values, 1))}))
    lines = [each.get("d") for each in tree.iter() if (each.get("class") or "").startswith("line")]
    assert [line.count("M") + line.count("L") for line in lines] == [2, 2, 1]


def test_names_of_curves_stand_side_by_side_above_them():
    names = [f"{before}{what}/accuracy" for before in ("", "baseline/") for what in ("train", "val")]
    tree = read(charts.curves("Accuracy", {name: [(1, 0.5), (2, 0.6)] for name in names}))
    told = [each for each in tree.iter() if (each.get("class") or "").startswith("name")]
    assert sorted(each.text for each in told) == sorted(names)
    assert all(float(each.get("y")) < charts.TOP for each in told)
    places = sorted((float(each.get("x")) - 6 * len(each.text), float(each.get("x"))) for each in told)
    assert places[0][0] > 6 * len("Accuracy")
    assert all(end < start for (_, end), (start, _) in pairwise(places))


@given(st.lists(st.builds(Bar, NAMES, st.floats(0, 1e30), NAMES), max_size=8))
def test_bars_are_as_long_as_their_values(bars):
    tree = read(charts.bars("Bytes", bars))
    widths = [float(each.get("width")) for each in tree.iter() if each.get("class") == "bar"]
    assert len(widths) == len(bars)
    longest = max((bar.value for bar in bars), default=0.0)
    for width, bar in zip(widths, bars, strict=True):
        expected = (charts.WIDTH - charts.LABEL - charts.FIGURE) * (bar.value / longest if longest else 0)
        assert width == pytest.approx(max(expected, 0.5), abs=0.06)


@given(st.lists(st.builds(Dot, NAMES, FINITE, st.floats(0, 1), st.booleans(), st.booleans()), max_size=8))
def test_the_pareto_picture_has_a_dot_for_each_job(dots):
    picture = charts.pareto("Accuracy", ("bytes", legible.size), dots)
    assert (picture is None) == (len(dots) < 2)
    if picture is not None:
        circles = [each for each in read(picture).iter() if each.tag.endswith("circle")]
        assert sorted(each[0].text or "" for each in circles) == sorted(legible.legible(dot.name) for dot in dots)


@given(st.lists(FINITE, min_size=1, max_size=5), st.booleans())
def test_a_scale_puts_every_value_between_its_ends_and_has_few_ticks(values, may_be_log):
    scale = Scale(values, 0, 100, may_be_log=may_be_log)
    places = [scale.place(value) for value in values]
    assert all(-1e-6 <= place <= 100 + 1e-6 for place in places)
    assert [place for _, place in sorted(zip(values, places, strict=True))] == sorted(places)
    assert len(list(scale.ticks())) <= 8


@pytest.mark.parametrize("most", [21.0, 150.0, 2000.0, 1e5, 1e12])
def test_a_logarithmic_scale_has_ticks_enough_to_be_read(most):
    scale = Scale([2.0, most], 0, 100, may_be_log=True)
    assert scale.is_log
    assert 3 <= len(list(scale.ticks())) <= 8
    assert all(0 <= scale.place(each) <= 100 for each in scale.ticks())


@given(NAMES)
def test_no_name_is_markup_in_markdown_or_ends_its_cell(name):
    shown = legible.in_markdown(name)
    assert "\n" not in shown
    assert "|" not in shown.replace("\\\\", "").replace("\\|", "")
    assert "<" not in shown


@pytest.mark.parametrize(
    ("told", "value", "text"),
    [
        (legible.short, 0, "0"), (legible.short, 999.4, "999"), (legible.short, 999.6, "1 k"),
        (legible.short, 4_927_618, "4.93 M"), (legible.short, 10**16, "1e+04 T"),
        (legible.size, 512, "512 B"), (legible.size, 1_560_888, "1.56 MB"), (legible.size, None, "–"),
        (legible.milliseconds, 0.00475, "4.75 ms"), (legible.share, 0.97771, "97.77 %"),
        (legible.points, -0.0139, "-1.39"), (legible.points, -0.0, "+0.00"), (legible.points, -1e-9, "+0.00"),
        (legible.number, 4, "4"), (legible.number, 4.09, "4.09"), (legible.number, 1_000_000, "1,000,000"),
        (legible.legible, "a\u202eb\x00", "a\\u202eb\\u0000"),
        (legible.legible, "cat\u200b\ufeff", "cat\\u200b\\ufeff"), (legible.legible, "👨\u200d👩", "👨\u200d👩"),
        (lambda text: legible.cut(text, 5), "abcdefgh", "abcd…"),
        (lambda text: legible.cut(text, 5), "你好世界", "你好…"), (lambda text: legible.cut(text, 4), "你好", "你好"),
        (legible.in_markdown, "@all: channel_pruning#2 #", "@&#8203;all: channel\\_pruning#&#8203;2 #"),
    ],
)  # fmt: skip
def test_figures_and_names_as_people_read_them(told, value, text):
    assert told(value) == text
