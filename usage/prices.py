"""What a call costs: by our own prices (`usage.models.Price`) first, then by the platform's rates where there are any,
then by the price list of `genai-prices`."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal

import structlog

from core.remembered import REMEMBERED_SECONDS, Remembered
from llm.events import Usage
from llm.model import ModelCard
from llm.platform_models import ModelRate
from usage.models import Price
from usage.price_list import VERSION, listed_cost, read_price_list

__all__ = ["PRICES", "VERSION", "Cost", "PriceBook", "cost_of"]

log = structlog.get_logger(__name__)

MICRO = Decimal(1_000_000)


@dataclass(frozen=True, slots=True)
class Cost:
    micro_dollars: int
    price_version: str
    """By which price; empty when nobody knows one: then the cost is 0 and the admin marks the row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalPrice:
    """One version, in US dollars per million tokens, which is micro-dollars per token."""

    version: str
    valid_from: datetime
    input: Decimal | None
    """None: from then on the price list holds again."""
    cache_read: Decimal
    cache_write: Decimal
    output: Decimal

    def micro_dollars(self, usage: Usage) -> Decimal:
        return (
            usage.input * (self.input or Decimal(0))
            + usage.cache_read * self.cache_read
            + usage.cache_write * self.cache_write
            + usage.output * self.output
        )


PlatformRates = Callable[[], Mapping[str, ModelRate]]
"""Model id to its rate at the moment. Blocks. Raises OSError when it cannot say: then what was known before goes on."""
PLATFORM_VERSION = "platform model-rates"

LocalPrices = Mapping[tuple[str, str], tuple[LocalPrice, ...]]
"""(model id, provider or "") to its versions, newest first; under PLATFORM_VERSION the platform's rate."""


class PriceBook:
    """Our own prices as they were seconds ago. `cost_of` is pure memory; await `refresh()` before a call is made."""

    def __init__(self, *, seconds: float = REMEMBERED_SECONDS) -> None:
        self._prices = Remembered(self._read, name="prices", tables=(Price,), seconds=seconds)
        self._platform_rates: PlatformRates = dict
        self._warned = False

    def take_rates(self, platform_rates: PlatformRates) -> None:
        """Ask the platform too, from now on."""
        self._platform_rates = platform_rates
        self._prices.forget()

    def forget(self) -> None:
        """Read them again before the next call."""
        self._prices.forget()

    def _read(self) -> LocalPrices:
        rates = self._platform_rates()
        return {
            **_read_prices(),
            **{(model_id, PLATFORM_VERSION): (_platform_price(rate),) for model_id, rate in rates.items()},
        }

    async def refresh(self) -> None:
        """Read the prices again if they are old or were changed; mostly costs nothing."""
        await self._prices.get()

    def cost_of(self, card: ModelCard, usage: Usage, *, now: datetime | None = None) -> Cost:
        """Price one call; exact to the micro-dollar, halves to even.

        Without a price of our own, a model that runs on our own machine costs nothing.
        """
        moment = now or datetime.now(UTC)
        local = _in_force(self._known(), card, moment)
        if local is not None:
            return Cost(_whole(local.micro_dollars(usage)), local.version)
        if card.provider == "embedded":
            return Cost(0, "embedded")
        dollars = listed_cost(card, usage, now=moment)
        return Cost(0, "") if dollars is None else Cost(_whole(dollars * MICRO), VERSION)

    def _known(self) -> LocalPrices:
        if self._prices.value is not None:
            return self._prices.value
        if not self._warned:
            self._warned = True
            log.warning("local_prices_unread", hint="Until the database answers, calls are booked by the price list.")
        return {}


def _in_force(prices: LocalPrices, card: ModelCard, moment: datetime) -> LocalPrice | None:
    """The newest version that holds already; one for the very provider goes before one for any, and the platform's
    rate comes last."""
    for key in ((card.id, card.provider), (card.id, ""), (card.id, PLATFORM_VERSION)):
        price = next((price for price in prices.get(key, ()) if price.valid_from <= moment), None)
        if price is not None and price.input is not None:
            return price
    return None


def _whole(micro_dollars: Decimal) -> int:
    return int(micro_dollars.quantize(Decimal(1), ROUND_HALF_EVEN))


def _read_prices() -> LocalPrices:
    read_price_list()  # here, off the loop
    prices: dict[tuple[str, str], list[LocalPrice]] = defaultdict(list)
    for row in Price.objects.order_by("-valid_from", "-pk"):
        prices[row.model_id, row.provider].append(_local(row))
    return {key: tuple(versions) for key, versions in prices.items()}


def _local(row: Price) -> LocalPrice:
    as_input = row.input or Decimal(0)
    return LocalPrice(
        version=row.version,
        valid_from=row.valid_from,
        input=row.input,
        cache_read=as_input if row.cache_read is None else row.cache_read,
        cache_write=as_input if row.cache_write is None else row.cache_write,
        output=row.output or Decimal(0),
    )


def _platform_price(rate: ModelRate) -> LocalPrice:
    return LocalPrice(
        version=PLATFORM_VERSION,
        valid_from=datetime.min.replace(tzinfo=UTC),
        input=rate.input,
        cache_read=rate.cache_read,
        cache_write=rate.cache_write,
        output=rate.output,
    )


PRICES = PriceBook()


def cost_of(card: ModelCard, usage: Usage, *, now: datetime | None = None) -> Cost:
    """By this process's price book."""
    return PRICES.cost_of(card, usage, now=now)
