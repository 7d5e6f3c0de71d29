"""What is exported: columns, and pages of rows in their order. Keyset pages: each begins where the last one ended."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Protocol

from django.db.models import Q

from usage.group_sets import groups_of
from usage.models import Combination, Span, UsageRecord
from usage.review.asked import Asked
from usage.review.periods import ONE_DAY, midnight

PAGE = 1_000

Row = Sequence[Any]
"""Texts, whole numbers, Decimals, booleans and None."""


class Rows(Protocol):
    """The rows of one kind that a selection asks for."""

    @property
    def columns(self) -> Sequence[str]: ...

    def pages(self) -> Iterator[Sequence[Row]]:
        """Blocks; each step reads at most one page."""
        ...


_PLAIN = (
    *("call_id", "run_id", "request_id", "user_id", "account_id", "api_key_id", "purpose", "assistant", "model_id"),
    *("provider", "outcome", "error_code", "input_tokens", "cache_read_tokens", "cache_write_tokens"),
    *("output_tokens", "reasoning_tokens", "estimated", "price_version", "first_token_ms", "duration_ms"),
)


class CallRows:
    """Model calls by the moment at which they were admitted: the same that the sums count in these days."""

    columns = ("started_at", "ended_at", "groups", "cost_usd", *_PLAIN)

    def __init__(self, asked: Asked) -> None:
        self._asked = asked

    def pages(self) -> Iterator[Sequence[Row]]:
        for day in days_with_calls(self._asked):
            yield from self._pages_of(midnight(day), midnight(day + ONE_DAY))

    def _pages_of(self, start: datetime, end: datetime) -> Iterator[Sequence[Row]]:
        names = ("started_at", "pk", "ended_at", "group_set", "micro_dollars", *_PLAIN)
        calls = UsageRecord.objects.filter(self._asked.condition(), started_at__lt=end).order_by("started_at", "pk")
        beyond = Q(started_at__gte=start)
        while True:
            page = list(calls.filter(beyond).values_list(*names)[:PAGE])
            if page:
                yield _as_shown(page)
            if len(page) < PAGE:
                return
            moment, pk = page[-1][:2]
            # The first bound is there for the index; the rest tells rows of one moment apart.
            beyond = Q(started_at__gte=moment) & (Q(started_at__gt=moment) | Q(pk__gt=pk))


def days_with_calls(asked: Asked) -> list[Any]:
    """The days on which the sums know calls of the selection: so that a filter that few calls pass costs no scan."""
    days = Combination.objects.filter(
        asked.condition(), span=Span.DAY, starts_at__gte=midnight(asked.first), starts_at__lte=midnight(asked.last)
    )
    return [moment.date() for moment in days.values_list("starts_at", flat=True).distinct().order_by("starts_at")]


def _as_shown(page: Sequence[Row]) -> list[Row]:
    sets = groups_of({row[3] for row in page})
    return [
        (
            moment(row[0]),
            moment(row[2]),
            " ".join(sorted(sets.get(row[3], ()))),
            usd(row[4]),
            str(row[5]),
            *row[6:],
        )
        for row in page
    ]


def moment(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z"


def usd(micro_dollars: int) -> Decimal:
    """Exact, with six decimals."""
    return Decimal(micro_dollars).scaleb(-6) if micro_dollars else Decimal("0.000000")
