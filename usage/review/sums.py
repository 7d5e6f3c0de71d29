"""Read the sums that the review shows: from the roll-ups where they know the answer, else from `Combination`.

Never from the ledger. Everything here blocks.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from django.db.models import F, Q, Sum

from usage.group_sets import groups_of
from usage.models import Combination, Dimension, RollUp, Span
from usage.review.asked import COLUMNS, FILTERS, NONE, Asked
from usage.review.cover import cover
from usage.review.periods import midnight, utc_today
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
    pieces = cover(asked.first, asked.last, utc_today())
    rows = _source(asked).filter(pieces.condition()).annotate(sign=pieces.sign()).values("starts_at", "sign")
    found: dict[date, dict[str, int]] = defaultdict(lambda: dict.fromkeys(SUMS, 0))
    for row in rows.annotate(**_sums()).order_by():
        month = found[row["starts_at"].date().replace(day=1)]
        for name in SUMS:
            month[name] += row["sign"] * int(row[f"sum_{name}"])
    return dict(found)


def _sums() -> dict[str, Sum]:
    return {f"sum_{name}": Sum(name) for name in SUMS}


def _source(asked: Asked) -> Any:
    """The rows that say how the selected calls are spread over time: of one dimension if that is enough."""
    match list(asked.chosen.items()):
        case []:
            return RollUp.objects.filter(dimension=Dimension.ALL, value="")
        case [(name, value)] if not (name == "group" and value == NONE):  # who is in no group has no roll-up
            return RollUp.objects.filter(dimension=FILTERS[name], value="" if value == NONE else value)
    return Combination.objects.filter(asked.condition())


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
    pieces = cover(asked.first, asked.last, utc_today())
    rows: Any
    if set(asked.chosen) <= {by} and asked.chosen.get(by) != NONE:
        wanted = {} if by not in asked.chosen else {"value": asked.chosen[by]}
        rows, column = RollUp.objects.filter(dimension=FILTERS[by], **wanted), "value"
    else:
        rows, column = Combination.objects.filter(asked.condition()), COLUMNS[by]
    rows = rows.filter(pieces.condition())
    if pieces.less:
        rows = rows.annotate(sign=pieces.sign())
    sums = {f"sum_{name}": expression for name, expression in pieces.sums(_SHOWN).items()}
    grouped = rows.values(named=F(column)).annotate(**sums).filter(sum_calls__gt=0)
    if column == "group_set":
        return _by_group(grouped.order_by(), most)
    ordered = grouped.order_by("-sum_micro_dollars", "-sum_calls", "named")[:most]
    return [_part(row["named"], row) for row in ordered]


def _part(value: str, row: Mapping[str, Any]) -> Part:
    return Part(value=value, **{name: int(row[f"sum_{name}"]) for name in _SHOWN})


def _by_group(rows: Any, most: int | None) -> list[Part]:
    """There are few sets of groups; what is in each is known here."""
    read = list(rows)
    members = groups_of(row["named"] for row in read)
    found: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(_SHOWN, 0))
    for row in read:
        for group in members.get(row["named"], ()):
            for name in _SHOWN:
                found[group][name] += int(row[f"sum_{name}"])
    ranked = sorted(found.items(), key=lambda item: (-item[1]["micro_dollars"], -item[1]["calls"], item[0]))
    return [Part(value=group, **amounts) for group, amounts in ranked[:most]]
