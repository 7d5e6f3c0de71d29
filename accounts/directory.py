"""What is known of people besides their credential: groups, accounts, whether they administer the service.

Everybody's requests need it, so it is remembered; but only for as long as it may be wrong without harm. What this
process changes is forgotten at once. When a store is broken and nothing fresh is known, nobody is guessed at.
"""

import asyncio
import time
from collections import OrderedDict, defaultdict
from collections.abc import Awaitable, Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Generic, TypeVar

from accounts.principal import GENERAL_ACCOUNT, Principal
from accounts.stores import Account, Group, Stores, changed
from core.aio import TaskSet
from core.errors import Unavailable

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")

FRESH_SECONDS = 30.0
# From this age on it is read again while callers still take what there is, so that as a rule nobody waits.
RENEW_SECONDS = 15.0
# While the store does not answer, what it said last counts for so long: an outage shuts nobody out.
AWAY_SECONDS = 300.0
# After a failure: a store that is down is not asked by every request.
RETRY_SECONDS = 1.0
# Longer than this nobody waits for a read that hangs.
WAIT_SECONDS = 5.0
REMEMBER_USERS = 10_000

_UNKNOWN = "Your groups and accounts cannot be read at the moment. Please try again in a few seconds."


class Memberships:
    """Who is in which group: named there, or in one that it includes, and so on; circles do no harm.

    A system is in a group as one of its systems or as a member (amplify groups have no systems); a person who is called
    like a system is in none for that.
    """

    def __init__(self, groups: Mapping[str, Group]) -> None:
        self._named: dict[str, list[str]] = defaultdict(list)
        self._systems: dict[str, list[str]] = defaultdict(list)
        self._included_in: dict[str, list[str]] = defaultdict(list)
        self._known: dict[tuple[str, bool], frozenset[str]] = {}
        for group in groups.values():
            for user_id in group.members:
                self._named[user_id].append(group.id)
            for system_id in group.system_users:
                self._systems[system_id].append(group.id)
            for included in group.includes:
                self._included_in[included].append(group.id)

    def of(self, user_id: str, *, system: bool = False) -> frozenset[str]:
        """Ids of groups of a person, or of a system."""
        named = [*self._named.get(user_id, ()), *(self._systems.get(user_id, ()) if system else ())]
        if not named:
            return frozenset()
        who = user_id, system
        if who not in self._known:
            self._known[who] = self._reached_from(named)
        return self._known[who]

    def _reached_from(self, named: Iterable[str]) -> frozenset[str]:
        reached = set(named)
        new = reached
        while new:
            new = {outer for inner in new if inner in self._included_in for outer in self._included_in[inner]} - reached
            reached |= new
        return frozenset(reached)


class Fact(Generic[T]):
    """One value that is read when it is asked for. All who ask meanwhile share the read."""

    def __init__(self, read: Callable[[], Awaitable[T]], tasks: TaskSet) -> None:
        self._read = read
        self._tasks = tasks
        self._values: tuple[T, ...] = ()  # one, or none yet
        self._renew_at = self._good_until = self._retry_at = self._kept_until = float("-inf")
        self._is_away = False
        self._reading: asyncio.Task[None] | None = None

    async def get(self) -> T:
        """At most `FRESH_SECONDS` old; while the store is away, `AWAY_SECONDS`. Raises Unavailable."""
        now = time.monotonic()
        if now >= self._renew_at and now >= self._retry_at:
            self._start_reading()
        if now >= self._good_until and not (self._is_away and now < self._kept_until):
            await self._wait()
        return self._values[0]

    def _start_reading(self) -> None:
        reading = self._reading
        if reading is None or reading.done() or reading.get_loop() is not asyncio.get_running_loop():
            self._reading = self._tasks.spawn(self._read_again(), name="read of the directory")

    async def _wait(self) -> None:
        if self._reading is not None and not self._reading.done():
            # Not awaited itself: a caller that is cancelled does not take the others' read along.
            await asyncio.wait([self._reading], timeout=WAIT_SECONDS)
        if (now := time.monotonic()) >= self._good_until:
            self._is_away = True  # or it hangs
            if now >= self._kept_until:
                raise Unavailable(_UNKNOWN)

    async def _read_again(self) -> None:
        started = time.monotonic()
        try:
            value = await self._read()
        except Unavailable:  # the store has logged it
            self._retry_at = time.monotonic() + RETRY_SECONDS
            self._is_away = True
            return
        # From the start of the read on: what changed during it may not be in it.
        self._values = (value,)
        self._is_away = False
        self._renew_at, self._good_until = started + RENEW_SECONDS, started + FRESH_SECONDS
        self._kept_until = started + AWAY_SECONDS


