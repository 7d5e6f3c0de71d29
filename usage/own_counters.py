"""Running counters out of our own sums, for a service that stands alone. The ledger is never asked.

Hours are summed by user and by key, not by account: where somebody charges several accounts with one key, or without
any, that key's hours stand at the first of these accounts. Added up over a user they are exact.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import Any

from django.db import Error
from django.db.models import Q, Sum
from django.utils import timezone

from usage.counters import HOURS, Counter, CounterPage, Payer
from usage.models import Combination, Dimension, RollUp, Span
from usage.review.periods import ONE_DAY, midnight
from usage.roll_ups import beginning

# SQLite takes 32,766 values in a statement.
_USERS_AT_ONCE = 1_000

_Hours = dict[int, int]
"""Hour of the day: micro-dollars."""


class OwnCounters:
    """The `Counters` of our database: of those who have spent something this month."""

    def __init__(self, clock: Callable[[], datetime] | None = None) -> None:
        """`clock` is for tests."""
        self._clock = clock or timezone.now

    def of_user(self, user_id: str) -> Sequence[Counter]:
        with _asked():
            return self._counters([user_id])

    def page(self, after: str, users: int) -> CounterPage:
        with _asked():
            month = RollUp.objects.filter(
                dimension=Dimension.USER, span=Span.MONTH, starts_at=beginning(self._clock(), Span.MONTH)
            )
            found = list(month.filter(value__gt=after).order_by("value").values_list("value", flat=True)[: users + 1])
            here = found[:users]
            return CounterPage(self._counters(here), here[-1] if len(found) > users else "")

    def everybody(self) -> Iterator[Counter]:
        after = ""
        while True:
            page = self.page(after, _USERS_AT_ONCE)
            yield from page.counters
            if not page.after:
                return
            after = page.after

    def months_of(self, user_id: str, first: date) -> Mapping[date, int]:
        with _asked():
            rows = RollUp.objects.filter(
                dimension=Dimension.USER, value=user_id, span=Span.MONTH, starts_at__gte=midnight(first.replace(day=1))
            )
            return {_day(start): cost for start, cost in rows.values_list("starts_at", "micro_dollars")}

    def months_by_payer(self, user_id: str, first: date) -> Mapping[date, Mapping[Payer, int]]:
        with _asked():
            rows = Combination.objects.filter(
                user_id=user_id, span=Span.MONTH, starts_at__gte=midnight(first.replace(day=1))
            )
            found: dict[date, dict[Payer, int]] = defaultdict(dict)
            for start, account, key, cost in _by_payer(rows, "starts_at"):
                found[_day(start)][Payer(account, key)] = int(cost)
            return found

    def _counters(self, users: Collection[str]) -> list[Counter]:
        """In the order of `users`, and in that of accounts and keys within each."""
        if not users:
            return []
        now = self._clock()
        today = beginning(now, Span.DAY)
        wanted = Q(span=Span.DAY, starts_at=today) | Q(span=Span.MONTH, starts_at=beginning(now, Span.MONTH))
        rows = Combination.objects.filter(wanted, user_id__in=users)
        spent: dict[str, dict[Payer, dict[str, int]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(int)))
        for user, span, account, key, cost in _by_payer(rows, "user_id", "span"):
            spent[user][Payer(account, key)][span] = int(cost)
        hours = _hours(users, today)
        return [counter for user in users for counter in _of_one(user, spent[user], hours)]


def _of_one(
    user: str, spent: Mapping[Payer, Mapping[str, int]], hours: Mapping[tuple[str, str], _Hours]
) -> list[Counter]:
    counters = []
    keys = {payer.api_key_id for payer in spent} - {""}
    left = dict(hours.get((Dimension.USER, user), {}))  # of all that was spent without a key
    for key in keys:
        for hour, cost in hours.get((Dimension.KEY, key), {}).items():
            left[hour] = left.get(hour, 0) - cost
    untold: dict[str, _Hours] = {"": left, **{key: hours.get((Dimension.KEY, key), {}) for key in keys}}
    for payer in sorted(spent):
        today = spent[payer].get(Span.DAY, 0)
        own = untold.pop(payer.api_key_id, {}) if today else {}
        counters.append(
            Counter(
                user_id=user,
                account_id=payer.account_id,
                api_key_id=payer.api_key_id,
                hourly=tuple(own.get(hour, 0) for hour in range(HOURS)),
                today=today,
                month_before_today=spent[payer].get(Span.MONTH, 0) - today,
            )
        )
    return counters


def _hours(users: Collection[str], today: datetime) -> Mapping[tuple[str, str], _Hours]:
    """Today's, of these users and of the keys that they have used today; by dimension and value."""
    keys = Combination.objects.filter(user_id__in=users, span=Span.DAY, starts_at=today).exclude(api_key_id="")
    rows = RollUp.objects.filter(
        Q(dimension=Dimension.USER, value__in=users) | Q(dimension=Dimension.KEY, value__in=keys.values("api_key_id")),
        span=Span.HOUR,
        starts_at__gte=today,
        starts_at__lt=today + ONE_DAY,  # who asks at midnight may read what has come since
    )
    found: dict[tuple[str, str], _Hours] = defaultdict(dict)
    for dimension, value, start, cost in rows.values_list("dimension", "value", "starts_at", "micro_dollars"):
        found[dimension, value][start.astimezone(UTC).hour] = cost
    return found


def _by_payer(rows: Any, *more: str) -> Iterable[tuple[Any, ...]]:
    return rows.order_by().values_list(*more, "account_id", "api_key_id").annotate(cost=Sum("micro_dollars"))  # type: ignore[no-any-return]


def _day(start: datetime) -> date:
    return start.astimezone(UTC).date()


@contextmanager
def _asked() -> Iterator[None]:
    try:
        yield
    except Error as error:
        raise OSError(f"The sums cannot be read: {type(error).__name__}") from error
