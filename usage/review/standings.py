"""Who is how near the edge of which budget: what is spent and reserved, as admission sees it. This blocks."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import QuerySet, Sum
from django.utils import timezone

from accounts.limits import Period
from usage.limits import Balance, Pot, window_end, window_start
from usage.models import Budget, Combination, Dimension, GroupSetMember, RollUp, Span
from usage.reservations import balances_of

NEAREST = 10
"""Of a budget that each user has, so many users are shown: those who have spent most."""

_KIND = Budget.AppliesTo
# Budgets that count the spending of one subject; the others count each user's own.
_COUNTED = {
    _KIND.USER: Dimension.USER,
    _KIND.KEY: Dimension.KEY,
    _KIND.GROUP: Dimension.GROUP,
    _KIND.ACCOUNT: Dimension.ACCOUNT,
    _KIND.ALL: Dimension.ALL,
}
_SPANS = {Period.HOURLY: Span.HOUR, Period.DAILY: Span.DAY, Period.MONTHLY: Span.MONTH, Period.TOTAL: Span.MONTH}


@dataclass(frozen=True, slots=True)
class Standing:
    """One budget, and one whom it limits. Whole micro-dollars."""

    budget: Budget
    dimension: str
    subject: str
    balance: Balance
    resets_at: datetime | None

    @property
    def per_cent(self) -> int:
        return _per_cent(self.budget, self.balance)

    @property
    def state(self) -> str:
        return state_of(self.budget, self.balance)

    @property
    def left(self) -> int:
        return max(0, self.budget.micro_dollars - self.balance.gone)


def _per_cent(budget: Budget, balance: Balance) -> int:
    """Of the limit, what is gone; rounded down. A budget of nothing is always used up."""
    limit = budget.micro_dollars
    return balance.gone * 100 // limit if limit else 100


def state_of(budget: Budget, balance: Balance) -> str:
    """As the style sheet names it: over, near or fine."""
    if balance.spent >= budget.micro_dollars:
        return "over"
    return "near" if _per_cent(budget, balance) >= (budget.warn_at_percent or 80) else "fine"


def pot_of(budget: Budget, now: datetime) -> Pot | None:
    """What a budget counts; None where it counts each user's own spending."""
    dimension = _COUNTED.get(_KIND(budget.applies_to))
    return None if dimension is None else _pot(dimension, budget.subject, budget, now)


def _pot(dimension: Dimension, subject: str, budget: Budget, now: datetime) -> Pot:
    period = Period(budget.period)
    return Pot(dimension.value, subject, period, window_start(period, now))


def standings(*, each: bool = True) -> list[Standing]:
    """Of all active budgets, nearest the edge first. Not `each`: without those that users have of their own."""
    now = timezone.now()
    budgets = list(Budget.objects.filter(active=True))
    if not each:
        budgets = [budget for budget in budgets if budget.applies_to in _COUNTED]
    pots = list(_pots(budgets, now))
    balances = balances_of({pot for _, pot in pots})
    found = [
        Standing(budget, pot.dimension, pot.value, balances[pot], window_end(Period(budget.period), now))
        for budget, pot in pots
    ]
    return sorted(found, key=lambda one: (-one.per_cent, one.budget.applies_to, one.subject))


def _pots(budgets: Sequence[Budget], now: datetime) -> Iterator[tuple[Budget, Pot]]:
    spenders = {
        period: _who_spent_most(period, now)
        for period in {Period(budget.period) for budget in budgets if budget.applies_to == _KIND.EACH_USER}
    }
    members = _members_who_spent_most([one for one in budgets if one.applies_to == _KIND.GROUP_MEMBER], now)
    for budget in budgets:
        if (pot := pot_of(budget, now)) is not None:
            yield budget, pot
            continue
        each_user = budget.applies_to == _KIND.EACH_USER
        users = spenders[Period(budget.period)] if each_user else members.get(budget.subject, [])
        for user in users:
            yield budget, _pot(Dimension.USER, user, budget, now)


def _who_spent_most(period: Period, now: datetime) -> list[str]:
    sums: QuerySet[RollUp, Any] = RollUp.objects.filter(
        dimension=Dimension.USER, span=_SPANS[period], starts_at__gte=window_start(period, now), micro_dollars__gt=0
    )
    if period is Period.TOTAL:  # over all months
        sums = sums.values("value").annotate(cost=Sum("micro_dollars")).order_by("-cost", "value")
    else:  # there is one row of each
        sums = sums.order_by("-micro_dollars", "value")
    return list(sums.values_list("value", flat=True)[:NEAREST])


def _members_who_spent_most(budgets: Iterable[Budget], now: datetime) -> dict[str, list[str]]:
    """By group, of those who have called a model this month as its members."""
    groups = {budget.subject for budget in budgets}
    if not groups:
        return {}
    sets: dict[str, list[str]] = {}
    for name, group in GroupSetMember.objects.filter(group_id__in=groups).values_list("group_set", "group_id"):
        sets.setdefault(name, []).append(group)
    month = Combination.objects.filter(span=Span.MONTH, starts_at=window_start(Period.MONTHLY, now))
    spent = month.filter(group_set__in=sets).values_list("group_set", "user_id").annotate(cost=Sum("micro_dollars"))
    found: dict[str, list[str]] = {}
    for name, user, _ in spent.order_by("-cost", "user_id"):
        for group in sets[name]:
            users = found.setdefault(group, [])
            if len(users) < NEAREST and user not in users:
                users.append(user)
    return found
