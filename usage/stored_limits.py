"""Limits that are kept with groups and accounts (`accounts.stores`), as one more source for the budget book."""

from collections.abc import Iterator, Mapping
from typing import Any

from accounts.directory import Directory, Fact
from accounts.limits import SpendLimit
from accounts.principal import Principal
from accounts.stores import Stores, changed
from core.aio import TaskSet
from usage.limits import Line
from usage.models import Dimension


class StoredLimits:
    """What each member of a group may spend, and what people have set on the account that they charge."""

    def __init__(self, stores: Stores, directory: Directory) -> None:
        self._stores = stores
        self._directory = directory
        self._tasks = TaskSet()
        self._of_groups = self._new_fact()
        changed.connect(self._on_change)

    async def __call__(self, principal: Principal) -> list[Line]:
        """Raises Unavailable when they cannot be read: nobody is let past a limit because a store is broken."""
        lines: list[Line] = []
        if principal.groups:
            lines += _group_lines(principal, await self._of_groups.get())
        if principal.api_key_id is None and principal.account_id in principal.accounts:
            lines += await self._account_lines(principal)
        return lines

    async def aclose(self) -> None:
        await self._tasks.aclose()

    async def _account_lines(self, principal: Principal) -> list[Line]:
        """A person's own limit: it counts what they spend, on whatever account."""
        return [
            Line(
                dimension=Dimension.USER,
                value=principal.user_id,
                limit=account.limit,
                source="account",
                name=account.name or account.id,
            )
            for account in await self._directory.accounts_of(principal.user_id)
            if account.id == principal.account_id and account.limit is not None
        ]

    def _new_fact(self) -> Fact[Mapping[str, SpendLimit]]:
        stores = self._stores
        return Fact(lambda: stores.ask(lambda: _limits(stores)), self._tasks)

    def _on_change(self, *, what: str, **_: Any) -> None:
        """In any thread. A fact is forgotten by putting a new one in its place."""
        if what == "groups":
            self._of_groups = self._new_fact()


def _limits(stores: Stores) -> Mapping[str, SpendLimit]:
    return {group.id: group.limit for group in stores.groups.all().values() if group.limit is not None}


def _group_lines(principal: Principal, limits: Mapping[str, SpendLimit]) -> Iterator[Line]:
    for group in sorted(principal.groups & limits.keys()):
        yield Line(dimension=Dimension.USER, value=principal.user_id, limit=limits[group], source="group", name=group)
