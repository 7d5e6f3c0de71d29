"""What was spent, as REST shows it: read from the sums, never from the ledger. Everything here blocks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime

from asgiref.sync import async_to_sync
from django.utils import timezone

from accounts.actions import Caller
from accounts.actions.groups import find_group
from accounts.policies import Action
from accounts.principal import Principal
from core.errors import BadRequest, Unavailable
from usage import policies
from usage.budgets import current
from usage.limits import Balance, Line, window_end
from usage.policies import Spending
from usage.reservations import balances_of
from usage.review.asked import DAY, DEFAULT_PERIOD, Asked
from usage.review.forecast import Forecast, first_needed, forecast
from usage.review.periods import utc_today
from usage.review.sums import Part, by_day, parts

MAX_DAYS = 366
BY = ("day", "model", "account", "key", "purpose")
BY_OF_A_GROUP = ("user", *BY)
_AMOUNTS = tuple(field.name for field in fields(Part) if field.name != "value")


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was spent in a period, part by part."""

    first: date
    last: date
    of: Mapping[str, str]
    """Whose it is: `user`, `key` or `group`."""
    by: str
    parts: Sequence[Part]
    total: Part


@dataclass(frozen=True, slots=True, kw_only=True)
class Month:
    """The present month: what it has cost, and what it will have."""

    first: date
    of: Mapping[str, str]
    today: int
    forecast: Forecast


@dataclass(frozen=True, slots=True)
class Standing:
    """One limit that applies to a caller, and what is gone of it."""

    line: Line
    balance: Balance
    resets_at: datetime | None

    @property
    def left(self) -> int:
        return max(0, self.line.limit.micro_dollars - self.balance.gone)

    @property
    def per_cent(self) -> int:
        """Of the limit, what is gone; rounded down. A limit of nothing is always used up."""
        limit = self.line.limit.micro_dollars
        return self.balance.gone * 100 // limit if limit else 100


def my_usage(*, by: Caller, params: Mapping[str, str]) -> Report:
    """Raises BadRequest for what is no period."""
    return _report(_mine(by.principal), params, BY)


def my_month(*, by: Caller) -> Month:
    asked = _asked_for(_mine(by.principal), {})
    today = utc_today()
    spent = {day: one["micro_dollars"] for day, one in by_day(asked, first_needed(today), today).items()}
    return Month(
        first=today.replace(day=1), of=asked.chosen, today=spent.get(today, 0), forecast=forecast(spent, today)
    )


def my_budgets(*, by: Caller) -> Sequence[Standing]:
    """As admission would see them for a call that the caller makes now, nearest the edge first. Raises Unavailable."""
    if current.book is None:
        raise Unavailable
    now = timezone.now()
    lines = async_to_sync(current.book.lines_for)(by.principal)
    balances = balances_of({line.pot(now) for line in lines})
    found = [Standing(line, line.balance(now, balances), window_end(line.limit.period, now)) for line in lines]
    return sorted(found, key=lambda one: -one.per_cent)


def group_usage(*, by: Caller, group_id: str, params: Mapping[str, str]) -> Report:
    """Raises NotFound for a group that is not theirs to see, Forbidden for who is none of its admins."""
    policies.groups.check(by.principal, Action.READ)
    group = find_group(by=by, group_id=group_id)
    policies.groups.check(by.principal, Action.READ, group)
    return _report({"group": group.id}, params, BY_OF_A_GROUP)


def _mine(principal: Principal) -> Mapping[str, str]:
    """As the filters of the sums."""
    return _chosen(policies.spending.own(principal))


def _chosen(whose: Spending) -> Mapping[str, str]:
    return {"user": whose.user_id} if whose.api_key_id is None else {"key": whose.api_key_id}


def _asked_for(chosen: Mapping[str, str], params: Mapping[str, str]) -> Asked:
    try:
        asked = Asked.read({DAY: params.get("period") or DEFAULT_PERIOD})
    except ValueError as error:
        raise BadRequest(str(error)) from error
    if asked.days > MAX_DAYS:
        raise BadRequest(f"Ask for at most {MAX_DAYS} days at once.")
    return Asked(asked.first, asked.last, asked.period, chosen)


def _report(chosen: Mapping[str, str], params: Mapping[str, str], known: Sequence[str]) -> Report:
    asked = _asked_for(chosen, params)
    by = params.get("by") or known[0]
    if by not in known:
        raise BadRequest(f"by should be one of {', '.join(known)}.")
    found = _days(asked) if by == DAY else parts(asked, by, most=None)
    total = Part(value="", **{name: sum(getattr(part, name) for part in found) for name in _AMOUNTS})
    return Report(first=asked.first, last=asked.last, of=chosen, by=by, parts=found, total=total)


def _days(asked: Asked) -> list[Part]:
    """Those on which anything was spent, the newest first."""
    spent = by_day(asked, asked.first, asked.last)
    return [
        Part(value=day.isoformat(), **{name: spent[day][name] for name in _AMOUNTS})
        for day in sorted(spent, reverse=True)
    ]
