"""What the overview shows for a selection: figures, charts and tables, read and made ready for its template."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from django.utils.safestring import SafeString

from usage.review import shown
from usage.review.asked import Asked
from usage.review.charts import Series, columns, legend, table
from usage.review.forecast import first_needed, forecast
from usage.review.periods import each_day, month_of, next_month, utc_today
from usage.review.sums import Amounts, Part, by_day, by_month, parts_by, total
from usage.roll_ups import FIRST_TOKEN, SUMS

MOST_DAYS = 92
"""Longer periods are drawn by month."""
FURTHER = {"purpose": "Purposes", "assistant": "Assistants", "key": "API keys"}
_TABLES = {"model": "Models", "user": "Users", "group": "Groups", "account": "Accounts"}
_NOTHING: Amounts = dict.fromkeys(SUMS, 0)
_TOKENS = {
    "input_tokens": "in, uncached", "cache_read_tokens": "from cache", "cache_write_tokens": "into cache",
    "output_tokens": "out",
}  # fmt: skip
_WAITS = dict(zip(FIRST_TOKEN, ("≤ 0.5 s", "≤ 1 s", "≤ 2 s", "≤ 5 s", "later"), strict=True))


@dataclass(frozen=True, slots=True)
class Chart:
    title: str
    note: str
    drawn: SafeString
    legend: SafeString
    table: SafeString


@dataclass(frozen=True, slots=True)
class Row:
    name: str
    only: str
    """This one alone, as the addresses of the overview and of the list of calls say it."""
    part: Part
    share: float
    """Of the largest, in per cent: how long its bar is."""
    cost: str


@dataclass(frozen=True, slots=True)
class Table:
    title: str
    name: str
    rows: Sequence[Row]


def overview(asked: Asked, further: str) -> dict[str, Any]:
    """The template's context. `further` is a key of FURTHER. Blocks; at most eight queries."""
    today = utc_today()
    by_step, monthly, spent = _over_time(asked, today)
    whole = total(list(by_step.values()))
    names = {**_TABLES, further: FURTHER[further]}
    return {
        "figures": _figures(whole),
        "forecast": _forecast(spent, today),
        "charts": _charts(by_step, "month" if monthly else "day"),
        "tables": [_table(names[name], name, found, asked) for name, found in parts_by(asked, [*names]).items()],
        "further": further,
        "whole": whole,
    }


def _over_time(asked: Asked, today: date) -> tuple[Mapping[date, Amounts], bool, Mapping[date, int]]:
    """The sums by each day or month of the period, and what was spent on each day that the forecast looks at."""
    needed = first_needed(today)
    start, end = min(asked.first, needed), max(min(asked.last, today), today)
    if asked.days <= MOST_DAYS and (end - start).days < MOST_DAYS:
        found = by_day(asked, start, end)  # both at once
        return _each(found, list(each_day(asked.first, asked.last))), False, _cost(found)
    spent = _cost(by_day(asked, needed, today))
    if asked.days <= MOST_DAYS:
        return _each(by_day(asked, asked.first, asked.last), list(each_day(asked.first, asked.last))), False, spent
    return _each(by_month(asked), list(_each_month(asked))), True, spent


def _each(found: Mapping[date, Amounts], steps: Sequence[date]) -> Mapping[date, Amounts]:
    return {step: found.get(step, _NOTHING) for step in steps}


def _each_month(asked: Asked) -> Sequence[date]:
    months = [month_of(asked.first)]
    while (month := next_month(months[-1])) <= asked.last:
        months.append(month)
    return months


def _cost(found: Mapping[date, Amounts]) -> Mapping[date, int]:
    return {day: amounts["micro_dollars"] for day, amounts in found.items()}


def _figures(whole: Amounts) -> list[tuple[str, str, str]]:
    """Name, value, remark."""
    read = whole["input_tokens"] + whole["cache_read_tokens"] + whole["cache_write_tokens"]
    estimated, unpriced = whole["estimated_calls"], whole["unpriced_calls"]
    return [
        ("Cost", shown.money(whole["micro_dollars"]), f"{unpriced:,} calls without a price" if unpriced else ""),
        ("Calls", f"{whole['calls']:,}", f"{estimated:,} counted by us" if estimated else ""),
        ("Failed", shown.per_cent(whole["failed_calls"], whole["calls"]), f"{whole['failed_calls']:,} calls"),
        ("Tokens in", shown.short(read), f"{shown.per_cent(whole['cache_read_tokens'], read)} from cache"),
        ("Tokens out", shown.short(whole["output_tokens"]), f"{shown.short(whole['reasoning_tokens'])} reasoning"),
        ("First token within 2 s", _within(whole, 2_000), "of the calls that had one"),
    ]


def _within(whole: Amounts, milliseconds: int) -> str:
    timed = sum(whole[name] for name in FIRST_TOKEN)
    quick = sum(whole[name] for name, most in FIRST_TOKEN.items() if most is not None and most <= milliseconds)
    return shown.per_cent(quick, timed)


def _forecast(spent: Mapping[date, int], today: date) -> dict[str, str]:
    told = forecast(spent, today)
    return {
        "month": f"{today:%B %Y}",
        "to_date": shown.money(told.month_to_date),
        "expected": shown.money(told.expected) if told.days else "not known yet",
        "basis": f"This month so far, and for each day that is left the mean of the last {told.days} days of its kind: "
        f"{shown.money(told.weekday)} from Monday to Friday, {shown.money(told.weekend)} at weekends. "
        "With the filters above.",
    }


def _charts(by_step: Mapping[date, Amounts], step: str) -> list[Chart]:
    labels = [f"{day:%b %Y}" if step == "month" else f"{day:%-d %b}" for day in by_step]
    amounts = list(by_step.values())

    def drawn(title: str, series: Sequence[Series], form: Any, exact: Any, note: str = "") -> Chart:
        title = f"{title} by {step}"
        picture = columns(title=title, labels=labels, series=series, shown=form)
        numbers = table(head=step.capitalize(), labels=labels, series=series, shown=exact)
        return Chart(title, note, picture, legend(series), numbers)

    def stacked(names: Mapping[str, str]) -> list[Series]:
        return [Series(name=said, values=[one[name] for one in amounts]) for name, said in names.items()]

    return [
        drawn(
            "Spend",
            [Series(name="spend", values=[one["micro_dollars"] for one in amounts])],
            shown.short_money,
            shown.money,
        ),
        drawn("Tokens", stacked(_TOKENS), shown.short, shown.whole),
        drawn("Time to first token", stacked(_WAITS), shown.short, shown.whole, "How many calls waited how long."),
        drawn(
            "Failed calls",
            [Series(name="failed", values=[one["failed_calls"] for one in amounts])],
            shown.short,
            shown.whole,
            "Calls that ended with an error of the vendor or of ours.",
        ),
    ]


def _table(title: str, name: str, found: Sequence[Part], asked: Asked) -> Table:
    largest = max((part.micro_dollars for part in found), default=0)
    return Table(title, name, [_row(name, part, largest, asked) for part in found])


def _row(name: str, part: Part, largest: int, asked: Asked) -> Row:
    one = asked.only(name, part.value)
    return Row(
        part.value or "(none)",
        one.query(),
        part,
        round(part.micro_dollars * 100 / largest, 1) if largest else 0,
        shown.money(part.micro_dollars),
    )
