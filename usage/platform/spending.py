"""What people have spent at the platform's other services, for the limits on them.

Those services add to the platform's counters, and so do we, when a call has been delivered. What a counter holds beyond
that is theirs: `counter - (our sums - what is still in the outbox)`. It is read anew every 15 seconds or so for each
caller (`accounts.directory.Fact`); our own spending, which is always exact, is added to it at each admission. Calls
that were imported are in both, and so count once.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import NamedTuple

from django.db.models import Q
from django.utils import timezone

from accounts.directory import PerUser
from accounts.limits import Period
from accounts.principal import Principal
from core.aio import BlockingPool, TaskSet, run_blocking
from core.errors import Unavailable
from usage.counters import Counter
from usage.limits import Elsewhere, Line, Pot, window_start
from usage.models import Dimension
from usage.platform import outbox
from usage.platform.counters import PlatformCounters
from usage.reservations import balances_of

FIRST_MONTH = date(2023, 1, 1)
"""Before the platform's first: what limits of the kind Total count from."""
REMEMBER_HISTORIES = 10_000

_UNKNOWN = "Your budget cannot be checked at the moment. Please try again in a few seconds."

_Figures = Mapping[tuple[Dimension, Period], Elsewhere]


class _Asked(NamedTuple):
    """Whose spending; all of the user's, and of the key's if there is one."""

    user_id: str
    api_key_id: str
    in_total: bool

    @property
    def dimensions(self) -> Mapping[Dimension, str]:
        keys = {Dimension.KEY: self.api_key_id} if self.api_key_id else {}
        return {Dimension.USER: self.user_id, **keys}

    def key_in(self, dimension: Dimension) -> str | None:
        """By which key alone that dimension counts; None: by all, and without any."""
        return self.api_key_id if dimension is Dimension.KEY else None

    @property
    def periods(self) -> Sequence[Period]:
        return [period for period in Period if self.in_total or period is not Period.TOTAL]


class _Counted(NamedTuple):
    """What the platform has counted of one user."""

    counters: Sequence[Counter]
    history: Mapping[str, int]
    """Months that are over: API key (empty: none) to micro-dollars."""

    def of(self, key: str | None, period: Period, now: datetime) -> int:
        """By one key, or in all; micro-dollars."""
        total = sum(_amount(one, period, now) for one in self.counters if key in (None, one.api_key_id))
        if period is Period.TOTAL:
            total += sum(cost for of_key, cost in self.history.items() if key in (None, of_key))
        return total


class SpentElsewhere:
    """Fills `Line.elsewhere` of limits on users and keys; on other things only our own books count."""

    def __init__(self, counters: PlatformCounters, *, clock: Callable[[], datetime] = timezone.now) -> None:
        self._counters = counters
        self._clock = clock
        self._tasks = TaskSet()
        # Threads of its own: sign-in and the ledger must not wait behind the platform.
        self._pool = BlockingPool("counters", threads=4)
        self._figures = PerUser[_Asked, _Figures](self._read, self._tasks)
        self._histories: OrderedDict[tuple[str, date], Mapping[str, int]] = OrderedDict()

    async def __call__(self, principal: Principal, lines: Sequence[Line]) -> Sequence[Line]:
        """Raises Unavailable when it was not known some seconds ago either."""
        asked = _Asked(
            principal.user_id,
            principal.api_key_id or "",
            any(line.limit.period is Period.TOTAL for line in lines),
        )
        wanted = {(dimension.value, value) for dimension, value in asked.dimensions.items()}
        if not any((line.dimension.value, line.value) in wanted for line in lines):
            return lines
        try:
            figures = await self._figures.get(asked)
        except Unavailable:
            raise Unavailable(_UNKNOWN) from None
        return [
            replace(line, elsewhere=figures[line.dimension, line.limit.period])
            if (line.dimension.value, line.value) in wanted
            else line
            for line in lines
        ]

    async def aclose(self) -> None:
        await self._tasks.aclose()

    async def _read(self, asked: _Asked) -> _Figures:
        """In this order: what is delivered between the two readings then counts twice for some seconds, and not never.
        Raises Unavailable."""
        now = self._clock()
        try:
            delivered = await run_blocking(_delivered, asked, now)
            counted = await self._pool.run(self._counted, asked, now)
        except OSError:
            raise Unavailable(_UNKNOWN) from None
        return {
            (dimension, period): Elsewhere(
                window_start(period, now), max(0, counted.of(asked.key_in(dimension), period, now) - ours)
            )
            for (dimension, period), ours in delivered.items()
        }

    def _counted(self, asked: _Asked, now: datetime) -> "_Counted":
        history = self._history(asked.user_id, now) if asked.in_total else {}
        return _Counted(self._counters.of_user(asked.user_id), history)

    def _history(self, user_id: str, now: datetime) -> Mapping[str, int]:
        """What each key has spent in months that are over, which changes no more: API key (empty: none) to cost."""
        month = now.astimezone(UTC).date().replace(day=1)
        found = self._histories.get((user_id, month))
        if found is None:
            sums: dict[str, int] = {}
            for start, payers in self._counters.months_by_payer(user_id, FIRST_MONTH).items():
                for payer, cost in payers.items() if start < month else ():
                    sums[payer.api_key_id] = sums.get(payer.api_key_id, 0) + cost
            found = self._histories[user_id, month] = sums
            while len(self._histories) > REMEMBER_HISTORIES:
                self._histories.popitem(last=False)
        return found


def _delivered(asked: _Asked, now: datetime) -> Mapping[tuple[Dimension, Period], int]:
    """Of our own books, what the platform's counters hold. Blocks."""
    starts = {period: window_start(period, now) for period in asked.periods}
    pots = {
        (dimension, period): Pot(dimension.value, value, period, start)
        for dimension, value in asked.dimensions.items()
        for period, start in starts.items()
    }
    balances = balances_of(set(pots.values()))
    columns = {Dimension.USER: "user_id", Dimension.KEY: "api_key_id"}
    waiting = {
        dimension: outbox.undelivered(Q(**{columns[dimension]: value}), starts)
        for dimension, value in asked.dimensions.items()
    }
    return {
        (dimension, period): balances[pot].spent - waiting[dimension][period]
        for (dimension, period), pot in pots.items()
    }


def _amount(counter: Counter, period: Period, now: datetime) -> int:
    match period:
        case Period.HOURLY:
            return counter.hourly[now.hour]
        case Period.DAILY:
            return counter.today
        case Period.MONTHLY | Period.TOTAL:
            return counter.month
