"""The platform's available-models API, read live: which models each person may use, asked with their own credential.

It stands in for a table (`llm.cards.CardBook`): rules for the catalogue, the facts of models, and their rates for the
price book. Sources: llm-providers, sections 1.4, 1.5 and 9.2; billing-and-state, section 11.
"""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakValueDictionary

import aiohttp
import orjson
import structlog

from core.aio import TaskSet, run_blocking
from core.errors import Forbidden, Unavailable
from core.http import HttpClient, read_at_most
from llm.cards import CardRules, CardTable, card_of
from llm.catalogue import MAX_ID, Asker
from llm.model import ModelCard
from llm.model_lists import roles_of
from llm.platform_models import ModelRate, card_entries, in_name_order, model_rates

log = structlog.get_logger(__name__)

TIMEOUT_SECONDS = 5.0
MAX_BYTES = 4 * 1024 * 1024
# Administrators' changes are felt within it.
FRESH_SECONDS = 300.0
# While the API is away its last answer goes on for so long: an outage is over by then as a rule, and somebody who has
# lost a model meanwhile has it a quarter of an hour longer.
STALE_SECONDS = 900.0
# After a failure: an API that is down is not asked by every request.
RETRY_SECONDS = 5.0
REMEMBER_LISTS = 10_000

_AWAY = "Which models you may use cannot be looked up at the moment. Please try again in a few seconds."
_NO_CREDENTIAL = (
    "Which models you may use is looked up with your own credential, and this sign-in has none to pass on. "
    "Use an access token or an API key."
)

# The API's names: those of the rate table, whose prices are in US dollars per thousand tokens too.
_RATE_COLUMNS = {
    "id": "ModelID",
    "inputTokenCost": "InputCostPerThousandTokens",
    "outputTokenCost": "OutputCostPerThousandTokens",
    "cachedTokenCost": "CachedCostPerThousandTokens",
    "inputCachedTokenCost": "InputCachedCostPerThousandTokens",
    "inputWriteCachedTokenCost": "InputWriteCachedCostPerThousandTokens",
}


@dataclass(frozen=True, slots=True, weakref_slot=True)
class _Listing:
    """One answer of the API: its models with their roles, and their rates."""

    table: CardTable
    rates: Mapping[str, ModelRate]


@dataclass(slots=True)
class _Known:
    """What is known of one person's models."""

    listing: _Listing | None = None
    asked_at: float = float("-inf")
    retry_at: float = float("-inf")
    asking: "asyncio.Task[None] | None" = field(default=None, repr=False)


