"""What a call costs, from the price list inside the package `genai-prices` (nothing is downloaded)."""

from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from functools import lru_cache
from typing import Any

import genai_prices
import structlog
from genai_prices import data_snapshot

from llm.events import Usage
from llm.model import ModelCard

log = structlog.get_logger(__name__)

MICRO = Decimal(1_000_000)
VERSION = f"genai-prices {genai_prices.__version__}"


@dataclass(frozen=True, slots=True)
class Cost:
    micro_dollars: int
    price_version: str
    """Which price list; empty when none knows the model: then the cost is 0 and the admin marks the row."""


def cost_of(card: ModelCard, usage: Usage) -> Cost:
    """Price one call; exact to the micro-dollar, halves to even. A model that runs on our own machine costs nothing."""
    if card.provider == "embedded":
        return Cost(0, "embedded")
    found = _listed(card.provider, card.id)
    if found is None:
        return Cost(0, "")
    provider, model = found
    priced = model.calc_price(_for_pricing(usage), provider)
    return Cost(int((priced.total_price * MICRO).quantize(Decimal(1), ROUND_HALF_EVEN)), VERSION)


def _for_pricing(usage: Usage) -> genai_prices.Usage:
    # genai-prices wants the whole input and takes the cached parts out of it again.
    return genai_prices.Usage(
        input_tokens=usage.input + usage.cache_read + usage.cache_write,
        cache_read_tokens=usage.cache_read,
        cache_write_tokens=usage.cache_write,
        output_tokens=usage.output,
    )


@lru_cache(maxsize=4096)
def _listed(provider: str, model_id: str) -> tuple[Any, Any] | None:
    """The price list's provider and model; a miss is an alarm, once per model."""
    provider_id = None if provider == "compatible" else provider
    try:
        return data_snapshot.get_snapshot().find_provider_model(model_id, None, provider_id, None)
    except LookupError:
        log.warning("price_missing", model=model_id, provider=provider, hint="Its calls are booked at 0.")
        return None
