"""What is remembered of people, and for how long; against a store in memory that notes what it is asked."""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts import directory
from accounts.directory import AWAY_SECONDS, FRESH_SECONDS, RENEW_SECONDS, RETRY_SECONDS, Directory, Memberships
from accounts.principal import Principal
from accounts.stores import Account, Group, Role, Stores, changed
from core.errors import Unavailable

LAB = Account(id="lab", is_default=True)
COURSE = Account(id="course")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(directory, "time", clock)
    return clock


@dataclass
class Facts:
    """All four stores in one; notes what it is asked."""

    every: dict[str, Group] = field(default_factory=dict)
    mine: dict[str, list[Account]] = field(default_factory=dict)
    there: set[str] = field(default_factory=set)
    rulers: set[str] = field(default_factory=set)
    broken: bool = False
    asked: list[str] = field(default_factory=list)
    held: asyncio.Event | None = None

    def answer(self, what: str, value: Any) -> Any:
        self.asked.append(what)
        if self.broken:
            raise Unavailable
        return value

    def all(self) -> Mapping[str, Group]:
        return dict(self.answer("groups", self.every))

    def of_user(self, user_id: str) -> Sequence[Account]:
        return list(self.answer(f"accounts of {user_id}", self.mine.get(user_id, [])))

    def knows(self, user_id: str) -> bool:
        return bool(self.answer(f"knows {user_id}", user_id in self.there))

    def admins(self) -> Collection[str]:
        return frozenset(self.answer("admins", self.rulers))

    def stores(self) -> Stores:
        store: Any = self

        async def ask(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
            await asyncio.sleep(0)
            value = function(*args, **kwargs)
            if self.held is not None:
                await self.held.wait()
            return value

        return Stores(keys=Mock(), groups=store, accounts=store, people=store, ask=ask)  # type: ignore[arg-type]


@pytest.fixture
def facts() -> Facts:
    return Facts()


def tell(what: str, of: str = "") -> None:
    changed.send(sender=None, what=what, of=of)


async def settled() -> None:
    """Until what was started in the background has come to its end; nothing here waits for anything outside."""
    for _ in range(10):
        await asyncio.sleep(0)


def group(group_id: str, *members: str, includes: Collection[str] = (), systems: Collection[str] = ()) -> Group:
    return Group(
        id=group_id,
        members=dict.fromkeys(members, Role.READ),
        includes=frozenset(includes),
        system_users=frozenset(systems),
    )


def memberships(*groups: Group) -> Memberships:
    return Memberships({group.id: group for group in groups})


def test_members_of_an_included_group_are_members_too_however_deep() -> None:
    found = memberships(group("a", "ann", includes="b"), group("b", "bob", includes="c"), group("c", "cy"))
    assert (found.of("ann"), found.of("bob"), found.of("cy")) == ({"a"}, {"a", "b"}, {"a", "b", "c"})
    assert found.of("nobody") == frozenset()


def test_circles_and_groups_that_are_no_more_do_no_harm() -> None:
    found = memberships(group("a", "ann", includes="b"), group("b", "bob", includes="a"), group("c", includes=["gone"]))
    assert found.of("ann") == found.of("bob") == {"a", "b"}


def test_systems_are_in_the_groups_that_name_them() -> None:
    found = memberships(group("a", systems=["App-1"]), group("b", includes="a"), group("limited", "App-1"))
    assert found.of("App-1", system=True) == {"a", "b", "limited"}


def test_a_person_who_is_called_like_a_system_gets_nothing_of_it() -> None:
    found = memberships(group("a", systems=["App-1"]), group("b", "App-1"))
    assert (found.of("App-1"), found.of("App-1", system=True)) == ({"b"}, {"a", "b"})
    assert found.of("App-1") == {"b"}


names = st.sampled_from("abcdef")


@given(st.dictionaries(names, st.sets(names)), st.dictionaries(names, st.sets(st.sampled_from(["ann", "bob"]))))
def test_the_closure_is_the_least_that_holds(includes: dict[str, set[str]], members: dict[str, set[str]]) -> None:
    """Compared with the definition, applied until nothing changes."""
    found = memberships(*(group(name, *members.get(name, ()), includes=includes.get(name, ())) for name in "abcdef"))
    expected = {name for name in "abcdef" if "ann" in members.get(name, ())}
    for _ in "abcdef":
        expected |= {name for name in "abcdef" if includes.get(name, set()) & expected}
    assert found.of("ann") == expected


async def test_a_person_is_completed(facts: Facts) -> None:
    facts.every = {"g": group("g", "ann"), "other": group("other", "bob")}
    facts.mine = {"ann": [COURSE, LAB]}
    facts.rulers = {"ann"}
    found = await Directory(facts.stores()).complete(Principal(user_id="ann", groups=frozenset({"of the token"})))
    assert found.groups == {"g", "of the token"}
    assert (found.accounts, found.account_id, found.is_admin) == ({"lab", "course"}, "lab", True)
    assert found.charging("course").account_id == "course"


async def test_a_person_of_whom_nothing_is_known(facts: Facts) -> None:
    found = await Directory(facts.stores()).complete(Principal(user_id="zoe"))
    assert found == Principal(user_id="zoe")


async def test_an_account_and_a_rank_that_are_given_stay(facts: Facts) -> None:
    facts.mine = {"ann": [LAB]}
    found = await Directory(facts.stores()).complete(Principal(user_id="ann", account_id="given", is_admin=True))
    assert (found.account_id, found.is_admin) == ("given", True)


async def test_a_key_gets_the_groups_and_never_the_rank(facts: Facts) -> None:
    facts.every = {"g": group("g", "ann")}
    facts.mine = {"ann": [LAB]}
    facts.rulers = {"ann"}
    key = Principal(user_id="ann", account_id="of the key", api_key_id="ann/ownerKey/1", is_admin=True)
    found = await Directory(facts.stores()).complete(key)
    assert found == replace(key, groups=frozenset({"g"}), is_admin=False)
    assert facts.asked == ["groups"]


async def test_single_facts(facts: Facts) -> None:
    facts.mine, facts.there, facts.rulers = {"ann": [COURSE, LAB]}, {"ann"}, {"ann"}
    asked = Directory(facts.stores())
    assert await asked.accounts_of("ann") == [COURSE, LAB]
    assert (await asked.default_account("ann"), await asked.default_account("zoe")) == (LAB, None)
    assert (await asked.knows("ann"), await asked.knows("zoe")) == (True, False)
    assert (await asked.is_admin("ann"), await asked.is_admin("zoe")) == (True, False)


async def test_everybody_shares_one_read(facts: Facts) -> None:
    facts.every = {"g": group("g", *(f"user {number}" for number in range(100)))}
    asked = Directory(facts.stores())
    found = await asyncio.gather(*(asked.groups_of(f"user {number}") for number in range(100)))
    assert found == [{"g"}] * 100
    assert facts.asked == ["groups"]


async def test_a_caller_that_goes_away_leaves_the_others_theirs(facts: Facts) -> None:
    facts.held = asyncio.Event()
    asked = Directory(facts.stores())
    first, second = (asyncio.ensure_future(asked.is_admin("ann")) for _ in range(2))
    await settled()
    first.cancel()
    await settled()
    facts.held.set()
    assert await second is False


async def test_facts_are_renewed_behind_the_callers_backs(facts: Facts, clock: Clock) -> None:
    asked = Directory(facts.stores())
    assert not await asked.is_admin("ann")
    facts.rulers = {"ann"}
    clock.now += RENEW_SECONDS - 1
    assert not await asked.is_admin("ann")
    await settled()
    assert facts.asked == ["admins"]
    clock.now += 1
    assert not await asked.is_admin("ann")  # takes what there is, and starts the read
    await settled()
    assert facts.asked == ["admins"] * 2
    assert await asked.is_admin("ann")


async def test_nothing_older_than_its_time_is_believed(facts: Facts, clock: Clock) -> None:
    asked = Directory(facts.stores())
    await asked.is_admin("ann")
    facts.rulers = {"ann"}
    clock.now += FRESH_SECONDS
    assert await asked.is_admin("ann")


async def test_an_outage_of_the_store_is_bridged_and_not_for_ever(facts: Facts, clock: Clock) -> None:
    facts.rulers = {"ann"}
    asked = Directory(facts.stores())
    await asked.is_admin("ann")
    facts.broken = True
    for now in (FRESH_SECONDS, AWAY_SECONDS - 1):
        clock.now = 1000.0 + now
        assert await asked.is_admin("ann")
        await settled()
    clock.now = 1000.0 + AWAY_SECONDS
    with pytest.raises(Unavailable, match="try again"):
        await asked.is_admin("ann")
    facts.broken, facts.rulers = False, set()
    clock.now += RETRY_SECONDS
    assert not await asked.is_admin("ann")


async def test_a_store_that_is_back_is_believed_at_once(facts: Facts, clock: Clock) -> None:
    facts.rulers = {"ann"}
    asked = Directory(facts.stores())
    await asked.is_admin("ann")
    facts.broken = True
    clock.now += FRESH_SECONDS
    assert await asked.is_admin("ann")
    await settled()
    facts.broken, facts.rulers = False, set()
    clock.now += RETRY_SECONDS
    await asked.is_admin("ann")  # starts the read
    await settled()
    assert not await asked.is_admin("ann")


async def test_a_store_that_hangs_holds_one_up_and_then_nobody(
    facts: Facts, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory, "WAIT_SECONDS", 0.01)
    facts.rulers = {"ann"}
    asked = Directory(facts.stores())
    await asked.is_admin("ann")
    facts.held = asyncio.Event()
    clock.now += FRESH_SECONDS
    assert await asked.is_admin("ann")
    monkeypatch.setattr(directory, "WAIT_SECONDS", 3600)
    assert await asked.is_admin("ann")
    await asked.aclose()


async def test_a_broken_store_is_not_asked_by_every_request(facts: Facts, clock: Clock) -> None:
    facts.broken = True
    asked = Directory(facts.stores())
    for _ in range(20):
        with pytest.raises(Unavailable):
            await asked.is_admin("ann")
    assert facts.asked == ["admins"]
    facts.broken = False
    clock.now += RETRY_SECONDS
    assert not await asked.is_admin("ann")


async def test_a_store_that_hangs_holds_nobody_up_for_long(facts: Facts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory, "WAIT_SECONDS", 0.01)
    facts.held = asyncio.Event()
    asked = Directory(facts.stores())
    with pytest.raises(Unavailable):
        await asked.is_admin("ann")
    await asked.aclose()


@pytest.mark.parametrize(
    ("what", "ask"),
    [
        ("groups", lambda asked: asked.groups_of("ann")),
        ("accounts", lambda asked: asked.accounts_of("ann")),
        ("people", lambda asked: asked.is_admin("ann")),
        ("people", lambda asked: asked.knows("ann")),
    ],
    ids=["groups", "accounts", "admins", "knows"],
)
async def test_what_this_process_changes_is_forgotten_at_once(facts: Facts, what: str, ask: Any) -> None:
    asked = Directory(facts.stores())
    before = await ask(asked)
    facts.every, facts.mine, facts.there, facts.rulers = {"g": group("g", "ann")}, {"ann": [LAB]}, {"ann"}, {"ann"}
    assert await ask(asked) == before
    tell("keys")
    assert await ask(asked) == before
    tell(what, of="ann")
    assert await ask(asked) != before


async def test_another_users_change_forgets_nothing_of_mine(facts: Facts) -> None:
    asked = Directory(facts.stores())
    await asked.accounts_of("ann")
    tell("accounts", of="bob")
    await asked.accounts_of("ann")
    assert facts.asked == ["accounts of ann"]


async def test_a_read_that_was_under_way_at_the_change_is_not_believed(facts: Facts) -> None:
    facts.held = asyncio.Event()
    asked = Directory(facts.stores())
    early = asyncio.ensure_future(asked.groups_of("ann"))
    await settled()
    facts.every = {"g": group("g", "ann")}
    tell("groups")
    late = asyncio.ensure_future(asked.groups_of("ann"))
    await settled()
    facts.held.set()
    assert (await early, await late) == (frozenset(), {"g"})
    assert await asked.groups_of("ann") == {"g"}


async def test_memory_is_bounded(facts: Facts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory, "REMEMBER_USERS", 2)
    asked = Directory(facts.stores())
    for user in ("a", "b", "c", "a"):
        await asked.knows(user)
    assert facts.asked == ["knows a", "knows b", "knows c", "knows a"]
