"""What the page is asked for: days, one value each of user, account, model and outcome, and what a search found.

The same selection is said twice: of ledger rows, and of the sums per day, which have exactly these dimensions.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import Q
from django.http import HttpRequest

from usage.review.periods import Days, parse_days

# Name in the address of the page: column of the ledger and, but for the key, of the sums per day.
COLUMNS = {
    **{"model": "model_id", "user": "user_id", "account": "account_id", "outcome": "outcome"},
    "key": "api_key_id",
}
DAY = "day"
MAX_VALUE = 600


def asked(request: HttpRequest) -> dict[str, str]:
    """What the address of the page says; the last of what it says twice."""
    return {name: value for name, value in request.GET.items() if isinstance(value, str)}


def _days(text: str) -> Days:
    try:
        return parse_days(text)
    except ValueError as error:
        raise IncorrectLookupParameters(error) from error


@dataclass(frozen=True, slots=True)
class Found:
    """What a search term stands for: one run, or the users and models whose names start with it."""

    run_id: str = ""
    users: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    more: bool = False
    """There are further users or models; they are left out."""

    def condition(self) -> Q:
        """Users and models."""
        return Q(user_id__in=self.users) | Q(model_id__in=self.models)

    def values(self) -> list[tuple[str, str]]:
        if self.run_id:
            return [("run_id", self.run_id)]
        return [("user_id", user) for user in self.users] + [("model_id", model) for model in self.models]


@dataclass(frozen=True, slots=True)
class Selection:
    days: Days = field(default_factory=Days)
    chosen: Mapping[str, str] = field(default_factory=dict)
    """Column: the value that it must have."""
    found: Found | None = None
    """None: nothing was searched for."""

    @classmethod
    def read(cls, params: Mapping[str, str], found: Found | None = None) -> "Selection":
        """From the address of the page; raises IncorrectLookupParameters where Django then shows the whole list."""
        days = _days(params[DAY]) if params.get(DAY) else Days()
        chosen = {column: _value(params[name]) for name, column in COLUMNS.items() if params.get(name)}
        return cls(days, chosen, found)

    @property
    def unsummed(self) -> str | None:
        """The chosen column that the sums per day do not know: what is asked of a run or a key is summed from calls."""
        if self.found is not None and self.found.run_id:
            return "run_id"
        return "api_key_id" if "api_key_id" in self.chosen else None

    def branches(self) -> list[dict[str, str]]:
        """Columns and values; a row is selected if it agrees with all of one branch."""
        if self.found is None:
            return [dict(self.chosen)]
        agreeing = [(name, value) for name, value in self.found.values() if self.chosen.get(name, value) == value]
        return [{**self.chosen, name: value} for name, value in agreeing]

    def of_sums(self) -> Q:
        """The selected sums per day; not for what is `unsummed`."""
        selected = self.days.of_sums() & Q(**self.chosen)
        if self.found is not None:
            selected &= self.found.condition()
        return selected


def _value(text: str) -> str:
    # No column holds these, and PostgreSQL refuses to look for a NUL.
    if "\0" in text or len(text) > MAX_VALUE:
        raise IncorrectLookupParameters(text[:MAX_VALUE])
    return text
