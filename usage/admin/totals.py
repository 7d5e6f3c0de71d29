"""Sums for the page, read from the sums per day, which are written in one transaction with the rows they sum."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db.models import Count, Max, QuerySet, Sum

from usage.admin.rows import NEWEST_FIRST, Window, rows_of
from usage.admin.selection import Selection
from usage.models import UsageDay, UsageRecord
from usage.review.periods import Days

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
        """Of a run or key with more calls than anybody reads, only the newest are summed."""
        return self.calls == MAX_ROWS


def totals_of(selection: Selection) -> Totals:
    """Exact; but of a run or a key, which the sums per day do not know, at most MAX_ROWS calls."""
    if not selection.branches():
        return Totals()
    sums: dict[str, Any] = {name: Sum(name, default=0) for name in _SUMMED}
    if selection.unsummed:
        rows = _calls(selection, selection.unsummed)
        return Totals(**rows.order_by(*NEWEST_FIRST)[:MAX_ROWS].aggregate(calls=Count("pk"), **sums))
    return Totals(**UsageDay.objects.filter(selection.of_sums()).aggregate(calls=Sum("calls", default=0), **sums))


def _calls(selection: Selection, walk: str) -> QuerySet[UsageRecord]:
    window = Window.of(selection.days)
    if walk == "run_id":
        return rows_of(selection.branches()[0], window, walk=walk)
    rows = rows_of(selection.chosen, window, walk=walk)
    return rows if selection.found is None else rows.filter(selection.found.condition())


def recent_days(days: Days) -> Days:
    """The last week of these days, up to the last one that has calls."""
    last = UsageDay.objects.filter(days.of_sums()).aggregate(last=Max("day"))["last"]
    if last is None:
        return days
    return Days(last - RECENT if days.first is None else max(days.first, last - RECENT), last)


def top_values(column: str, days: Days) -> list[str]:
    """The values of a column that cost most; among those that cost nothing, the ones with most calls."""
    spent = UsageDay.objects.filter(days.of_sums()).values(column).annotate(cost=Sum("micro_dollars"), n=Sum("calls"))
    return list(spent.order_by("-cost", "-n", column).values_list(column, flat=True)[:TOP])
