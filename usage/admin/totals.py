"""Sums for the page, read from sums that are written in one transaction with the rows they sum."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import reduce
from operator import or_
from typing import Any

from django.db.models import Count, Max, Sum

from usage.admin.rows import NEWEST_FIRST, Window, rows_of
from usage.admin.selection import Selection
from usage.models import Dimension, RollUp, Span
from usage.review.cover import cover
from usage.review.periods import Days, midnight, utc_today
from usage.review.summing import summed

MAX_ROWS = 10_000
TOP = 20
RECENT = timedelta(days=6)
_SUMMED = ("input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens", "micro_dollars")


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Of everything that is selected, not only of the page. Token classes are disjoint."""

    calls: int = 0
    input_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    micro_dollars: int = 0

    @property
    def capped(self) -> bool:
        """Of a run with more calls than anybody reads, only the newest are summed."""
        return self.calls == MAX_ROWS


def totals_of(selection: Selection) -> Totals:
    """Exact; but of a run, which the sums do not know, at most MAX_ROWS calls."""
    branches = selection.branches()
    if not branches:
        return Totals()
    if selection.is_of_a_run:
        sums: dict[str, Any] = {name: Sum(name, default=0) for name in _SUMMED}
        rows = reduce(or_, (rows_of(branch, Window.of(selection.days), walk="run_id") for branch in branches))
        return Totals(**rows.order_by(*NEWEST_FIRST)[:MAX_ROWS].aggregate(calls=Count("pk"), **sums))
    return Totals(**_summed(selection))


def _summed(selection: Selection) -> Mapping[str, int]:
    names, days, rows = ("calls", *_SUMMED), selection.days.reached(), selection.sums().filter(selection.of_sums())
    if days.first is None or days.last is None:
        return rows.filter(days.around()).aggregate(**{name: Sum(name, default=0) for name in names})
    pieces = cover(days.first, days.last, utc_today()).pieces()
    ((_, _, sums),) = summed(rows, pieces, names)
    return dict(zip(names, sums, strict=True))


def recent_days(days: Days) -> Days:
    """The last week of these days, up to the last one that has calls."""
    sums = RollUp.objects.filter(dimension=Dimension.ALL, value="", span=Span.DAY)
    if days.last is not None:
        sums = sums.filter(starts_at__lte=midnight(days.last))
    found = sums.aggregate(last=Max("starts_at"))["last"]
    if found is None or (days.first is not None and found.date() < days.first):
        return days
    last = found.date()
    return Days(last - RECENT if days.first is None else max(days.first, last - RECENT), last)


def top_values(dimension: Dimension, days: Days) -> list[str]:
    """The values of a dimension that cost most; among those that cost nothing, the ones with most calls."""
    spent = RollUp.objects.filter(days.around(), dimension=dimension).values("value")
    spent = spent.annotate(cost=Sum("micro_dollars"), n=Sum("calls"))
    return list(spent.order_by("-cost", "-n", "value").values_list("value", flat=True)[:TOP])
