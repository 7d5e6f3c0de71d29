"""Keyset pages of the ledger: each starts where its neighbour ended, so that nothing is counted and nothing skipped."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import reduce
from operator import or_
from typing import Any

from django.db.models import Max, Min, Q, QuerySet, Sum
from django.db.models.expressions import RawSQL

from usage.admin.rows import NEWEST_FIRST, OLDEST_FIRST, UNSEEN, Window, rows_of
from usage.admin.selection import Selection, Value, agrees
from usage.models import Span, UsageRecord
from usage.review.periods import ONE_DAY, Days, next_month
from usage.roll_ups import beginning

OLDER, NEWER = "before", "after"
_Chosen = tuple[str, Value]
"""A column and what it is to be."""
# One value of these has few calls, so that their index is walked without asking which is best.
_FEW = ("run_id", "api_key_id", "user_id")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
# Digits that fit a date before the year 10000 and a 64-bit key.
_CURSOR = re.compile(r"([0-9]{1,17})-([0-9]{1,18})")


@dataclass(frozen=True, slots=True)
class Cursor:
    """The row that a page lies next to: on its older side, or on its newer side."""

    started_at: datetime
    pk: int
    newer: bool = False

    @classmethod
    def read(cls, params: Mapping[str, str]) -> "Cursor | None":
        """From the address of the page. What is no cursor is none: the first page."""
        for name in (OLDER, NEWER):
            if match := _CURSOR.fullmatch(params.get(name, "")):
                return cls(_EPOCH + int(match[1]) * _MICROSECOND, int(match[2]), newer=name == NEWER)
        return None

    def window(self) -> Window:
        return Window(first=self.started_at) if self.newer else Window(last=self.started_at)

    def beyond(self) -> Q:
        """Together with the window: strictly on the cursor's side, also among rows of the same microsecond."""
        if self.newer:
            return Q(started_at__gt=self.started_at) | Q(pk__gt=self.pk)
        return Q(started_at__lt=self.started_at) | Q(pk__lt=self.pk)


def cursor_at(row: UsageRecord) -> str:
    return f"{(row.started_at - _EPOCH) // _MICROSECOND}-{row.pk}"


@dataclass(frozen=True, slots=True)
class Page:
    rows: Sequence[UsageRecord] = ()
    """Newest first."""
    older: str | None = None
    """The cursor of the next page; None if this is the last."""
    newer: str | None = None


def read_page(selection: Selection, cursor: Cursor | None, size: int) -> Page:
    """One page of at most `size` rows, next to the cursor or else the newest."""
    newer = cursor is not None and cursor.newer
    rows = _first(_walks(selection, cursor), size + 1, OLDEST_FIRST if newer else NEWEST_FIRST)
    further, rows = len(rows) > size, rows[:size]
    return _with_neighbours(rows[::-1] if newer else rows, cursor, further=further)


def _with_neighbours(rows: Sequence[UsageRecord], cursor: Cursor | None, *, further: bool) -> Page:
    """Rows lie ahead if one more was read; behind, if there is a cursor, lies at least its row."""
    if not rows:
        return Page()
    newer = cursor is not None and cursor.newer
    is_older = further if not newer else True
    is_newer = further if newer else cursor is not None
    return Page(rows, cursor_at(rows[-1]) if is_older else None, cursor_at(rows[0]) if is_newer else None)


def _first(walks: Sequence[QuerySet[UsageRecord]], number: int, order: tuple[str, str]) -> list[UsageRecord]:
    """The first rows of all walks together: as many are read from each, and only those are sorted."""
    if not walks:
        return []
    heads = [walk.order_by(*order)[:number] for walk in walks]
    if len(heads) == 1:
        return list(heads[0])
    found = UsageRecord.objects.defer(*UNSEEN).filter(pk__in=_in_any(heads)).order_by()
    return sorted(found, key=lambda row: (row.started_at, row.pk), reverse=order == NEWEST_FIRST)[:number]


def _in_any(heads: Sequence[QuerySet[UsageRecord]]) -> RawSQL:
    """The keys of all heads. One list of them: for several, PostgreSQL would read the whole table, row by row."""
    compiled = [head.values("id").query.sql_with_params() for head in heads]
    # SQLite takes a LIMIT only one level below a UNION.
    keys = [f"SELECT head_{place}.id FROM ({sql}) AS head_{place}" for place, (sql, _) in enumerate(compiled)]  # noqa: S608 - Django's
    return RawSQL(" UNION ALL ".join(keys), [value for _, params in compiled for value in params])  # noqa: S611 - as above


def _walks(selection: Selection, cursor: Cursor | None) -> list[QuerySet[UsageRecord]]:
    """The rows of each branch on the cursor's side, on the index that passes the fewest others."""
    branches, window = selection.branches(), Window.of(selection.days)
    calls: Mapping[_Chosen, int] = {}
    if any(len(branch) > 1 and branch.keys().isdisjoint(_FEW) for branch in branches):
        plan = _plan(branches, selection, cursor)
        calls = plan.calls
        if plan.known:
            if plan.days is None:
                return []
            window = window.within(Window.of(plan.days))
    if cursor is not None:
        window = window.within(cursor.window())
    walks = [rows_of(branch, window, walk=_least(branch, calls)) for branch in branches]
    return walks if cursor is None else [walk.filter(cursor.beyond()) for walk in walks]


def _least(branch: Mapping[str, Value], calls: Mapping[_Chosen, int]) -> str | None:
    """The column whose value has the fewest calls; a run has the fewest of all, and then a user."""
    for column in _FEW:
        if column in branch:
            return column
    single = [column for column, value in branch.items() if isinstance(value, str)]
    return min(single, key=lambda column: calls.get((column, branch[column]), 0), default=None)


@dataclass(frozen=True, slots=True)
class _Plan:
    calls: Mapping[_Chosen, int]
    known: bool
    """The sums know calls with one of the values. If not, the walks are short, or there are no sums: then rows are
    shown all the same."""
    days: Days | None
    """Between which days, on the cursor's side, the rows are."""


def _plan(branches: Sequence[Mapping[str, Value]], selection: Selection, cursor: Cursor | None) -> _Plan:
    """Ask the sums, which know all combinations, where to look for this one."""
    values = list(dict.fromkeys(value for branch in branches for value in branch.items()))
    selected, span = selection.of_sums(), selection.days.span
    ahead = selected & _sums_ahead(cursor, span)
    asked: dict[str, Any] = {"first": Min("starts_at", filter=ahead), "last": Max("starts_at", filter=ahead)}
    asked |= {f"calls_{place}": Sum("calls", filter=agrees(*value), default=0) for place, value in enumerate(values)}
    any_agrees = reduce(or_, (agrees(*value) for value in values))
    told = selection.sums().filter(selection.days.around() & any_agrees).aggregate(**asked)
    return _Plan(
        calls={value: told[f"calls_{place}"] for place, value in enumerate(values)},
        known=any(told[f"calls_{place}"] for place in range(len(values))),
        days=None if told["first"] is None else _days_of(told["first"].date(), told["last"].date(), span),
    )


def _days_of(first: date, last: date, span: Span) -> Days:
    return Days(first, last if span is Span.DAY else next_month(last) - ONE_DAY)


def _sums_ahead(cursor: Cursor | None, span: Span) -> Q:
    """Those of the day, or the month, that the cursor lies in, and beyond."""
    if cursor is None:
        return Q()
    start = beginning(cursor.started_at, span)
    return Q(starts_at__gte=start) if cursor.newer else Q(starts_at__lte=start)
