"""What the page is asked for: days, one value each of whatever calls are reviewed by, and what a search found.

The same selection is said twice: of ledger rows, and of the sums per day and month, which have the same columns.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import Q, QuerySet
from django.http import HttpRequest

from usage.models import Combination, GroupSetMember, PooledCombination
from usage.review.asked import NONE
from usage.review.periods import Days, parse_days
from usage.roll_ups import POOLED

# Name in the address of the page: column of the ledger and of the sums. Groups stand there as sets (`group_set`).
COLUMNS = {
    **{"model": "model_id", "user": "user_id", "account": "account_id", "outcome": "outcome"},
    **{"key": "api_key_id", "assistant": "assistant", "purpose": "purpose"},
}
GROUP = "group"
# A group's calls are read set by set, each on its index; of more sets than this they are looked for in order of time.
MAX_SETS = 20

Value = str | tuple[str, ...]
"""What a column must be, or one of which."""
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
    group_sets: Sequence[str] | None = None
    """One of these sets of groups; None: whatever groups the caller was in."""

    @classmethod
    def read(cls, params: Mapping[str, str], found: Found | None = None) -> "Selection":
        """From the address of the page; raises IncorrectLookupParameters where Django then shows the whole list."""
        days = _days(params[DAY]) if params.get(DAY) else Days()
        chosen = {column: _value(params[name]) for name, column in COLUMNS.items() if params.get(name)}
        selection = cls(days, chosen, found)
        if group := params.get(GROUP):
            return replace(selection, group_sets=selection.sets_with(_value(group)))
        return selection

    def sets_with(self, group: str) -> list[str]:
        """The sets of groups with that group that have selected calls; without one, the set of none."""
        if not group:
            return [""]
        members = GroupSetMember.objects.filter(group_id=group).values("group_set")
        sums = self.sums().filter(self.days.around(), self.of_sums(), group_set__in=members)
        return sorted(sums.values_list("group_set", flat=True).distinct())

    @property
    def is_of_a_run(self) -> bool:
        """Which the sums do not know: what is asked of a run is summed from its calls."""
        return self.found is not None and bool(self.found.run_id)

    def branches(self) -> list[dict[str, Value]]:
        """Columns and values; a row is selected if it agrees with all of one branch."""
        found: list[dict[str, Value]] = [{}]
        if self.found is not None:
            found = [{name: value} for name, value in self.found.values() if self.chosen.get(name, value) == value]
        return [{**self.chosen, **one, **groups} for one, groups in product(found, self._groups())]

    def _groups(self) -> list[dict[str, Value]]:
        if self.group_sets is None:
            return [{}]
        if len(self.group_sets) > MAX_SETS:
            return [{"group_set": tuple(self.group_sets)}]
        return [{"group_set": name} for name in self.group_sets]

    def sums(self) -> QuerySet[Any]:
        """The smallest sums that know all that is chosen."""
        pooled = self.found is None and self.chosen.keys() <= set(POOLED)
        return PooledCombination.objects.all() if pooled else Combination.objects.all()

    def of_sums(self) -> Q:
        """The selected sums, whatever the days; not for a run."""
        selected = Q(**self.chosen)
        if self.group_sets is not None:
            selected &= Q(group_set__in=self.group_sets)
        if self.found is not None:
            selected &= self.found.condition()
        return selected


def agrees(column: str, value: Value) -> Q:
    return Q((column, value)) if isinstance(value, str) else Q((f"{column}__in", value))


def _value(text: str) -> str:
    """Empty for what the overview calls none: no key, no assistant, in no group."""
    if text == NONE:
        return ""
    # No column holds these, and PostgreSQL refuses to look for a NUL.
    if "\0" in text or len(text) > MAX_VALUE:
        raise IncorrectLookupParameters(text[:MAX_VALUE])
    return text
