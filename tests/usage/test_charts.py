"""The drawings themselves: pure functions, so they are asked directly; pages show them in test_review."""

import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usage.review.charts import HEIGHT, WIDTH, Series, columns, legend, table, ticks

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


@given(st.lists(st.floats(0, 1e9), min_size=1, max_size=40))
def test_everything_stands_within_the_drawing(values: list[float]) -> None:
    labels = [str(n) for n in range(len(values))]
    series = [Series(name="a", values=values), Series(name="b", values=values)]
    for mark in drawn(columns(title="t", labels=labels, series=series, shown=str)).iter():
        for name, most in {"x": WIDTH, "y": HEIGHT}.items():
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


def test_who_cannot_see_it_hears_the_most_and_reads_the_rest() -> None:
    series = [Series(name="in", values=[3, 5]), Series(name="out", values=[1, 2])]
    svg = drawn(columns(title="Tokens", labels=["Mon", "Tue"], series=series, shown="{:g} k".format))
    assert svg.get("role") == "img" and svg.get("aria-label") == "Tokens: at most 7 k, Tue"
    rows = ET.fromstring(table(head="Day", labels=["Mon", "Tue"], series=series, shown="{:g}".format)).iter("tr")
    assert [[cell.text for cell in row] for row in rows] == [["Day", "in", "out"], ["Mon", "3", "1"], ["Tue", "5", "2"]]


@pytest.mark.parametrize("number", [1, 2, 7, 10, 11, 31, 92])
def test_a_small_drawing_leaves_every_second_label_out_and_never_the_last(number: int) -> None:
    labels = [str(n) for n in range(number)]
    svg = drawn(columns(title="t", labels=labels, series=[Series(name="", values=[1] * number)], shown=str))
    found = [text for text in svg.findall(f"{SVG}text") if text.get("class", "").startswith("label")]
    assert len(found) <= 10 and found[-1].text == labels[-1]
    assert [text.get("class") for text in reversed(found)] == (["label", "label second"] * 5)[: len(found)]


def test_names_cannot_become_mark_up() -> None:
    evil = "<script>alert(1)</script>"
    series = [Series(name=evil, values=[1]), Series(name="b", values=[1])]
    assert "<script" not in columns(title=evil, labels=[evil], series=series, shown=str) + legend(series)
    assert "<script" not in table(head=evil, labels=[evil], series=series, shown=str)


def test_where_nothing_was_spent_the_scale_says_0_alone() -> None:
    svg = drawn(columns(title="t", labels=["Mon"], series=[Series(name="", values=[0])], shown="${:g}".format))
    assert svg.get("aria-label") == "t: nothing"
    assert [text.text for text in svg.findall(f"{SVG}text") if text.get("class") == "value"] == ["$0"]