class PerUser(Generic[K, T]):
    """A fact for each user, or whoever else; of those who were asked about last."""

    def __init__(self, read: Callable[[K], Awaitable[T]], tasks: TaskSet) -> None:
        self._read = read
        self._tasks = tasks
        self._facts: OrderedDict[K, Fact[T]] = OrderedDict()

    async def get(self, user: K) -> T:
        facts = self._facts
        fact = facts.get(user)
        if fact is None:
            fact = facts[user] = Fact(lambda: self._read(user), self._tasks)
            while len(facts) > REMEMBER_USERS:
                facts.popitem(last=False)
        return await fact.get()

    def forget(self, user: K) -> None:
        """May be called from any thread. A read that is under way ends in a fact that nobody asks any more."""
        self._facts.pop(user, None)


class Directory:
    """Asked on the loop, once a request or more; from memory as a rule."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self._tasks = TaskSet()
        self._memberships = self._new_memberships()
        self._admins = self._new_admins()
        self._accounts = PerUser[str, Sequence[Account]](
            lambda user_id: stores.ask(stores.accounts.of_user, user_id), self._tasks
        )
        self._knows = PerUser[str, bool](lambda user_id: stores.ask(stores.people.knows, user_id), self._tasks)
        changed.connect(self._on_change)

    async def groups_of(self, user_id: str, *, system: bool = False) -> frozenset[str]:
        """Ids of the groups that this person, or this system, is in; through others, too. Raises Unavailable."""
        return (await self._memberships.get()).of(user_id, system=system)

    async def accounts_of(self, user_id: str) -> Sequence[Account]:
        """Raises Unavailable."""
        return await self._accounts.get(user_id)

    async def default_account(self, user_id: str) -> Account | None:
        """Raises Unavailable."""
        return next((account for account in await self.accounts_of(user_id) if account.is_default), None)

    async def is_admin(self, user_id: str) -> bool:
        """Raises Unavailable."""
        return user_id in await self._admins.get()

    async def knows(self, user_id: str) -> bool:
        """Whether there is a user of that id. Raises Unavailable."""
        return await self._knows.get(user_id)

    async def complete(self, principal: Principal) -> Principal:
        """The principal with what is known of whom it acts as. Raises Unavailable.

        What it says already stays: groups and the rank that a sign-in service has given count as well. A key gets the
        groups, but neither accounts to choose from nor the rank.
        """
        groups = principal.groups | await self.groups_of(principal.user_id, system=principal.is_system)
        if principal.api_key_id is not None:
            return replace(principal, groups=groups, is_admin=False)
        accounts = await self.accounts_of(principal.user_id)
        default = next((account.id for account in accounts if account.is_default), GENERAL_ACCOUNT)
        return replace(
            principal,
            groups=groups,
            accounts=principal.accounts.union(account.id for account in accounts),
            account_id=default if principal.account_id == GENERAL_ACCOUNT else principal.account_id,
            is_admin=principal.is_admin or await self.is_admin(principal.user_id),
        )

    async def aclose(self) -> None:
        await self._tasks.aclose()

    def _new_memberships(self) -> Fact[Memberships]:
        stores = self._stores
        # One read for everybody; put in order in the thread, as there may be many.
        return Fact(lambda: stores.ask(lambda: Memberships(stores.groups.all())), self._tasks)

    def _new_admins(self) -> Fact[Collection[str]]:
        return Fact(lambda: self._stores.ask(self._stores.people.admins), self._tasks)

    def _on_change(self, *, what: str, of: str, **_: Any) -> None:
        """In any thread. A fact is forgotten by putting a new one in its place."""
        match what:
            case "groups":
                self._memberships = self._new_memberships()
            case "accounts":
                self._accounts.forget(of)
            case "people":
                self._admins = self._new_admins()
                self._knows.forget(of)
