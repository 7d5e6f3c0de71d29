"""Read the sums that the review shows: from the roll-ups where they know the answer, else from `Combination`.

Never from the ledger. Everything here blocks.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from django.db.models import Q, QuerySet, Sum

from usage.group_sets import groups_of
from usage.models import Combination, Dimension, PooledCombination, RollUp, Span
from usage.review.asked import COLUMNS, FILTERS, NONE, UNPOOLED, Asked
from usage.review.cover import cover
from usage.review.periods import midnight, month_of, utc_today
from usage.review.summing import summed
from usage.roll_ups import SUMS

Amounts = Mapping[str, int]
"""A number for each of `SUMS`."""

TOP = 10
_SHOWN = ("micro_dollars", "calls", "failed_calls", "input_tokens", "cache_read_tokens", "cache_write_tokens",
          "output_tokens")  # fmt: skip


def total(amounts: Sequence[Amounts]) -> Amounts:
    return {name: sum(one[name] for one in amounts) for name in SUMS}


def by_day(asked: Asked, first: date, last: date) -> dict[date, Amounts]:
    """The sums of each UTC day on which there are any, with the filters that are asked for."""
    between = Q(span=Span.DAY, starts_at__gte=midnight(first), starts_at__lte=midnight(last))
    rows = _source(asked).filter(between).values("starts_at").annotate(**_sums())
    return {row["starts_at"].date(): {name: int(row[f"sum_{name}"]) for name in SUMS} for row in rows.order_by()}


def by_month(asked: Asked) -> dict[date, Amounts]:
    """The sums of the asked period, by the first day of each month; of those at its ends only what lies in it."""
    pieces = cover(asked.first, asked.last, utc_today()).pieces()
    found: dict[date, dict[str, int]] = defaultdict(lambda: dict.fromkeys(SUMS, 0))
    for _, starts_at, sums in summed(_source(asked), pieces, SUMS, ["starts_at"]):
        month = found[month_of(_day(starts_at))]
        for name, amount in zip(SUMS, sums, strict=True):
            month[name] += amount
    return dict(found)


def _day(moment: datetime | str) -> date:
    """SQLite gives moments as text."""
    return (datetime.fromisoformat(moment) if isinstance(moment, str) else moment).date()


def _sums() -> dict[str, Sum]:
    return {f"sum_{name}": Sum(name) for name in SUMS}


def _source(asked: Asked) -> Any:
    """The rows that say how the selected calls are spread over time: of one dimension if that is enough."""
    match list(asked.chosen.items()):
        case []:
            return RollUp.objects.filter(dimension=Dimension.ALL, value="")
        case [(name, value)] if not (name == "group" and value == NONE):  # who is in no group has no roll-up
            return RollUp.objects.filter(dimension=FILTERS[name], value="" if value == NONE else value)
    return _combinations(_pools(asked)).filter(asked.condition())


def _pools(asked: Asked, by: str = "") -> bool:
    """Neither a filter nor what is summed up by asks for single users or keys."""
    return {by, *asked.chosen}.isdisjoint(UNPOOLED)


def _combinations(pooled: bool) -> QuerySet[Any]:
    return PooledCombination.objects.all() if pooled else Combination.objects.all()


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What one user, model, … has in what is selected."""

    value: str
    micro_dollars: int
    calls: int
    failed_calls: int
    input_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    output_tokens: int

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.cache_read_tokens + self.cache_write_tokens + self.output_tokens


def parts(asked: Asked, by: str, *, most: int | None = TOP) -> list[Part]:
    """The users, models, … (`by` is the name of a filter) that cost most in the period, or all of them (`most` is
    None); for groups, a call counts in each that its caller was in."""
    return parts_by(asked, [by], most=most)[by]


def parts_by(asked: Asked, names: Sequence[str], *, most: int | None = TOP) -> dict[str, list[Part]]:
    """The same by several filters, for hardly more than by one."""
    pieces = cover(asked.first, asked.last, utc_today()).pieces()
    found: dict[str, dict[str, list[int]]] = {name: {} for name in names}
    combined: dict[bool, list[str]] = {}
    for name in names:
        if not _is_rolled_up(asked, name):
            combined.setdefault(_pools(asked, name), []).append(name)
            continue
        wanted = {"value": asked.chosen[name]} if name in asked.chosen else {}
        rows = RollUp.objects.filter(dimension=FILTERS[name], **wanted)
        for _, value, sums in summed(rows, pieces, _SHOWN, ["value"], top=most):
            found[name][value] = list(sums)
    for pooled, some in combined.items():
        columns = {COLUMNS[name]: name for name in some}
        selected = _combinations(pooled).filter(asked.condition())
        top = None if "group" in some else most  # which groups are first is not known by their sets
        for column, value, sums in summed(selected, pieces, _SHOWN, [*columns], top=top):
            found[columns[column]][value] = list(sums)
        if "group" in some:
            found["group"] = _of_groups(found["group"])
    return {name: _ranked(found[name])[:most] for name in names}


def _is_rolled_up(asked: Asked, name: str) -> bool:
    """Along one dimension, there are sums by all of its values; not of those that are in no group."""
    return set(asked.chosen) <= {name} and asked.chosen.get(name) != NONE


def _of_groups(by_set: Mapping[str, Sequence[int]]) -> dict[str, list[int]]:
    """There are few sets of groups; what is in each is known here."""
    found: dict[str, list[int]] = {}
    members = groups_of(by_set)
    for name, sums in by_set.items():
        for group in members.get(name, ()):
            found[group] = [one + other for one, other in zip(found.get(group, [0] * len(sums)), sums, strict=True)]
    return found


def _ranked(values: Mapping[str, Sequence[int]]) -> list[Part]:
    """Without what has no call left when days were taken off."""
    found = [Part(value=value, **dict(zip(_SHOWN, sums, strict=True))) for value, sums in values.items()]
    return sorted((part for part in found if part.calls), key=lambda one: (-one.micro_dollars, -one.calls, one.value))
