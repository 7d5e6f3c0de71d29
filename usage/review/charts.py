"""Charts as SVG, drawn here: they need no script and no foreign server, follow light and dark by the page's own
variables (`review.css`), and say in words what they show to who cannot see them: each has a table of the same numbers.

Numbers in, mark-up out; no I/O. All sizes are units of the drawing, which scales to the page.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil, log10

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

WIDTH, HEIGHT = 720.0, 240.0
# Room for letters of a drawing that is scaled down to a phone, where they are twice as large.
LEFT, RIGHT, TOP, BOTTOM = 80.0, 28.0, 14.0, 30.0
MAX_TICKS = 5
TINY = 1e-9
MAX_LABELS = 10
# Of a column's place, so that neighbours do not touch.
FILLED = 0.78

Format = Callable[[float], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One colour of a chart: a value for each label."""

    name: str
    values: Sequence[float]


def ticks(highest: float) -> list[float]:
    """Round numbers from 0 up to the first one that is not below `highest`: steps of 1, 2 or 5 times a power of ten."""
    if highest < TINY:
        return [0.0, 1.0]
    rough = highest / (MAX_TICKS - 1)
    power = 10.0 ** int(log10(rough) // 1)
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    return [step * n for n in range(ceil(highest / step - 1e-9) + 1)]


@dataclass(frozen=True)
class _Plane:
    """Where a value stands in the drawing."""

    labels: Sequence[str]
    highest: float

    @property
    def empty(self) -> bool:
        return self.highest < TINY

    @cached_property
    def scale(self) -> Sequence[float]:
        return ticks(self.highest)

    @property
    def step(self) -> float:
        return (WIDTH - LEFT - RIGHT) / max(1, len(self.labels))

    def x(self, place: int) -> float:
        """The middle of a place."""
        return LEFT + self.step * (place + 0.5)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / self.scale[-1]


def columns(*, title: str, labels: Sequence[str], series: Sequence[Series], shown: Format) -> SafeString:
    """A column for each label, its series stacked; `shown` writes a value for people."""
    sums = [sum(one.values[place] for one in series) for place in range(len(labels))]
    plane = _Plane(labels, max(sums, default=0))
    return _chart(_in_words(title, plane, sums, shown), plane, shown, _stacks(plane, series, shown))


def _stacks(plane: _Plane, series: Sequence[Series], shown: Format) -> Iterator[SafeString]:
    width = plane.step * FILLED
    for place, label in enumerate(plane.labels):
        base = 0.0
        for number, one in enumerate(series):
            value = one.values[place]
            if value <= 0:
                continue
            yield format_html(
                '<rect class="s{}" x="{}" y="{}" width="{}" height="{}"><title>{}</title></rect>',
                number,
                _round(plane.x(place) - width / 2),
                _round(plane.y(base + value)),
                _round(width),
                _round(plane.y(base) - plane.y(base + value)),
                _said(label, one.name, shown(value)),
            )
            base += value


def table(*, head: str, labels: Sequence[str], series: Sequence[Series], shown: Format) -> SafeString:
    """The numbers of a chart, a row for each label: for who cannot see it or cannot point at it."""
    names = format_html_join("", '<th scope="col" class="number">{}</th>', ((one.name,) for one in series))
    rows = (
        (
            label,
            format_html_join("", '<td class="number">{}</td>', ((shown(one.values[place]),) for one in series)),
        )
        for place, label in enumerate(labels)
    )
    return format_html(
        '<table class="review-numbers"><thead><tr><th scope="col">{}</th>{}</tr></thead><tbody>{}</tbody></table>',
        head,
        names,
        format_html_join("", '<tr><th scope="row">{}</th>{}</tr>', rows),
    )


def _in_words(title: str, plane: _Plane, sums: Sequence[float], shown: Format) -> str:
    if plane.empty:
        return f"{title}: nothing"
    return f"{title}: at most {shown(plane.highest)}, {plane.labels[sums.index(plane.highest)]}"


def legend(series: Sequence[Series]) -> SafeString:
    """Which colour is which; nothing where there is but one."""
    if len(series) < 2:  # noqa: PLR2004
        return SafeString()
    keys = format_html_join("", '<li><span class="s{}"></span>{}</li>', ((n, one.name) for n, one in enumerate(series)))
    return format_html('<ul class="legend">{}</ul>', keys)


def _chart(words: str, plane: _Plane, shown: Format, marks: Iterable[SafeString]) -> SafeString:
    return format_html(
        '<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}{}{}</svg>',
        int(WIDTH),
        int(HEIGHT),
        words,
        _grid(plane, shown),
        _labels(plane),
        format_html_join("", "{}", ((mark,) for mark in marks)),
    )


def _grid(plane: _Plane, shown: Format) -> SafeString:
    """A line for each round number; where there is nothing to show, for 0 alone."""
    rows = (
        (LEFT, _round(plane.y(value)), WIDTH - RIGHT, shown(value))
        for value in (plane.scale[:1] if plane.empty else plane.scale)
    )
    return format_html_join(
        "",
        '<line x1="{0}" y1="{1}" x2="{2}" y2="{1}"/><text class="value" x="{4}" y="{1}">{3}</text>',
        ((*row, LEFT - 6) for row in rows),
    )


def _labels(plane: _Plane) -> SafeString:
    """As many as there is room for, the last one always; a small drawing leaves every second one out."""
    every = max(1, ceil(len(plane.labels) / MAX_LABELS))
    last = len(plane.labels) - 1
    return format_html_join(
        "",
        '<text class="label{}" x="{}" y="{}">{}</text>',
        (
            (" second" if (last - place) // every % 2 else "", _round(plane.x(place)), HEIGHT - 8, label)
            for place, label in enumerate(plane.labels)
            if (last - place) % every == 0
        ),
    )


def _said(label: str, name: str, value: str) -> str:
    return f"{label}: {value}" if not name else f"{label}, {name}: {value}"


def _round(number: float) -> float:
    return round(number, 2)
