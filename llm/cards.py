"""What is known about models: a table that administrators edit, over the facts that come with the service.

The table is ours in the database (`llm.models`) or the platform's (`llm.platform_models`).
"""

from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from functools import cached_property

from core.remembered import REMEMBERED_SECONDS, Remembered
from llm.catalogue import NEXT_ROLE, Asker
from llm.model import ModelCard
from llm.models import DefaultModel, ModelEntry
from llm.shipped import known_card, shipped_cards, spellings


@dataclass(frozen=True, slots=True, kw_only=True)
class CardEntry:
    """One model, and who may use it."""

    card: ModelCard
    enabled: bool
    groups: frozenset[str]
    """Empty: everybody."""
    fallback: str | None = None


@dataclass(frozen=True)
class CardTable:
    """Model ids to entries, in the administrators' order; and the models of the roles, as they were chosen."""

    entries: Mapping[str, CardEntry]
    chosen: Mapping[str, str]
    is_complete: bool = False
    """What does not stand in it may not be used."""

    @cached_property
    def places(self) -> Mapping[str, int]:
        return {model_id: place for place, model_id in enumerate(self.entries)}

    @cached_property
    def roles(self) -> Mapping[str, str]:
        """Every role that has an enabled model, or whose stand-in has (llm-providers: available-models API)."""
        roles = {
            role: name for role, name in self.chosen.items() if name in self.entries and self.entries[name].enabled
        }
        for role, next_role in NEXT_ROLE.items():  # cheapest stands before the role that falls back to it
            if next_role in roles:
                roles.setdefault(role, roles[next_role])
        return roles


@dataclass(frozen=True, slots=True)
class CardRules:
    """A table as it is for a member of some groups."""

    table: CardTable
    groups: AbstractSet[str] = frozenset()

    @property
    def roles(self) -> Mapping[str, str]:
        return self.table.roles

    def may_use(self, model_id: str) -> bool:
        """Disabled ones nobody may."""
        entries = self.table.entries
        entry = entries.get(model_id)
        if entry is None and entries:
            # A rule for a model holds for it however it is spelt: with a region or a release date around its name.
            entry = next((entries[name] for name in spellings(model_id) if name in entries), None)
        if entry is None:
            return not self.table.is_complete
        return entry.enabled and (not entry.groups or not entry.groups.isdisjoint(self.groups))

    def fallback_of(self, model_id: str) -> str | None:
        """Who answers when this model fails: the next enabled one. Whether the caller may use it is to be asked too."""
        entries, met = self.table.entries, {model_id}
        entry = entries.get(model_id)
        while entry is not None and entry.fallback is not None and entry.fallback not in met:
            met.add(entry.fallback)
            entry = entries.get(entry.fallback)
            if entry is not None and entry.enabled:
                return entry.card.id
        return None

    def in_order(self, model_ids: Iterable[str]) -> list[str]:
        """As the administrators placed them; those that are not in the table behind, as they came."""
        places = self.table.places
        return sorted(model_ids, key=lambda model_id: places.get(model_id, len(places)))


_NOTHING = CardTable({}, {}, is_complete=True)


class CardBook:
    """Answers from memory, a few seconds old at most. A database that is away leaves what was known last.

    Until the table was read once nobody may use anything: a model might be reserved for a group.
    """

    def __init__(self, read: Callable[[], CardTable] | None = None, *, seconds: float = REMEMBERED_SECONDS) -> None:
        """`read` gives the table, blocking, and raises OSError when it cannot; without it the database's is read."""
        tables = (ModelEntry, DefaultModel) if read is None else ()
        self._table = Remembered(read or _read_table, name="models", tables=tables, seconds=seconds)

    async def card(self, model_id: str, *, provider: str) -> ModelCard:
        """The facts of a model. `provider` is who answers at its endpoint, as far as the endpoint tells."""
        table = await self._table.get() or _NOTHING
        return card_of(table.entries.get(model_id), model_id, provider=provider)

    async def aclose(self) -> None:
        await self._table.aclose()

    async def rules_for(self, asker: Asker) -> CardRules:
        return CardRules(await self._table.get() or _NOTHING, asker.groups)


def card_of(entry: CardEntry | None, model_id: str, *, provider: str) -> ModelCard:
    """The facts of a model as its entry says, or as the service knows them."""
    if entry is None:
        return known_card(model_id, provider=provider)
    unnamed = provider in ("", "compatible")
    return entry.card if unnamed else replace(entry.card, provider=provider)


def _read_table() -> CardTable:
    shipped_cards()  # reads its file here, off the loop
    entries = {
        row.model_id: CardEntry(
            card=row.card, enabled=row.enabled, groups=frozenset(row.groups), fallback=row.fallback_id
        )
        for row in ModelEntry.objects.all()
    }
    return CardTable(entries, {row.role: row.model_id for row in DefaultModel.objects.all()})