class AvailableModels:
    """Asks once per person and credential in five minutes; all who want the same answer meanwhile share the request."""

    def __init__(
        self,
        base_url: str,
        client: HttpClient,
        *,
        on_news: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`on_news` is called when facts or rates of models have come that were not known before."""
        self._on_news = on_news
        self._url = f"{base_url}/available_models"
        self._client = client
        self._clock = clock
        self._known: OrderedDict[tuple[str, bytes], _Known] = OrderedDict()
        # Most people have the same list: it is kept once.
        self._listings: WeakValueDictionary[bytes, _Listing] = WeakValueDictionary()
        self._learnt: _Listing | None = None
        self._cards: CardTable = CardTable({}, {})
        self._rates: Mapping[str, ModelRate] = {}
        self._tasks = TaskSet()

    async def rules_for(self, asker: Asker) -> CardRules:
        """Raises Unavailable while nobody can say; Forbidden for a caller who has no credential to ask with."""
        if not asker.bearer:
            raise Forbidden(_NO_CREDENTIAL)
        known = self._of(asker)
        if self._age(known) > FRESH_SECONDS:
            await self._ask_again(known, asker.bearer)
        if known.listing is None or self._age(known) > STALE_SECONDS:
            raise Unavailable(_AWAY)
        return CardRules(known.listing.table)

    async def card(self, model_id: str, *, provider: str) -> ModelCard:
        """The facts of a model, as somebody's list has them. `provider`: as `CardBook.card` has it."""
        return card_of(self._cards.entries.get(model_id), model_id, provider=provider)

    def rates(self) -> Mapping[str, ModelRate]:
        """Model id to the price that the last list with it had. From memory, in any thread."""
        return self._rates

    async def aclose(self) -> None:
        await self._tasks.aclose()

    def _of(self, asker: Asker) -> _Known:
        # The whole digest: whoever shares a part of it would share the answer.
        key = asker.user_id, hashlib.sha256(asker.bearer.encode()).digest()
        known = self._known.setdefault(key, _Known())
        self._known.move_to_end(key)
        while len(self._known) > REMEMBER_LISTS:
            self._known.popitem(last=False)
        return known

    def _age(self, known: _Known) -> float:
        return self._clock() - known.asked_at

    async def _ask_again(self, known: _Known, bearer: str) -> None:
        asking = known.asking
        if asking is None or asking.done() or asking.get_loop() is not asyncio.get_running_loop():
            if self._clock() < known.retry_at:
                return
            asking = known.asking = self._tasks.spawn(self._ask(known, bearer), name="available models")
        # Not awaited itself: a caller that is cancelled does not take the others' request along.
        await asyncio.wait([asking])

    async def _ask(self, known: _Known, bearer: str) -> None:
        started = self._clock()
        try:
            known.listing = await self._listing(await self._fetched(bearer))
            known.asked_at = started
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            known.retry_at = self._clock() + RETRY_SECONDS
            # Never its text: it may quote the address's credentials or the answer.
            log.warning(
                "available_models_not_read",
                reason=type(error).__name__,
                status=getattr(error, "status", None),
                hint="Is API_BASE_URL right, and its service up?",
            )

    async def _fetched(self, bearer: str) -> bytes:
        headers = {
            "Authorization": f"Bearer {bearer}",
            "Content-Type": "application/json",
            "Accept": "application/json",
        }
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
        async with self._client.session.get(
            self._url, headers=headers, timeout=timeout, allow_redirects=False, raise_for_status=True
        ) as response:
            return await read_at_most(MAX_BYTES, response)

    async def _listing(self, body: bytes) -> "_Listing":
        """Raises ValueError for what is no list of models."""
        digest = hashlib.sha256(body).digest()
        listing = self._listings.get(digest)
        if listing is None:
            listing = self._listings[digest] = await run_blocking(_read, body)
        # Of a known list too: others may have come in between.
        self._learn(listing)
        return listing

    def _learn(self, listing: "_Listing") -> None:
        if listing is self._learnt:
            return
        cards = {**self._cards.entries, **listing.table.entries}
        all_rates = {**self._rates, **listing.rates}
        if cards != self._cards.entries or all_rates != self._rates:
            self._cards, self._rates = CardTable(cards, {}), all_rates
            self._on_news()
        self._learnt = listing


def _read(body: bytes) -> _Listing:
    """Raises ValueError for what is no list of models, and for one of which no model can be read."""
    answer = orjson.loads(body)
    data = answer.get("data") if isinstance(answer, dict) and answer.get("success") is not False else None
    if not isinstance(data, dict) or not isinstance(data.get("models"), list):
        raise ValueError("No list of models.")  # noqa: TRY004 - of the answer's form
    models = [each for each in data["models"] if _has_id(each)]
    table = CardTable(in_name_order(card_entries(models)), dict(roles_of(data)), is_complete=True)
    if data["models"] and not table.entries:
        # A failure of the API's, not somebody without models: it must not last.
        raise ValueError("No model of the list can be read.")
    return _Listing(table, model_rates(_rate_rows(models)))


def _has_id(model: Any) -> bool:
    if isinstance(model, dict) and isinstance(model.get("id"), str) and 0 < len(model["id"]) <= MAX_ID:
        return True
    log.warning("model_row_not_read", reason="A model of the list has no id.", hint="Correct it where it is kept.")
    return False


def _rate_rows(models: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for model in models:
        yield {_RATE_COLUMNS[name]: value for name, value in model.items() if name in _RATE_COLUMNS}
