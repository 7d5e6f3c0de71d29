"""Ledger rows of one branch of a selection, newest first, in the order of one index from which nothing is sorted."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any

from django.db.models import CharField, F, Func, Q, QuerySet
from django.db.models.lookups import Exact, In

from usage.admin.selection import Value
from usage.models import UsageRecord
from usage.review.periods import Days

NEWEST_FIRST = ("-started_at", "-pk")
OLDEST_FIRST = ("started_at", "pk")
_END_OF_TIME = datetime.max.replace(tzinfo=UTC)
# Shown on the detail page only.
UNSEEN = ("raw_usage", "call_id", "request_id", "api_key_id", "group_set", "purpose", "assistant", "ended_at")


class _Unindexed(Func):
    """A column that SQLite shall compare row by row, so that it walks the index that we chose (unary plus).

    PostgreSQL counts for itself which index is best.
    """

    template = "%(expressions)s"
    output_field = CharField()

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        return self.as_sql(compiler, connection, template="+%(expressions)s", **context)


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of time, both ends included."""

    first: datetime | None = None
    last: datetime = _END_OF_TIME

    @classmethod
    def of(cls, days: Days) -> "Window":
        first = None if days.first is None else _start(days.first)
        return cls(first, _END_OF_TIME if days.last is None else _end(days.last))

    def within(self, other: "Window") -> "Window":
        """What both have. One bound for each end: SQLite seeks by one and would check the others row by row."""
        firsts = [first for first in (self.first, other.first) if first is not None]
        return Window(max(firsts, default=None), min(self.last, other.last))

    def condition(self) -> Q:
        # There is always a bound, so that a query plan that says SCAN is one that walks no index.
        bounds = Q(started_at__lte=self.last)
        return bounds if self.first is None else bounds & Q(started_at__gte=self.first)


def rows_of(branch: Mapping[str, Value], window: Window, *, walk: str | None = None) -> QuerySet[UsageRecord]:
    """Rows that agree with the branch, on the index of the column `walk` (else of its first column); not ordered."""
    rows = UsageRecord.objects.defer(*UNSEEN).filter(window.condition()).order_by()
    for place, (column, value) in enumerate(branch.items()):
        leads = column == walk if walk else place == 0
        if not isinstance(value, str):  # on several of them no index is in order of time
            rows = rows.filter(In(_Unindexed(F(column)), value))
        else:
            rows = rows.filter(**{column: value}) if leads else rows.filter(Exact(_Unindexed(F(column)), value))
    return rows


def _start(day: date) -> datetime:
    return datetime.combine(day, time.min, UTC)


def _end(day: date) -> datetime:
    return datetime.combine(day, time.max, UTC)
