"""Limits on spending: which window of time a moment lies in, whether there is room, and how a refusal is worded.

Pure: what was spent and what is reserved is read elsewhere (`usage.reservations`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple

from accounts.limits import MICRO, Period, SpendLimit
from core.errors import BudgetExceeded
from usage.models import Dimension

Source = Literal["admin", "user", "key", "group", "account"]
"""Who has set a limit: an administrator, or the owner of what it is on."""

_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
_SPENT_WHEN: Mapping[Period, str] = {
    Period.HOURLY: "this hour",
    Period.DAILY: "today",
    Period.MONTHLY: "this month",
    Period.TOTAL: "in total",
}


def window_start(period: Period, moment: datetime) -> datetime:
    """When the UTC window that `moment` lies in began; for Total, before everything."""
    hour = moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    match period:
        case Period.HOURLY:
            return hour
        case Period.DAILY:
            return hour.replace(hour=0)
        case Period.MONTHLY:
            return hour.replace(hour=0, day=1)
        case Period.TOTAL:
            return _EARLIEST


def window_end(period: Period, moment: datetime) -> datetime | None:
    """When the next window begins; None for Total, which never begins anew."""
    start = window_start(period, moment)
    match period:
        case Period.HOURLY:
            return start + timedelta(hours=1)
        case Period.DAILY:
            return start + timedelta(days=1)
        case Period.MONTHLY:
            return (start + timedelta(days=31)).replace(day=1)
        case Period.TOTAL:
            return None


class Pot(NamedTuple):
    """What a limit counts: all spending of one user, key, group or account, or of all, in one window."""

    dimension: str
    value: str
    period: Period
    start: datetime


class Elsewhere(NamedTuple):
    """What was spent in a window that our books do not know of: others have booked it."""

    start: datetime
    micro_dollars: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One limit that applies to a caller."""

    dimension: Dimension
    value: str
    """Whose spending it counts: which user, key, group or account."""
    limit: SpendLimit
    source: Source
    name: str = ""
    """Of the group or budget, for people to recognise it."""
    warn_at_percent: int | None = None
    elsewhere: Elsewhere | None = None

    def pot(self, moment: datetime) -> Pot:
        return Pot(self.dimension.value, self.value, self.limit.period, window_start(self.limit.period, moment))

    def balance(self, moment: datetime, balances: "Mapping[Pot, Balance]") -> "Balance":
        """Of its pot, with what was spent elsewhere."""
        pot = self.pot(moment)
        found = balances.get(pot, _NOTHING_GONE)
        if self.elsewhere is None or self.elsewhere.start != pot.start:
            return found
        return Balance(found.spent + self.elsewhere.micro_dollars, found.reserved)


@dataclass(slots=True)
class Balance:
    """What is gone of a pot, in micro-dollars."""

    spent: int = 0
    reserved: int = 0
    """Expected of calls that are under way."""

    @property
    def gone(self) -> int:
        return self.spent + self.reserved

    def has_room(self, limit: int, estimate: int) -> bool:
        """Whether a call may begin that is expected to cost `estimate`.

        Calls side by side must fit all together. One alone may take whatever is left: what a limit has left over is
        never out of reach because an estimate was too high, and it is passed by one call at most.
        """
        if self.spent >= limit:
            return False
        return not self.reserved or self.gone + estimate <= limit


_NOTHING_GONE = Balance()


@dataclass(frozen=True, slots=True)
class Refusal:
    """The limit that has no room."""

    line: Line
    balance: Balance

    def error(self, moment: datetime) -> BudgetExceeded:
        end = window_end(self.line.limit.period, moment)
        return BudgetExceeded(
            self.message(),
            retry_after=None if end is None else max(1.0, (end - moment).total_seconds()),
            details={"limit": self._details(), "resetAt": None if end is None else f"{end:%Y-%m-%dT%H:%M:%SZ}"},
        )

    def message(self) -> str:
        """In the words that today's clients show (wire protocol 2.5)."""
        limit, spent = self.line.limit, self.balance.spent
        words = ["Request limit reached."]
        if spent:
            words.append(f"Current Spent: ${dollars(spent)} spent {_SPENT_WHEN[limit.period]}.")
        if spent < limit.micro_dollars:
            words.append(f"Requests under way may cost ${dollars(self.balance.reserved)} more.")
        amplify = "Amplify " if self.line.source == "admin" else ""
        words.append(f"{amplify}Set Rate limit: ${dollars(limit.micro_dollars)} / {limit.period.value}")
        return " ".join(words)

    def _details(self) -> dict[str, Any]:
        line, balance = self.line, self.balance
        return {
            "period": line.limit.period.value,
            "rate": line.limit.micro_dollars / MICRO,
            "setBy": line.source,
            "counts": line.dimension.value,
            "name": line.name,
            "spent": balance.spent / MICRO,
            "reserved": balance.reserved / MICRO,
        }


def dollars(micro_dollars: int) -> str:
    """At least two decimals, and as many more as the amount has: 5.00, 0.004213."""
    text = f"{micro_dollars // MICRO}.{micro_dollars % MICRO:06d}"
    return text[:-4] + text[-4:].rstrip("0")


def first_refusal(
    lines: Iterable[Line], estimate: int, moment: datetime, balances: Mapping[Pot, Balance]
) -> Refusal | None:
    """The limit without room that stays so longest, so that who comes back when it resets is not sent away again;
    None if all have room. All that apply must."""
    refusals = [
        Refusal(line, balance)
        for line in lines
        if not (balance := line.balance(moment, balances)).has_room(line.limit.micro_dollars, estimate)
    ]
    order = list(Period)
    return max(refusals, key=lambda refusal: order.index(refusal.line.limit.period), default=None)
