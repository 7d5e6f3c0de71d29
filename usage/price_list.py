"""The price list inside the package `genai-prices` (nothing is downloaded): where our models stand in it."""

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any

import genai_prices
import structlog
from genai_prices import data_snapshot

from llm.events import Usage
from llm.model import ModelCard
from llm.shipped import spellings

log = structlog.get_logger(__name__)

VERSION = f"genai-prices {genai_prices.__version__}"

# Our name of a provider: the list's. A compatible server may be anybody's: there the model's name tells whose it is.
_PROVIDERS = {"openai": "openai", "azure": "azure", "bedrock": "aws", "gemini": "google", "anthropic": "anthropic"}


def listed_cost(card: ModelCard, usage: Usage, *, now: datetime) -> Decimal | None:
    """US dollars at that moment's list price, by its tier for long input; None if the model is not in the list."""
    found = _listed(card.provider, tuple(_names(card)))
    if found is None:
        return None
    provider, model = found
    price: Decimal = model.calc_price(_for_pricing(usage), provider, genai_request_timestamp=now).total_price
    return price


def read_price_list() -> None:
    """Reads its file (megabytes of it) once; do it off the loop."""
    data_snapshot.get_snapshot()


def _names(card: ModelCard) -> Iterator[str]:
    """What the model may be called in the list, most exact first."""
    # What runs at Azure is called as whoever deployed it pleased, so what it is called here tells more.
    named = (card.id, card.wire_id) if card.provider == "azure" else (card.wire_id, card.id)
    for name in dict.fromkeys(named):
        spelt = list(spellings(name))
        yield name
        if card.provider == "bedrock" and len(spelt) == 1:
            # Without a region the call stays in its own, which costs what a region's profile costs.
            yield f"us.{name}"
        yield from spelt[1:]


def _for_pricing(usage: Usage) -> genai_prices.Usage:
    # genai-prices wants the whole input, by which it chooses the tier, and takes the cached parts out of it again.
    return genai_prices.Usage(
        input_tokens=usage.input + usage.cache_read + usage.cache_write,
        cache_read_tokens=usage.cache_read,
        cache_write_tokens=usage.cache_write,
        output_tokens=usage.output,
        # Only where there are some: of most models the list has no such price.
        **({"cache_write_1h_tokens": usage.cache_write_1h} if usage.cache_write_1h else {}),
    )


@lru_cache(maxsize=4096)
def _listed(provider: str, names: tuple[str, ...]) -> tuple[Any, Any] | None:
    """The list's provider and model; a miss is an alarm, once per model."""
    for name in names:
        try:
            return data_snapshot.get_snapshot().find_provider_model(name, None, _PROVIDERS.get(provider), None)
        except LookupError:
            continue
    log.warning(
        "price_missing",
        model=names[0],
        provider=provider,
        hint="Booked at 0. Add its price in the admin, under Prices.",
    )
    return None
