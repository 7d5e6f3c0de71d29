"""The sidebar: links that set or clear one part of the selection. `Selection` reads what they set."""

from collections.abc import Iterable, Iterator
from typing import Any

from django.contrib.admin import SimpleListFilter
from django.db.models import QuerySet
from django.http import HttpRequest

from usage.admin.selection import DAY
from usage.models import Outcome
from usage.review.periods import named_days, utc_today


class _LinkFilter(SimpleListFilter):
    """Only shows links; a selected value that is not on offer is shown all the same."""

    parameter_name = ""
    title = ""

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        offered = list(self.offered())
        chosen = self.value()
        if chosen and chosen not in (value for value, _ in offered):
            offered.append((chosen, chosen))
        return offered

    def offered(self) -> Iterable[tuple[str, str]]:
        raise NotImplementedError

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset


class DayFilter(_LinkFilter):
    title = "day (UTC)"
    parameter_name = DAY

    def offered(self) -> Iterator[tuple[str, str]]:
        for name, (label, _) in named_days(utc_today()).items():
            yield name, label


class OutcomeFilter(_LinkFilter):
    title = "outcome"
    parameter_name = "outcome"

    def offered(self) -> Iterator[tuple[str, str]]:
        for outcome in Outcome:
            yield outcome.value, str(outcome.label)


class ValueFilter(_LinkFilter):
    """Offers the values that cost most."""

    def __init__(self, *args: Any, name: str, values: Iterable[str]) -> None:
        self.title = self.parameter_name = name
        self._values = values
        super().__init__(*args)

    def offered(self) -> Iterator[tuple[str, str]]:
        return ((value, value) for value in self._values if value)
