"""How much may be spent in which period."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from enum import StrEnum
from typing import Any

MICRO = 1_000_000


class Period(StrEnum):
    """UTC windows; spelt as the platform writes them (billing-and-state: rate limiting)."""

    HOURLY = "Hourly"
    DAILY = "Daily"
    MONTHLY = "Monthly"
    TOTAL = "Total"


@dataclass(frozen=True, slots=True, kw_only=True)
class SpendLimit:
    """At most so many micro-dollars (10⁻⁶ USD) in a period."""

    period: Period
    micro_dollars: int

    def as_rate(self) -> dict[str, Any]:
        """The platform's object `{"period": …, "rate": <US dollars>}`."""
        return {"period": self.period.value, "rate": Decimal(self.micro_dollars) / MICRO}


def limit_of_rate(rate: Any) -> SpendLimit | None:
    """The limit that a platform's rate object means; None for none (`Unlimited`, or nothing set).

    Raises ValueError for what is neither: a limit that nobody can read must not count as no limit.
    """
    if not rate:
        return None
    if not isinstance(rate, Mapping):
        raise ValueError('A limit is an object like {"period": "Monthly", "rate": 50}.')  # noqa: TRY004 - of its value
    period = str(rate.get("period") or "Unlimited")
    if period.lower() == "unlimited":
        return None
    return SpendLimit(period=_period(period), micro_dollars=_micro_dollars(rate.get("rate")))


def _period(text: str) -> Period:
    for period in Period:
        if period.value.lower() == text.lower():
            return period
    raise ValueError(f"period should be Unlimited, {', '.join(Period)}.")


def _micro_dollars(rate: Any) -> int:
    try:
        dollars = Decimal(str(rate))
    except InvalidOperation:
        dollars = Decimal("NaN")
    if dollars.is_nan() or not 0 <= dollars < MICRO * MICRO:
        raise ValueError("rate should be a number of US dollars, 0 or more.")
    return int((dollars * MICRO).to_integral_value(ROUND_HALF_EVEN))
