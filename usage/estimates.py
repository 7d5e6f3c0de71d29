"""What a call is expected to cost before it is made."""

import time
from dataclasses import dataclass
from datetime import datetime

import structlog

from core.remembered import REMEMBERED_SECONDS
from llm.events import Usage
from llm.messages import ModelRequest
from llm.model import ModelCard
from llm.tokens import estimate_text, request_tokens
from usage.prices import Cost, cost_of

log = structlog.get_logger(__name__)

# Tokens that a rate is told for: below where prices for long inputs begin, and enough for any price to be exact.
_BASE = 100_000
_MAX_RATES = 1_000

TYPICAL_OUTPUT_TOKENS = 1_000
"""A long answer of a chat; few are longer. Callers ask for many times as many as they then use, so that what they ask
for would keep people with small budgets out."""


def expected_usage(card: ModelCard, request: ModelRequest) -> Usage:
    """Input by its size, within what the model can read; output as asked for, within what is typical.

    What a call then costs more than that is the estimate's error: by so much calls side by side can pass a limit.
    """
    tokens = request_tokens(request, estimate_text)
    most = [limit for limit in (request.max_output_tokens, card.output_limit) if limit is not None]
    return Usage(
        input=tokens if card.context_window is None else min(tokens, card.context_window),
        output=max(0, min([TYPICAL_OUTPUT_TOKENS, *most])),
        estimated=True,
    )


def expected_cost(card: ModelCard, usage: Usage) -> Cost:
    """What such a call costs, by rates that are seconds old: to look a price up in the list is slow."""
    if usage.input > _BASE or usage.output > _BASE:
        return cost_or_nothing(card, usage)  # long ones may cost more a token
    rate = _rate_of(card)
    micro_dollars = usage.input * rate.input.micro_dollars + usage.output * rate.output.micro_dollars
    return Cost(-(-micro_dollars // _BASE), rate.input.price_version)


@dataclass(frozen=True, slots=True)
class _Rate:
    """The cost of `_BASE` tokens."""

    input: Cost
    output: Cost
    good_until: float


_rates: dict[tuple[str, str, str], _Rate] = {}


def _rate_of(card: ModelCard) -> _Rate:
    key, now = (card.id, card.wire_id, card.provider), time.monotonic()
    rate = _rates.get(key)
    if rate is None or rate.good_until < now:
        if len(_rates) >= _MAX_RATES:
            _rates.clear()
        both = (cost_or_nothing(card, Usage(input=_BASE)), cost_or_nothing(card, Usage(output=_BASE)))
        rate = _rates[key] = _Rate(*both, now + REMEMBERED_SECONDS)
    return rate


def cost_or_nothing(card: ModelCard, usage: Usage, *, now: datetime | None = None) -> Cost:
    """A price list that trips must not cost the row: it is booked without a price, which the admin shows."""
    try:
        return cost_of(card, usage, now=now)
    except Exception:
        log.exception("price_failed", model=card.id)
        return Cost(0, "")
