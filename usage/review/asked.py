"""What the review is asked for, by the address of its page: a period and any of the filters, together."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date

from django.db.models import Q
from django.utils.http import urlencode

from usage.models import Dimension, GroupSetMember
from usage.review.periods import EARLIEST, Days, named_days, parse_days, utc_today

DAY, FROM, TO = "day", "from", "to"
DEFAULT_PERIOD = "month"
NONE = "(none)"
"""In the address: without a key, without an assistant, in no group."""
MAX_VALUE = 600

# Name in the address: the dimension that it filters by.
FILTERS: Mapping[str, Dimension] = {
    "user": Dimension.USER,
    "group": Dimension.GROUP,
    "account": Dimension.ACCOUNT,
    "key": Dimension.KEY,
    "model": Dimension.MODEL,
    "assistant": Dimension.ASSISTANT,
    "purpose": Dimension.PURPOSE,
}
COLUMNS: Mapping[str, str] = {
    "user": "user_id",
    "group": "group_set",
    "account": "account_id",
    "key": "api_key_id",
    "model": "model_id",
    "assistant": "assistant",
    "purpose": "purpose",
}
"""Of the ledger and of `Combination`; groups stand there as sets."""
UNPOOLED = frozenset({"user", "key"})
"""What `PooledCombination` does not know."""


@dataclass(frozen=True, slots=True)
class Asked:
    """`first` and `last` are UTC days, both included; `chosen` has a value for each filter that is set."""

    first: date
    last: date
    period: str
    """As the address says it."""
    chosen: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, params: Mapping[str, str]) -> "Asked":
        """Raises ValueError, in words for the page, for what is no period and no possible value."""
        period = params.get(DAY) or DEFAULT_PERIOD
        if params.get(FROM) or params.get(TO):
            today = utc_today().isoformat()
            period = f"{params.get(FROM) or today}..{params.get(TO) or today}"
        try:
            days = parse_days(period)
        except ValueError as error:
            raise ValueError(f"{period} is no period of days: {error}") from error
        chosen = {name: params[name].strip() for name in FILTERS if params.get(name, "").strip()}
        if any("\0" in value or len(value) > MAX_VALUE for value in chosen.values()):
            raise ValueError("A filter is longer than any name, or has characters that no name has.")
        return cls(*_bounds(days), period, chosen)

    @property
    def days(self) -> int:
        return (self.last - self.first).days + 1

    def query(self, **changed: str) -> str:
        """The address of the same selection, with filters or the period changed; an empty value takes a filter away."""
        params = {DAY: self.period, **self.chosen, **changed}
        return urlencode({name: value for name, value in params.items() if value})

    def only(self, name: str, value: str) -> "Asked":
        return replace(self, chosen={**self.chosen, name: value or NONE})

    def condition(self) -> Q:
        """Of `Combination` and of the ledger, but for the time."""
        selected = Q()
        for name, value in self.chosen.items():
            wanted = "" if value == NONE else value
            if name == "group" and wanted:
                selected &= Q(group_set__in=GroupSetMember.objects.filter(group_id=wanted).values("group_set"))
            else:
                selected &= Q((COLUMNS[name], wanted))
        return selected


def _bounds(days: Days) -> tuple[date, date]:
    reached = days.reached()
    if reached.first is None or reached.last is None:
        raise ValueError("A period has a first and a last day.")
    if reached.first > reached.last:
        raise ValueError(f"The period has no day from {EARLIEST} to today, when calls may have been.")
    return reached.first, reached.last


def periods() -> Iterable[tuple[str, str]]:
    """Name in the address, and what to call it."""
    return [(name, label) for name, (label, _) in named_days(utc_today()).items()]
