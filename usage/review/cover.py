"""Put a period together from as few sums as can be: whole months, and single days where it begins or ends within one.

Where most of a month is wanted, the month counts and the days that are not wanted are taken off: sums are whole
numbers, so the difference is exact. No period reads more days than half a month at each of its ends.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from django.db.models import Q

from usage.models import Span
from usage.review.periods import ONE_DAY, midnight, month_of, next_month


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows of sums, and whether they count (1) or are taken off (-1)."""

    condition: Q
    sign: int = 1


@dataclass(frozen=True, slots=True)
class Cover:
    """Sums of months from `starts_at` on, plus sums of days, less sums of days; ranges have both ends included."""

    months: tuple[date, ...] = ()
    more: tuple[tuple[date, date], ...] = ()
    less: tuple[tuple[date, date], ...] = ()

    def pieces(self) -> list[Piece]:
        found = [Piece(_of_days(days)) for days in self.more] + [Piece(_of_days(days), -1) for days in self.less]
        if self.months:
            found.append(Piece(Q(span=Span.MONTH, starts_at__in=[midnight(month) for month in self.months])))
        return found


def _of_days(days: tuple[date, date]) -> Q:
    return Q(span=Span.DAY, starts_at__gte=midnight(days[0]), starts_at__lte=midnight(days[1]))


def cover(first: date, last: date, today: date) -> Cover:
    """For the days from `first` to `last`. There are no calls after `today`, so none are taken off."""
    months: list[date] = []
    more: list[tuple[date, date]] = []
    less: list[tuple[date, date]] = []
    for start, end in _months(first, last):
        month, whole_end = month_of(start), next_month(start) - ONE_DAY
        here = min(whole_end, max(today, end))
        wanted, there = (end - start).days + 1, (here - month).days + 1
        if wanted * 2 < there:
            more.append((start, end))
            continue
        months.append(month)
        if start > month:
            less.append((month, start - ONE_DAY))
        if end < here:
            less.append((end + ONE_DAY, here))
    return Cover(tuple(months), tuple(more), tuple(less))


def _months(first: date, last: date) -> Iterator[tuple[date, date]]:
    """The parts of a period that lie in one month each."""
    while first <= last:
        end = min(last, next_month(first) - ONE_DAY)
        yield first, end
        first = end + ONE_DAY
