"""What the month will have cost. Plain on purpose, so that who reads it can do the sum again. No I/O."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from usage.review.periods import ONE_DAY, each_day, month_of, next_month

LOOK_BACK = 28
"""Days before today: four of each weekday."""
_SATURDAY = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """Whole micro-dollars."""

    month_to_date: int
    expected: int
    """Of the whole month."""
    weekday: int
    """What a day from Monday to Friday has cost on average."""
    weekend: int
    days: int
    """How many days those averages are of; 0: nothing is known yet."""


def first_needed(today: date) -> date:
    """From which day on `forecast` wants to know what was spent."""
    return min(month_of(today), today - timedelta(days=LOOK_BACK))


def forecast(spent: Mapping[date, int], today: date) -> Forecast:
    """The month so far, and for each day that is left of it (today included, unless it has cost more already) the mean
    of the last 28 days of its kind, weekdays and weekends apart. Days before the first call do not count."""
    looked_at = list(each_day(today - timedelta(days=LOOK_BACK), today - ONE_DAY))
    known = [day for day in looked_at if any(day >= one for one in spent)]
    weekday, weekend = (_mean(known, spent, weekend=kind) for kind in (False, True))
    to_date = sum(spent.get(day, 0) for day in each_day(month_of(today), today))
    left = list(each_day(today, next_month(today) - ONE_DAY))
    expected = to_date - spent.get(today, 0)
    expected += max(spent.get(today, 0), weekend if _is_weekend(today) else weekday)
    expected += sum(weekend if _is_weekend(day) else weekday for day in left[1:])
    return Forecast(month_to_date=to_date, expected=expected, weekday=weekday, weekend=weekend, days=len(known))


def _mean(days: list[date], spent: Mapping[date, int], *, weekend: bool) -> int:
    kind = [spent.get(day, 0) for day in days if _is_weekend(day) == weekend]
    return sum(kind) // len(kind) if kind else 0


def _is_weekend(day: date) -> bool:
    return day.weekday() >= _SATURDAY
