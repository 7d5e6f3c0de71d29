"""Stretches of whole UTC days, and how an address names them: a period's name, one date, or two with `..` between."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from django.db.models import Q
from django.utils import timezone

from usage.models import Span

ONE_DAY = timedelta(days=1)
EARLIEST = date(2020, 1, 1)
"""Nobody called a model before it."""


@dataclass(frozen=True, slots=True)
class Days:
    """Whole UTC days, both ends included; None is an open end."""

    first: date | None = None
    last: date | None = None

    @property
    def span(self) -> Span:
        """By which sums to look around in these days: by those of months, which are few, unless it is a week."""
        if self.first is None or self.last is None or self.last - self.first >= timedelta(days=7):
            return Span.MONTH
        return Span.DAY

    def around(self) -> Q:
        """Of `Combination`: the sums, of days or of months, that all calls of these days are in, and perhaps others."""
        bounds = Q(span=self.span)
        if self.first is not None:
            first = self.first if self.span is Span.DAY else month_of(self.first)
            bounds &= Q(starts_at__gte=midnight(first))
        if self.last is not None:
            bounds &= Q(starts_at__lte=midnight(self.last))
        return bounds

    def reached(self) -> "Days":
        """The same without what is too far for any call: before there were models, and after today."""
        return Days(
            None if self.first is None else max(self.first, EARLIEST),
            None if self.last is None else min(self.last, utc_today()),
        )


def utc_today() -> date:
    return timezone.now().astimezone(UTC).date()


def midnight(day: date) -> datetime:
    """The first moment of a UTC day."""
    return datetime.combine(day, time.min, UTC)


def named_days(today: date) -> dict[str, tuple[str, Days]]:
    """The periods that have a name in the address: what to call them, and which days they are on `today`."""
    yesterday, month = today - ONE_DAY, today.replace(day=1)
    before = month - ONE_DAY
    return {
        "today": ("Today", Days(today, today)),
        "yesterday": ("Yesterday", Days(yesterday, yesterday)),
        "week": ("Last 7 days", Days(today - 6 * ONE_DAY, today)),
        "30-days": ("Last 30 days", Days(today - 29 * ONE_DAY, today)),
        "month": ("This month", Days(month, today)),
        "last-month": ("Last month", Days(before.replace(day=1), before)),
        "year": ("This year", Days(today.replace(month=1, day=1), today)),
    }


def parse_days(text: str) -> Days:
    """Read a period's name, a date YYYY-MM-DD, or two with `..` between; raises ValueError, in words for people."""
    if named := named_days(utc_today()).get(text):
        return named[1]
    first, dots, last = text.partition("..")
    days = Days(_date(first), _date(last if dots else first))
    if days.first and days.last and days.first > days.last:
        raise ValueError("The period ends before it begins.")
    return days


def _date(text: str) -> date:
    try:
        return datetime.strptime(text, "%Y-%m-%d").date()
    except ValueError:
        raise ValueError(f"{text or 'Nothing'} is no day like 2026-01-31.") from None


def each_day(first: date, last: date) -> Iterator[date]:
    """All days from `first` to `last`, both included."""
    for number in range((last - first).days + 1):
        yield first + number * ONE_DAY


def month_of(day: date) -> date:
    return day.replace(day=1)


def next_month(month: date) -> date:
    return month_of(month_of(month) + timedelta(days=31))
