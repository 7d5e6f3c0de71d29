"""The platform's own tables of models, read live: its rate table and the `defaultModels` of its admin table.

They stand in for the database's table (`CardBook(PlatformModels(…).table)`) and give the price book its rates
(`PRICES.take_rates(PlatformModels(…).rates)`). Sources: billing-and-state, sections 2.4 and 2.8; llm-providers,
sections 1.4, 1.5 and 9.

Everything here is a pure function of the tables' items. Items are plain Python, as boto3's resource gives them:
numbers may be Decimals.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from typing import Any

import structlog

from llm.cards import CardEntry, CardTable
from llm.model import ModelCard
from llm.model_lists import ModelList, ModelListError, of_available_models, of_rate_table, roles_of
from llm.models import CARD_FIELDS
from llm.shipped import shipped_cards

log = structlog.get_logger(__name__)

Item = Mapping[str, Any]
ReadItems = Callable[[], Sequence[Item]]
"""All items of the rate table. Blocks. Raises OSError when it cannot: then what was known before goes on."""
ReadDefaults = Callable[[], Item | None]
"""The admin table's item `defaultModels`, or None if there is none. Blocks. Raises OSError when it cannot."""

# Rows carry these flags where the item `defaultModels` was never written.
_LEGACY_ROLES = {
    "UsersDefault": "default",
    "DefaultAdvancedModel": "advanced",
    "DefaultCheapestModel": "cheapest",
    "DefaultDocumentCachingModel": "document_caching",
}
_THOUSANDS_PER_MILLION = 1000
MAX_RATE = 10_000
"""US dollars per thousand tokens: far above all that are meant, and what the ledger's columns hold for any call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRate:
    """What a model costs, in US dollars per million tokens of disjoint classes (`llm.events.Usage`)."""

    input: Decimal
    cache_read: Decimal
    cache_write: Decimal
    output: Decimal


class PlatformModels:
    """Both tables together; every method blocks while they are read."""

    def __init__(self, *, read_rates: ReadItems, read_defaults: ReadDefaults, is_complete: bool = True) -> None:
        """`is_complete`: only models of the rate table may be used, as on the platform; False lets others pass too,
        such as the embedded one."""
        self._read_rates = read_rates
        self._read_defaults = read_defaults
        self._is_complete = is_complete

    def table(self) -> CardTable:
        """The models for a `CardBook`, and their roles."""
        shipped_cards()  # reads its file here, off the loop
        items = self._read_rates()
        return card_table(items, self._read_defaults(), is_complete=self._is_complete)

    def rates(self) -> Mapping[str, ModelRate]:
        """Model ids to prices, for a `PriceBook`."""
        return model_rates(self._read_rates())


def card_table(items: Sequence[Item], defaults: Item | None, *, is_complete: bool = True) -> CardTable:
    """The models by name, since a scan has no order. A row that cannot be read is left out, and logged."""
    # What the platform does not call available it shows nobody.
    entries = _entries(({"Available": False, **item} for item in items), of_rate_table)
    return CardTable(in_name_order(entries), default_models(items, defaults), is_complete)


def card_entries(models: Iterable[Item]) -> Iterator[CardEntry]:
    """Entries of the available-models API, which lists what its caller may use. What cannot be read is left out."""
    for entry in _entries(models, of_available_models):
        yield replace(entry, enabled=True, groups=frozenset())


def in_name_order(entries: Iterable[CardEntry]) -> dict[str, CardEntry]:
    """By model id, in the order of the models' names."""
    return {
        entry.card.id: entry for entry in sorted(entries, key=lambda entry: (entry.card.name.lower(), entry.card.id))
    }


def _entries(items: Iterable[Item], read: Callable[[Iterable[Item]], ModelList]) -> Iterator[CardEntry]:
    for item in items:
        try:
            records = read([item]).records
        except ModelListError as error:
            log.warning("model_row_not_read", reason=str(error), hint="Correct the row under Supported models.")
            continue
        for model_id, facts in records.items():
            yield _entry(model_id, facts)


def _entry(model_id: str, facts: Mapping[str, Any]) -> CardEntry:
    known = {name: facts[name] for name in CARD_FIELDS}
    card = ModelCard(id=model_id, **{**known, "efforts": tuple(known["efforts"])})
    return CardEntry(card=card, enabled=facts["enabled"], groups=frozenset(facts["groups"]))


def default_models(items: Iterable[Item], defaults: Item | None) -> dict[str, str]:
    """Role to model id: as `defaultModels` says, else as flags on the rows do."""
    data = (defaults or {}).get("data")
    if isinstance(data, Mapping) and data:
        return dict(roles_of(data))
    return {
        role: str(item["ModelID"])
        for item in items
        for flag, role in _LEGACY_ROLES.items()
        if item.get(flag) is True and item.get("ModelID")
    }


def model_rates(items: Iterable[Item]) -> dict[str, ModelRate]:
    """Model id to its price. A row without prices for input and output has none."""
    rates = ((str(item["ModelID"]), _rate(item)) for item in items if item.get("ModelID"))
    return {model_id: rate for model_id, rate in rates if rate is not None}


def _rate(item: Item) -> ModelRate | None:
    said = _per_million(item, "InputCostPerThousandTokens")
    output = _per_million(item, "OutputCostPerThousandTokens")
    if said is None or output is None:
        return None
    # The platform charges cached tokens on top of a full price for the input that they are part of, so that its 0 means
    # "no more than the input's price"; here they are a class of their own.
    read = _per_million(item, "InputCachedCostPerThousandTokens") or _per_million(item, "CachedCostPerThousandTokens")
    write = _per_million(item, "InputWriteCachedCostPerThousandTokens")
    return ModelRate(input=said, cache_read=read or said, cache_write=write or said, output=output)


def _per_million(item: Item, column: str) -> Decimal | None:
    """The price in that column; None where it says nothing or what is no price."""
    try:
        price = Decimal(str(item[column]).strip())
    except (KeyError, InvalidOperation):
        return None
    return price * _THOUSANDS_PER_MILLION if price.is_finite() and 0 <= price <= MAX_RATE else None
