"""The drawings themselves: pure functions, so they are asked directly; pages show them in test_review."""

import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usage.review.charts import HEIGHT, WIDTH, Series, columns, legend, lines, ticks

SVG = "{http://www.w3.org/2000/svg}"


def drawn(svg: str) -> ET.Element:
    return ET.fromstring(svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))


@pytest.mark.parametrize(
    ("highest", "expected"),
    [
        (0, [0, 1]),
        (1, [0, 0.5, 1]),
        (9, [0, 5, 10]),
        (10, [0, 5, 10]),
        (100, [0, 50, 100]),
        (0.03, [0, 0.01, 0.02, 0.03]),
    ],
)
def test_ticks_are_round(highest: float, expected: list[float]) -> None:
    assert ticks(highest) == pytest.approx(expected)


@given(st.floats(min_value=1e-6, max_value=1e12))
def test_ticks_reach_the_highest_value_and_not_far_beyond(highest: float) -> None:
    scale = ticks(highest)
    assert scale[0] == 0 and scale[-1] >= highest * (1 - 1e-6) and scale[-2] < highest and len(scale) <= 6


@given(st.lists(st.one_of(st.none(), st.floats(0, 1e9)), min_size=1, max_size=40))
def test_everything_stands_within_the_drawing(values: list[float | None]) -> None:
    labels = [str(n) for n in range(len(values))]
    series = [Series(name="a", values=values), Series(name="b", values=values)]
    for draw in (columns, lines):
        for mark in drawn(draw(title="t", labels=labels, series=series, shown=str)).iter():
            for name, most in {"x": WIDTH, "cx": WIDTH, "y": HEIGHT, "cy": HEIGHT}.items():
                assert 0 <= float(mark.get(name, 0)) <= most


def test_columns_are_stacked_to_their_sum() -> None:
    svg = drawn(
        columns(
            title="Spend",
            labels=["Mon"],
            series=[Series(name="in", values=[3]), Series(name="out", values=[1])],
            shown=str,
        )
    )
    low, high = svg.findall(f"{SVG}rect")
    assert float(low.get("height", 0)) == pytest.approx(3 * float(high.get("height", 0)), abs=0.05)
    assert float(high.get("y", 0)) + float(high.get("height", 0)) == pytest.approx(float(low.get("y", 0)), abs=0.05)
    assert [rect.findtext(f"{SVG}title") for rect in (low, high)] == ["Mon, in: 3", "Mon, out: 1"]


def test_a_line_is_broken_where_nothing_is_known() -> None:
    svg = drawn(lines(title="t", labels=list("abcd"), series=[Series(name="", values=[1, 2, None, 3])], shown=str))
    assert [len(line.get("points", "").split()) for line in svg.findall(f"{SVG}polyline")] == [2, 1]


def test_names_cannot_become_mark_up() -> None:
    evil = "<script>alert(1)</script>"
    series = [Series(name=evil, values=[1]), Series(name="b", values=[1])]
    assert "<script" not in columns(title=evil, labels=[evil], series=series, shown=str) + legend(series)


def test_where_nothing_was_spent_the_scale_says_0_alone() -> None:
    svg = drawn(columns(title="t", labels=["Mon"], series=[Series(name="", values=[0])], shown="${:g}".format))
    assert [text.text for text in svg.findall(f"{SVG}text") if text.get("class") == "value"] == ["$0"]
