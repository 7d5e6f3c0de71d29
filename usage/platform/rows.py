"""How the platform writes books, both ways and without asking anybody (billing-and-state §2.1 to 2.3, §3.9, §3.10).

Several services write these rows, in several languages: what is missing or cannot be read counts as nothing.
"""

from collections.abc import Mapping
from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from typing import Any

from accounts.limits import MICRO
from accounts.principal import GENERAL_ACCOUNT
from usage.counters import HOURS, Counter

NO_KEY = "NA"
RECORD_TYPE = "cost"

Row = Mapping[str, Any]


def account_info(account_id: str, api_key_id: str) -> str:
    """The second half of a cost row's key. An account may hold a `#`; a key's public name has none."""
    return f"{account_id or GENERAL_ACCOUNT}#{api_key_id or NO_KEY}"


def parts_of(info: str) -> tuple[str, str]:
    """The account and the key (empty for none) that `account_info` was made of."""
    account_id, _, api_key_id = info.rpartition("#")
    return account_id or GENERAL_ACCOUNT, "" if api_key_id == NO_KEY else api_key_id


def day_key(user_id: str, day: date) -> str:
    """`userDate` of a day that is over."""
    return f"{user_id}#{day:%Y-%m-%d}"


def month_key(user_id: str, day: date) -> str:
    """`userDate` of the month that `day` lies in."""
    return f"{user_id}#{day:%Y-%m}"


def dollars(micro_dollars: int) -> Decimal:
    """Exact. From a millionth on, Python writes it without an exponent, which some readers do not understand."""
    return Decimal(micro_dollars) / MICRO


def micro_dollars(value: Any) -> int:
    """Of a number of dollars that somebody added up in floating point; 0 for what is none."""
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return 0
    return int((number * MICRO).to_integral_value(ROUND_HALF_EVEN)) if number.is_finite() else 0


def counter_of(row: Row) -> Counter:
    account_id, api_key_id = parts_of(str(row.get("accountInfo", "")))
    hours = row.get("hourlyCost")
    hourly = [micro_dollars(hour) for hour in hours[:HOURS]] if isinstance(hours, list) else []
    return Counter(
        user_id=str(row.get("id", "")),
        account_id=account_id,
        api_key_id=api_key_id,
        hourly=(*hourly, *(0,) * (HOURS - len(hourly))),
        today=micro_dollars(row.get("dailyCost", 0)),
        month_before_today=micro_dollars(row.get("monthlyCost", 0)),
    )
