"""What the page is asked for: days, one value each of user, account, model and outcome, and what a search found.

The same selection is said twice: of ledger rows, and of the sums per day, which have exactly these dimensions.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import Q
from django.http import HttpRequest
from django.utils import timezone

# Name in the address of the page: column of the ledger and of the sums.
COLUMNS = {"model": "model_id", "user": "user_id", "account": "account_id", "outcome": "outcome"}
DAY = "day"
MAX_VALUE = 255


@dataclass(frozen=True, slots=True)
class Days:
    """Whole UTC days, both ends included; None is an open end."""

    first: date | None = None
    last: date | None = None

    def of_sums(self) -> Q:
        bounds = Q()
        if self.first is not None:
            bounds &= Q(day__gte=self.first)
        if self.last is not None:
            bounds &= Q(day__lte=self.last)
        return bounds


def asked(request: HttpRequest) -> dict[str, str]:
    """What the address of the page says; the last of what it says twice."""
    return {name: value for name, value in request.GET.items() if isinstance(value, str)}


def named_days(today: date) -> dict[str, tuple[str, Days]]:
    """The periods that have a name in the address: what to call them, and which days they are on `today`."""
    yesterday, month = today - timedelta(days=1), today.replace(day=1)
    before = month - timedelta(days=1)
    return {
        "today": ("Today", Days(today, today)),
        "yesterday": ("Yesterday", Days(yesterday, yesterday)),
        "week": ("Last 7 days", Days(today - timedelta(days=6), today)),
        "month": ("This month", Days(month, today)),
        "last-month": ("Last month", Days(before.replace(day=1), before)),
    }


def utc_today() -> date:
    return timezone.now().astimezone(UTC).date()


def parse_days(text: str) -> Days:
    """Read a period's name or a date YYYY-MM-DD; raises IncorrectLookupParameters."""
    if named := named_days(utc_today()).get(text):
        return named[1]
    try:
        day = datetime.strptime(text, "%Y-%m-%d").date()
    except ValueError as error:
        raise IncorrectLookupParameters(error) from error
    return Days(day, day)


@dataclass(frozen=True, slots=True)
class Found:
    """What a search term stands for: one run, or the users and models whose names start with it."""

    run_id: str = ""
    users: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    more: bool = False
    """There are further users or models; they are left out."""

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
        days = parse_days(params[DAY]) if params.get(DAY) else Days()
        chosen = {column: _value(params[name]) for name, column in COLUMNS.items() if params.get(name)}
        return cls(days, chosen, found)

    def branches(self) -> list[dict[str, str]]:
        """Columns and values; a row is selected if it agrees with all of one branch."""
        if self.found is None:
            return [dict(self.chosen)]
        agreeing = [(name, value) for name, value in self.found.values() if self.chosen.get(name, value) == value]
        return [{**self.chosen, name: value} for name, value in agreeing]

    def of_sums(self) -> Q:
        """The selected sums per day; not for a run, which they do not know."""
        selected = self.days.of_sums() & Q(**self.chosen)
        if self.found is not None:
            selected &= Q(user_id__in=self.found.users) | Q(model_id__in=self.found.models)
        return selected


def _value(text: str) -> str:
    # No column holds these, and PostgreSQL refuses to look for a NUL.
    if "\0" in text or len(text) > MAX_VALUE:
        raise IncorrectLookupParameters(text[:MAX_VALUE])
    return text
