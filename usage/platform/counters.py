"""The platform's running counters and its history, as `usage.counters` wants them (billing-and-state §2.2, §2.3)."""

import bisect
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime
from itertools import chain

from django.utils import timezone

from core.dynamodb import DynamoFailed
from usage.counters import HOURS, Counter, CounterPage, Payer
from usage.platform.rows import Row, counter_of, day_key, micro_dollars, month_key, parts_of
from usage.platform.tables import PlatformTables
from usage.review.periods import ONE_DAY, each_day, next_month


class PlatformCounters:
    """Implements `usage.counters.Counters`."""

    def __init__(self, tables: PlatformTables, clock: Callable[[], datetime] = timezone.now) -> None:
        self._tables = tables
        self._clock = clock

    def of_user(self, user_id: str) -> Sequence[Counter]:
        now = self._clock()
        with _asked():
            rows = self._tables.costs.items_of("id", user_id)
        return [as_of(counter_of(row), now) for row in rows]

    def page(self, after: str, users: int) -> CounterPage:
        by_user = self._by_user()
        names = sorted(by_user)
        start = bisect.bisect_right(names, after) if after else 0
        some = names[start : start + users]
        counters = [counter for name in some for counter in by_user[name]]
        return CounterPage(counters, some[-1] if some and some[-1] != names[-1] else "")

    def everybody(self) -> Iterable[Counter]:
        return chain.from_iterable(self._by_user().values())

    def _by_user(self) -> Mapping[str, list[Counter]]:
        """Reads the whole table, which has a few rows a person: its index by name misses rows that some of the
        platform's services wrote (billing-and-state §3.10)."""
        now = self._clock()
        by_user: dict[str, list[Counter]] = defaultdict(list)
        with _asked():
            for row in self._tables.costs.scan():
                counter = as_of(counter_of(row), now)
                by_user[counter.user_id].append(counter)
        return by_user

    def months_of(self, user_id: str, first: date) -> Mapping[date, int]:
        by_payer = self.months_by_payer(user_id, first)
        return {month: sum(payers.values()) for month, payers in by_payer.items()}

    def months_by_payer(self, user_id: str, first: date) -> Mapping[date, Mapping[Payer, int]]:
        today = self._clock().astimezone(UTC).date()
        current = {counter.payer: counter.month for counter in self.of_user(user_id)}
        found = {month: self._history(user_id, month, today) for month in months(first, today)}
        found[today.replace(day=1)] = {payer: cost for payer, cost in current.items() if cost}
        return {month: payers for month, payers in found.items() if payers}

    def _history(self, user_id: str, month: date, today: date) -> dict[Payer, int]:
        """Of a month that is over. Its own rows; for the last one, whose rows a night that was missed has not made, the
        rows of its days."""
        history = self._tables.history
        with _asked():
            rows = history.items_of("userDate", month_key(user_id, month))
            if rows or next_month(month) != today.replace(day=1):
                return _sums(rows, "monthlyCost")
            days = each_day(month, next_month(month) - ONE_DAY)
            return _sums(
                [row for day in days for row in history.items_of("userDate", day_key(user_id, day))], "dailyCost"
            )


def as_of(counter: Counter, now: datetime) -> Counter:
    """The counter as it is meant at this moment.

    It names no day. Between midnight and the nightly job it still holds yesterday: hours that have not come yet tell.
    What it then says of today is not known, and on the first of a month neither what it says of this month; the rest of
    this month is what both together say.
    """
    if not any(counter.hourly[now.hour + 1 :]):
        return counter
    return replace(
        counter,
        hourly=(0,) * HOURS,
        today=0,
        month_before_today=0 if now.day == 1 else counter.month_before_today + counter.today,
    )


def months(first: date, today: date) -> Iterator[date]:
    """The first days of the months that are over, from that of `first` on."""
    month = first.replace(day=1)
    while month < today.replace(day=1):
        yield month
        month = next_month(month)


def _sums(rows: Sequence[Row], attribute: str) -> dict[Payer, int]:
    sums: dict[Payer, int] = defaultdict(int)
    for row in rows:
        if cost := micro_dollars(row.get(attribute, 0)):
            sums[Payer(*parts_of(str(row.get("accountInfo", ""))))] += cost
    return dict(sums)


@contextmanager
def _asked() -> Iterator[None]:
    """Raises OSError when the tables cannot be asked."""
    try:
        yield
    except DynamoFailed as error:
        raise OSError(str(error)) from error
