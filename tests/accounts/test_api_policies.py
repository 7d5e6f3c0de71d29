"""The table of `accounts.policies`, cell by cell. From within: it is pure, and the other tests come by the door."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from accounts.limits import Period, SpendLimit
from accounts.policies import Action, accounts, beyond, groups, keys
from accounts.principal import FULL_ACCESS, KeyKind, Principal
from accounts.stores import Group, KeyRecord, Role
from core.errors import Forbidden, NotFound

UUID = "3f2c8a54-1d0b-4c57-9e0e-6f1f7f0a9b21"


def key(kind: KeyKind = "owner", **facts: object) -> KeyRecord:
    whom: dict[str, object] = {"delegate": "bob"} if kind == "delegate" else {}
    whom |= {"system_id": "App-000001"} if kind == "system" else {}
    return KeyRecord(id=f"alice/{kind}Key/{UUID}", owner="alice", **{**whom, **facts})  # type: ignore[arg-type]


ALICE, BOB, MALLORY = Principal(user_id="alice"), Principal(user_id="bob"), Principal(user_id="mallory")
ROOT = Principal(user_id="root", is_admin=True)
OTHER = "alice/ownerKey/00000000-0000-4000-8000-000000000007"
BY_KEY = Principal(user_id="alice", api_key_id=OTHER, scopes=frozenset({"api_key", "assistants"}))
BY_ITSELF = replace(BY_KEY, api_key_id=key().id)
CHATTING = replace(BY_KEY, scopes=frozenset({"chat"}))
BY_DELEGATE = Principal(user_id="bob", api_key_id=key("delegate").id)
BY_SYSTEM = Principal(user_id="App-000001", api_key_id=key("system").id)
A_NAMESAKE = Principal(user_id="App-000001")
EVERYTHING = (Action.READ, Action.CHANGE, Action.ROTATE, Action.REVOKE)


@pytest.mark.parametrize(
    ("principal", "kind", "may"),
    [
        (ALICE, "owner", {"read", "change", "rotate", "revoke"}),
        (ALICE, "system", {"read", "change", "rotate", "revoke"}),
        (ALICE, "delegate", {"read", "change", "revoke"}),
        (BOB, "delegate", {"read", "rotate", "revoke"}),
        (BY_KEY, "owner", {"read", "change", "revoke"}),
        (BY_ITSELF, "owner", {"read", "change", "rotate", "revoke"}),
        (BY_KEY, "delegate", {"read", "change", "revoke"}),
        (BY_DELEGATE, "delegate", {"read"}),
        (BY_SYSTEM, "owner", set()),
        (CHATTING, "owner", set()),
        (MALLORY, "owner", set()),
        (MALLORY, "delegate", set()),
        (BOB, "owner", set()),
        (ROOT, "owner", set()),
    ],
)
def test_keys(principal: Principal, kind: KeyKind, may: set[str]) -> None:
    assert {action for action in EVERYTHING if keys.can(principal, action, key(kind))} == may


@pytest.mark.parametrize(
    ("principal", "may"), [(ALICE, True), (BY_KEY, True), (CHATTING, False), (BY_DELEGATE, False), (BY_SYSTEM, False)]
)
def test_who_makes_keys(principal: Principal, may: bool) -> None:
    assert keys.can(principal, Action.CREATE) is may


def test_what_a_key_may_make() -> None:
    end = datetime(2030, 1, 1, tzinfo=UTC)
    own = key(access_types=frozenset({"api_key", "chat"}), account_id="a", expires_at=end)
    child = replace(own, access_types=frozenset({"chat"}))
    limit = SpendLimit(period=Period.DAILY, micro_dollars=1)
    assert beyond(own, child) == beyond(own, replace(child, limit=limit)) == ""
    for more in (
        replace(child, access_types=frozenset({"chat", "share"})),
        replace(child, access_types=frozenset({FULL_ACCESS})),
        replace(child, account_id="b"),
        replace(child, expires_at=None),
        replace(child, expires_at=datetime(2030, 1, 2, tzinfo=UTC)),
    ):
        assert beyond(own, more)
    assert beyond(replace(own, limit=limit), child)
    full = replace(own, access_types=frozenset({FULL_ACCESS}), expires_at=None)
    assert beyond(full, replace(child, access_types=frozenset({"share"}))) == ""


GROUP = Group(id="g", members={"alice": Role.ADMIN, "bob": Role.WRITE}, includes=frozenset({"chem"}))
AMPLIFY = replace(GROUP, kind="amplify", members={"bob": Role.READ})
INCLUDED = Principal(user_id="carol", groups=frozenset({"chem", "g"}))
LEFT = Principal(user_id="carol", groups=frozenset({"g"}))
RUNS = {"change", "remove", "set the members of"}
IN_IT = {"read", "see the members of"}
GROUP_ACTIONS = [Action.READ, Action.SEE_MEMBERS, Action.LEAVE, Action.CHANGE, Action.REMOVE, Action.SET_MEMBERS]


@pytest.mark.parametrize(
    ("principal", "group", "may"),
    [
        (ALICE, GROUP, {*IN_IT, *RUNS, "leave"}),
        (BY_KEY, GROUP, {*IN_IT, *RUNS, "leave"}),
        (BOB, GROUP, {*IN_IT, "leave"}),
        (BY_DELEGATE, GROUP, IN_IT),
        (INCLUDED, GROUP, IN_IT),
        (LEFT, GROUP, set()),
        (MALLORY, GROUP, set()),
        (MALLORY, replace(GROUP, is_public=True), {"read"}),
        (BY_SYSTEM, GROUP, set()),
        (BY_SYSTEM, replace(GROUP, system_users=frozenset({"App-000001"})), IN_IT),
        (CHATTING, GROUP, set()),
        (ROOT, GROUP, {*IN_IT, *RUNS, "leave"}),
        (BOB, AMPLIFY, IN_IT),
        (ROOT, AMPLIFY, {*IN_IT, *RUNS, "leave"}),
    ],
)
def test_groups(principal: Principal, group: Group, may: set[str]) -> None:
    assert {action for action in GROUP_ACTIONS if groups.can(principal, action, group)} == may
    assert (groups.visible_to(principal, [group]) == [group]) is ("read" in may)


def test_who_makes_groups() -> None:
    assert groups.can(MALLORY, Action.CREATE, GROUP) and groups.can(ROOT, Action.CREATE, AMPLIFY)
    assert not groups.can(MALLORY, Action.CREATE, AMPLIFY) and not groups.can(BY_SYSTEM, Action.CREATE, GROUP)


def test_accounts() -> None:
    by_full_key = replace(BY_KEY, scopes=frozenset({FULL_ACCESS}))
    assert accounts.can(ALICE, Action.CHANGE, "alice") and not accounts.can(ALICE, Action.READ, "bob")
    assert accounts.can(by_full_key, Action.READ, "alice") and not accounts.can(by_full_key, Action.CHANGE, "alice")
    assert not accounts.can(BY_KEY, Action.READ, "alice") and not accounts.can(ROOT, Action.READ, "alice")


def test_what_is_hidden_and_what_is_not_there_look_the_same() -> None:
    with pytest.raises(NotFound) as hidden:
        keys.seen(MALLORY, key())
    with pytest.raises(NotFound) as missing:
        keys.seen(MALLORY, None)
    assert hidden.value.message == missing.value.message
    for thing in (key(), None):
        with pytest.raises(Forbidden):
            keys.seen(CHATTING, thing)
