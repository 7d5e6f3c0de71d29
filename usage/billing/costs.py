"""The answers of the cost operations, out of counters. Pure; money is US dollars here, as their clients read it.

Fields are those of both revisions of the platform where these agree (docs/billing.md has the choices).
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from itertools import groupby
from typing import Any

from accounts.limits import MICRO
from accounts.stores.rows import iso
from usage.counters import HOURS, Counter, Payer
from usage.limits import dollars as in_words
from usage.platform.rows import account_info
from usage.review.periods import ONE_DAY, next_month

Body = dict[str, Any]


def dollars(micro_dollars: int) -> float:
    """The nearest number that JSON's readers have for it."""
    return micro_dollars / MICRO


def mtd_cost(email: str, counters: Sequence[Counter]) -> Body:
    today, before = _sums(counters)
    return {
        "email": email,
        "dailyCost": dollars(today),
        "monthlyCost": dollars(before),
        "MTD Cost": dollars(today + before),
    }


def user_costs(email: str, counters: Sequence[Counter], now: datetime) -> Body:
    """One's own, account by account, with the hours of today (UTC)."""
    hourly = [sum(counter.hourly[hour] for counter in counters) for hour in range(HOURS)]
    return {
        **user(email, counters),
        "hourlyCost": [dollars(cost) for cost in hourly],
        "lastUpdated": None,
        "timestamp": iso(now),
    }


def all_users(counters: Sequence[Counter], after: str, now: datetime) -> Body:
    """One page of everybody, who cost most first."""
    users = [user(user_id, list(theirs)) for user_id, theirs in groupby(counters, key=lambda counter: counter.user_id)]
    return {
        "users": sorted(users, key=lambda one: -one["totalCost"]),
        "count": len(users),
        "lastEvaluatedKey": {"id": after} if after else None,
        "hasMore": bool(after),
        "timestamp": iso(now),
    }


def user(email: str, counters: Sequence[Counter]) -> Body:
    """One of several."""
    today, before = _sums(counters)
    accounts = [_account(counter) for counter in counters]
    return {
        "email": email,
        **_costs(today, before),
        "accounts": sorted(accounts, key=lambda account: -account["totalCost"]),
        "lastUpdated": None,
    }


def _account(counter: Counter) -> Body:
    return {
        "accountInfo": account_info(counter.account_id, counter.api_key_id),
        **_costs(counter.today, counter.month_before_today),
        "timestamp": None,
    }


def _costs(today: int, before: int) -> Body:
    return {"dailyCost": dollars(today), "monthlyCost": dollars(before), "totalCost": dollars(today + before)}


def _sums(counters: Iterable[Counter]) -> tuple[int, int]:
    """Of today, and of this month before it."""
    read = list(counters)
    return sum(one.today for one in read), sum(one.month_before_today for one in read)


def key_costs(key_id: str, total: int, own: int) -> Body:
    """Of one key: by anybody, and by who asks."""
    return {
        "totalApiKeyCost": dollars(total),
        "userApiKeyCost": dollars(own),
        "resolvedApiKeyId": key_id,
        "latestTimestamp": None,
    }


def history(email: str, months: Mapping[date, Mapping[Payer, int]], now: datetime) -> Body:
    """Month by month, the newest first; each call counts in one of them, once."""
    today = now.astimezone(UTC).date()
    spent = {month: payers for month, payers in months.items() if any(payers.values())}
    newest_first = sorted(spent, reverse=True)
    totals = [sum(spent[month].values()) for month in newest_first]
    shown = [_month(month, spent[month], today) for month in newest_first]
    return {
        "email": email,
        "history": shown,
        "summary": {
            "totalSpendAllTime": dollars(sum(totals)),
            "avgMonthlySpend": dollars(sum(totals)) / len(totals) if totals else 0.0,
            "monthCount": len(totals),
            "firstMonth": shown[-1]["month"] if shown else None,
            "lastMonth": shown[0]["month"] if shown else None,
            "trend": _trend(newest_first, totals),
        },
    }


def _month(month: date, payers: Mapping[Payer, int], today: date) -> Body:
    """A month that is over stands in `monthlyCostSum`, the present one in `dailyCostSum`: clients that add the two get
    its cost, and not twice of it."""
    total, is_current = sum(payers.values()), month == today.replace(day=1)
    last = today if is_current else next_month(month) - ONE_DAY
    accounts = [{"accountInfo": account_info(*payer), "cost": dollars(cost)} for payer, cost in payers.items() if cost]
    return {
        "month": f"{month:%Y-%m}",
        "displayMonth": _display(month),
        "totalCost": dollars(total),
        "dailyCostSum": dollars(total if is_current else 0),
        "monthlyCostSum": dollars(0 if is_current else total),
        "accounts": sorted(accounts, key=lambda account: (-account["cost"], account["accountInfo"])),
        "daysInMonth": last.day,
        "isCurrent": is_current,
    }


def _trend(months: Sequence[date], totals: Sequence[int]) -> Body:
    """Of the newest month against the one before it."""
    if len(totals) < 2:  # noqa: PLR2004 - two are compared
        return {"direction": "flat", "percentage": 0, "comparison": ""}
    change = totals[0] - totals[1]
    return {
        "direction": "up" if change > 0 else "down" if change < 0 else "flat",
        "percentage": abs(change) * 100 / totals[1],
        "comparison": " vs ".join(
            f"{_display(month)}: ${in_words(total)}" for month, total in zip(months[:2], totals, strict=False)
        ),
    }


_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def _display(month: date) -> str:
    """As American readers write it, whatever the process's locale is."""
    return f"{_MONTHS[month.month - 1]} {month.year}"
