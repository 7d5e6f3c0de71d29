"""API keys as a bearer scheme, and when they were used last."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import Mock
from uuid import uuid4

import pytest
from channels.db import database_sync_to_async
from django.conf import settings
from django.db import connection, connections
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from accounts import authentication, directory, last_use, lookups
from accounts.authentication import ApiKeys, Authenticator
from accounts.directory import AWAY_SECONDS, Directory
from accounts.keys import hash_key, is_well_formed, key_id, new_key
from accounts.last_use import FLUSH_SECONDS
from accounts.lookups import Bucket
from accounts.models import ApiKey, User
from accounts.principal import Principal
from accounts.stores import Account, Group, KeyRecord, Role, Stores, changed
from accounts.stores.database import database_stores
from accounts.stores.testing import MONTHLY, record
from core.aio import run_blocking
from core.errors import AmplifyError, Forbidden, NotFound, TooManyRequests, Unauthorized, Unavailable
from core.testing import own_blocking_thread
from tests.harness import CANARY


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (authentication, lookups, directory):
        monkeypatch.setattr(module, "time", clock)
    return clock


@dataclass
class Keys:
    """A store in memory that notes what it is asked."""

    records: dict[str, KeyRecord] = field(default_factory=dict)
    most_at_once: int = 100
    new_keys_per_second: float | None = None
    broken: bool = False
    asked: list[list[str]] = field(default_factory=list)
    touched: list[dict[str, datetime]] = field(default_factory=list)
    held: asyncio.Event | None = None

    def find(self, keys: Collection[str]) -> Mapping[str, KeyRecord]:
        self.asked.append(list(keys))
        if self.broken:
            raise Unavailable
        return {key: self.records[key] for key in keys if key in self.records}

    def touch(self, used: Mapping[str, datetime]) -> None:
        if self.broken:
            raise Unavailable
        self.touched.append(dict(used))

    def add(self, **facts: Any) -> str:
        made = record(**facts)
        self.records[key := new_key()] = made
        return key

    def all(self) -> Mapping[str, Group]:
        return {"g": Group(id="g", members={"ann": Role.READ}, system_users=frozenset({"App-1"}))}

    def stores(self) -> Stores:
        store: Any = self

        async def ask(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
            await asyncio.sleep(0)
            value = function(*args, **kwargs)
            if self.held is not None:
                await self.held.wait()
            return value

        return Stores(keys=store, groups=store, accounts=Mock(), people=Mock(), ask=ask)  # type: ignore[arg-type]


@pytest.fixture
def keys() -> Keys:
    return Keys()


@pytest.fixture
async def scheme(keys: Keys) -> AsyncIterator[ApiKeys]:
    scheme = scheme_of(keys.stores())
    yield scheme
    await scheme.aclose()


def scheme_of(stores: Stores) -> ApiKeys:
    return ApiKeys(stores, Directory(stores))


async def refusal(scheme: ApiKeys, key: str) -> tuple[int, str]:
    with pytest.raises(AmplifyError) as caught:
        await scheme.principal(key)
    return caught.value.status, caught.value.message.split(".")[0]


async def settled() -> None:
    """Until what was started in the background has come to its end; nothing here waits for anything outside."""
    for _ in range(10):
        await asyncio.sleep(0)


# Making and hashing.


def test_new_keys_have_the_platforms_form_and_are_all_different() -> None:
    made = {new_key() for _ in range(1000)}
    assert len(made) == 1000 and all(len(key) == 50 and is_well_formed(key) for key in made)


def test_the_hash_is_the_platforms() -> None:
    """SHAKE-256 of the empty message begins like this (NIST, example values for FIPS 202)."""
    assert hash_key("").startswith("46b9dd2b0ba88d13233b3feb743eeb243fcd52ea62b81b82b50c27646ed5762f")
    assert len(hash_key(new_key())) == 128


@pytest.mark.parametrize(
    "key", ["amp-v1-short", f"amp-v1-{'x' * 44}", "MIGRATED", "amp-", "amp-MIGRATED", "", "amp-x y"]
)
def test_what_cannot_be_a_key_is_none(key: str) -> None:
    assert not is_well_formed(key)


def test_legacy_keys_are_well_formed() -> None:
    assert is_well_formed(f"amp-{uuid4()}")


@given(
    st.text() | st.sampled_from(["a/b", "a/systemKey/b", "systemKey/", "/"]),
    st.sampled_from(["owner", "delegate", "system"]),
)
def test_a_public_name_says_its_kind_whoever_owns_it(owner: str, kind: Any) -> None:
    assert KeyRecord(id=key_id(owner, kind), owner=owner).kind == kind


# Whom a key makes.


async def test_an_owner_key(keys: Keys, scheme: ApiKeys) -> None:
    key = keys.add(owner="ann", account_id="lab", limit=MONTHLY, access_types=frozenset({"chat", "share"}))
    assert await scheme.principal(key) == Principal(
        user_id="ann",
        account_id="lab",
        api_key_id=keys.records[key].id,
        scopes=frozenset({"chat", "share"}),
        groups=frozenset({"g"}),
        limit=MONTHLY,
        bearer=key,
    )


async def test_delegate_and_system_keys_act_as_those_and_have_their_groups(keys: Keys, scheme: ApiKeys) -> None:
    delegate = await scheme.principal(keys.add(kind="delegate", delegate="ann"))
    system = await scheme.principal(keys.add(kind="system", system_id="App-1"))
    assert [(one.user_id, one.groups) for one in (delegate, system)] == [("ann", {"g"}), ("App-1", {"g"})]


async def test_the_key_is_not_in_what_a_principal_says_of_itself(keys: Keys, scheme: ApiKeys) -> None:
    key = keys.add()
    assert key not in repr(await scheme.principal(key))


PAST = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("facts", "status", "words"),
    [
        ({"active": False}, 403, "API key is inactive"),
        ({"expires_at": PAST}, 403, "API key has expired"),
        ({"access_types": frozenset()}, 403, "API key does not have access to chat functionality"),
        ({"id": "ann/otherKey/1"}, 400, "Invalid or unrecognized key type"),
        ({"id": "a/ownerKey/b/1"}, 400, "Invalid or unrecognized key type"),
        ({"kind": "delegate", "delegate": None}, 400, "Invalid or unrecognized key type"),
        ({"account_id": ""}, 400, "API key data does not have a valid account attached"),
        # Several at once: the platform's order.
        ({"active": False, "expires_at": PAST}, 403, "API key is inactive"),
        ({"expires_at": PAST, "access_types": frozenset()}, 403, "API key has expired"),
        ({"access_types": frozenset(), "account_id": ""}, 403, "API key does not have access to chat functionality"),
        ({"id": "ann/otherKey/1", "account_id": ""}, 400, "Invalid or unrecognized key type"),
    ],
)
async def test_keys_that_are_not_good(
    keys: Keys, scheme: ApiKeys, facts: dict[str, Any], status: int, words: str
) -> None:
    key_facts = dict(facts)
    name = key_facts.pop("id", None)
    key = keys.add(**key_facts)
    if name:
        keys.records[key] = replace(keys.records[key], id=name)
    assert await refusal(scheme, key) == (status, words)
    assert await refusal(scheme, key) == (status, words)


async def test_keys_that_are_none(keys: Keys, scheme: ApiKeys) -> None:
    assert await refusal(scheme, "amp-v1-short") == (404, "API key not found")
    assert keys.asked == []
    assert await refusal(scheme, new_key()) == (404, "API key not found")


async def test_a_key_that_is_not_for_chatting_is_refused_where_one_chats(keys: Keys, scheme: ApiKeys) -> None:
    who = Authenticator([scheme], Directory(keys.stores()))
    key = keys.add(access_types=frozenset({"share"}))
    with pytest.raises(Forbidden, match="does not have access to chat functionality"):
        await who.by_header(f"Bearer {key}")
    with pytest.raises(Forbidden, match="assistants"):
        await who.by_token(key, scope="assistants")
    assert (await who.by_token(key, scope="share")).bearer == key
    assert (await who.by_headers({"authorization": f"bearer  {key} "}, scope=None)).bearer == key
    with pytest.raises(Unauthorized):
        await who.by_headers({})


# How long a key is remembered.


async def test_a_good_key_is_looked_up_once_a_second(keys: Keys, scheme: ApiKeys, clock: Clock) -> None:
    key = keys.add()
    for _ in range(10):
        await scheme.principal(key)
    assert len(keys.asked) == 1
    clock.now += 1
    await scheme.principal(key)
    assert len(keys.asked) == 2


async def test_a_revocation_is_felt_within_a_second_and_here_at_once(keys: Keys, scheme: ApiKeys, clock: Clock) -> None:
    key = keys.add()
    await scheme.principal(key)
    keys.records[key] = replace(keys.records[key], active=False)  # by another process
    await scheme.principal(key)
    clock.now += 1
    assert await refusal(scheme, key) == (403, "API key is inactive")
    keys.records[key] = replace(keys.records[key], active=True)
    await scheme.principal(key)
    del keys.records[key]
    changed.send(sender=None, what="keys", of="")  # by this one
    assert await refusal(scheme, key) == (404, "API key not found")


async def test_a_lookup_that_was_under_way_at_a_revocation_is_not_remembered(
    keys: Keys, scheme: ApiKeys, clock: Clock
) -> None:
    key = keys.add()
    keys.held = asyncio.Event()
    early = asyncio.ensure_future(scheme.principal(key))
    await settled()
    del keys.records[key]
    changed.send(sender=None, what="keys", of="")
    late = asyncio.ensure_future(scheme.principal(key))  # a lookup of its own
    await settled()
    keys.held.set()
    await early
    with pytest.raises(NotFound):
        await late


async def test_a_remembered_key_expires_on_time(keys: Keys, scheme: ApiKeys, monkeypatch: pytest.MonkeyPatch) -> None:
    expiry = datetime.now(UTC) + timedelta(hours=1)
    key = keys.add(expires_at=expiry)
    await scheme.principal(key)
    later = Mock(wraps=datetime)
    later.now = lambda zone: expiry
    monkeypatch.setattr(authentication, "datetime", later)
    assert await refusal(scheme, key) == (403, "API key has expired")
    assert len(keys.asked) == 1


async def test_nothing_is_remembered_by_the_beginning_of_a_key(keys: Keys, scheme: ApiKeys) -> None:
    key = keys.add()
    await scheme.principal(key)
    for other in (key[:-1] + ("A" if key[-1] != "A" else "B"), key + "A", key[:-1]):
        assert await refusal(scheme, other) == (404, "API key not found")


async def test_wrong_keys_are_not_remembered_as_wrong(keys: Keys, scheme: ApiKeys) -> None:
    key = new_key()
    assert await refusal(scheme, key) == (404, "API key not found")
    keys.records[key] = record()
    await scheme.principal(key)


async def test_memory_is_bounded(keys: Keys, scheme: ApiKeys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheme, "REMEMBER_KEYS", 2, raising=False)
    for key in [keys.add() for _ in range(5)]:
        await scheme.principal(key)
    assert len(scheme._known) == 2


async def test_a_store_that_is_away_is_unavailable_to_all_who_wait(keys: Keys, scheme: ApiKeys) -> None:
    keys.broken = True
    found = await asyncio.gather(*(scheme.principal(new_key()) for _ in range(5)), return_exceptions=True)
    assert {type(one) for one in found} == {Unavailable}
    assert len(keys.asked) == 1
    keys.broken = False
    await scheme.principal(keys.add())


async def test_a_key_that_was_good_outlives_an_outage_of_its_store(keys: Keys, scheme: ApiKeys, clock: Clock) -> None:
    key = keys.add()
    await scheme.principal(key)
    keys.broken = True
    began = clock.now
    for seconds in range(2, int(AWAY_SECONDS), 2):
        clock.now = began + seconds
        await scheme.principal(key)
    assert len(keys.asked) < AWAY_SECONDS / ApiKeys.RETRY_SECONDS + 2, "not every request asks"
    assert await refusal(scheme, new_key()) == (503, "Your key cannot be checked at the moment")
    clock.now = began + AWAY_SECONDS
    assert (await refusal(scheme, key))[0] == 503
    keys.broken = False
    await scheme.principal(key)


async def test_a_key_that_was_changed_here_does_not_go_on(keys: Keys, scheme: ApiKeys, clock: Clock) -> None:
    key = keys.add()
    await scheme.principal(key)
    keys.broken = True
    changed.send(sender=None, what="keys", of="")
    assert (await refusal(scheme, key))[0] == 503


async def test_a_store_that_hangs_holds_a_good_key_up_once(
    keys: Keys, scheme: ApiKeys, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = keys.add()
    await scheme.principal(key)
    keys.held = asyncio.Event()
    clock.now += ApiKeys.REMEMBER_SECONDS
    monkeypatch.setattr(ApiKeys, "WAIT_SECONDS", 0.01)
    await scheme.principal(key)
    monkeypatch.setattr(ApiKeys, "WAIT_SECONDS", 3600)
    await scheme.principal(key)
    keys.held.set()


# Many wrong keys.


async def test_what_comes_during_a_lookup_goes_together_in_the_next(keys: Keys, scheme: ApiKeys) -> None:
    good = keys.add()
    wrong = [new_key() for _ in range(250)]
    results = await asyncio.gather(*map(scheme.principal, [*wrong, good]), return_exceptions=True)
    assert [type(one) for one in results] == [NotFound] * 250 + [Principal]
    assert [len(batch) for batch in keys.asked] == [100, 100, 51]


async def test_one_lookup_is_under_way_at_a_time(keys: Keys, scheme: ApiKeys) -> None:
    keys.held = asyncio.Event()
    first = asyncio.ensure_future(scheme.principal(new_key()))
    await settled()
    others = [asyncio.ensure_future(scheme.principal(new_key())) for _ in range(5)]
    await settled()
    assert [len(batch) for batch in keys.asked] == [1]
    keys.held.set()
    await asyncio.gather(first, *others, return_exceptions=True)
    assert [len(batch) for batch in keys.asked] == [1, 5]


async def test_a_caller_that_goes_away_leaves_the_others_theirs(keys: Keys, scheme: ApiKeys) -> None:
    keys.held = asyncio.Event()
    key = keys.add()
    first, second = (asyncio.ensure_future(scheme.principal(key)) for _ in range(2))
    await settled()
    first.cancel()
    await settled()
    keys.held.set()
    assert (await second).bearer == key


async def test_known_keys_do_not_wait_behind_wrong_ones(keys: Keys, scheme: ApiKeys, clock: Clock) -> None:
    good = keys.add()
    await scheme.principal(good)
    clock.now += 1
    keys.held = asyncio.Event()
    wrong = [asyncio.ensure_future(scheme.principal(new_key())) for _ in range(300)]
    await settled()
    known = asyncio.ensure_future(scheme.principal(good))
    await settled()
    assert [good] in keys.asked
    keys.held.set()
    await known
    await asyncio.gather(*wrong, return_exceptions=True)


async def test_where_keys_are_read_one_by_one_new_ones_are_bounded_and_known_ones_not(keys: Keys, clock: Clock) -> None:
    keys.new_keys_per_second = 10.0
    scheme = scheme_of(keys.stores())
    good = keys.add()
    await scheme.principal(good)
    results = await asyncio.gather(*(scheme.principal(new_key()) for _ in range(100)), return_exceptions=True)
    assert [type(one) for one in results] == [NotFound] * 19 + [TooManyRequests] * 81
    assert isinstance(results[-1], TooManyRequests) and results[-1].answer_headers() == {"Retry-After": "1"}
    for _ in range(5):
        clock.now += 1
        await scheme.principal(good)
    assert len(keys.asked) == 1 + 1 + 5
    await scheme.aclose()


def test_a_bucket_fills_again(clock: Clock) -> None:
    bucket = Bucket(2.0)
    for _ in range(4):
        bucket.take()
    with pytest.raises(TooManyRequests) as caught:
        bucket.take()
    assert caught.value.retry_after == 0.5
    clock.now += 0.5
    bucket.take()
    clock.now += 1000
    for _ in range(4):
        bucket.take()
    with pytest.raises(TooManyRequests):
        bucket.take()


# With the database.


@pytest.fixture
def blocking() -> Iterator[None]:
    with own_blocking_thread():
        yield


class Counted:
    """Counts the statements that a store sends."""

    def __init__(self) -> None:
        self.statements: list[str] = []
        self.stores = replace(database_stores(), ask=self._ask)  # type: ignore[arg-type]

    async def _ask(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        return await run_blocking(self._counting, function, *args, **kwargs)

    def _counting(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        with connection.execute_wrapper(self._count):
            return function(*args, **kwargs)

    def _count(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        self.statements.append(sql)
        return execute(sql, params, many, context)


@pytest.mark.django_db(transaction=True)
async def test_five_thousand_wrong_keys_cost_a_handful_of_queries_and_a_good_one_is_answered(blocking: None) -> None:
    counted = Counted()
    good = new_key()
    await run_blocking(counted.stores.keys.add, record(owner="ann"), good)
    scheme = scheme_of(counted.stores)
    wrong = [new_key() for _ in range(5000)]
    results = await asyncio.gather(*map(scheme.principal, [*wrong, good]), return_exceptions=True)
    assert [type(one) for one in results] == [NotFound] * 5000 + [Principal]
    lookups_sent = [sql for sql in counted.statements if "accounts_apikey" in sql]
    assert len(lookups_sent) == 6
    await scheme.aclose()


@pytest.mark.django_db(transaction=True)
async def test_keys_of_somebody_who_is_deactivated_or_deleted_open_nothing(blocking: None) -> None:
    stores = database_stores()
    users = [await run_blocking(User.objects.create, username=name) for name in ("ann", "bob")]
    made = {new_key(): record(owner="ann"), new_key(): record(owner="x", kind="delegate", delegate="bob")}
    for key, one in made.items():
        await run_blocking(stores.keys.add, one, key)
    scheme = scheme_of(stores)
    for key in made:
        await scheme.principal(key)
    for user in users:
        user.is_active = False
        await run_blocking(user.save)
    for key in made:
        assert await refusal(scheme, key) == (403, "API key is inactive")
    for user in users:
        user.is_active = True
        await run_blocking(user.save)
        await run_blocking(user.delete)
    for key in made:
        assert await refusal(scheme, key) == (403, "API key is inactive")
    await scheme.aclose()


@pytest.mark.django_db(transaction=True)
async def test_a_change_by_the_admin_is_felt_at_once(blocking: None) -> None:
    stores = database_stores()
    await run_blocking(stores.keys.add, made := record(), key := new_key())
    scheme = scheme_of(stores)
    await scheme.principal(key)
    row = await run_blocking(ApiKey.objects.get, api_owner_id=made.id)
    row.active = False
    await run_blocking(row.save)
    assert await refusal(scheme, key) == (403, "API key is inactive")
    await scheme.aclose()


@pytest.mark.django_db(transaction=True)
async def test_signing_in_makes_nobody_forget_the_keys(blocking: None) -> None:
    user = await run_blocking(User.objects.create, username="ann")
    told: list[str] = []

    def hear(what: str, **_: Any) -> None:
        told.append(what)

    changed.connect(hear)
    user.last_login = datetime.now(UTC)
    await run_blocking(user.save, update_fields=["last_login"])
    assert told == []
    await run_blocking(user.save)
    assert told == ["people", "keys"]


# Sessions.


@pytest.mark.django_db(transaction=True)
async def test_a_person_with_a_session_has_their_groups_accounts_and_rank(blocking: None, client: Client) -> None:
    stores = database_stores()

    def sign_up() -> str:
        client.force_login(User.objects.create(username="ann", is_superuser=True))
        stores.groups.put(Group(id="chem", members={"ann": Role.READ}))
        stores.accounts.save("ann", [Account(id="lab", is_default=True)])
        return str(client.cookies[settings.SESSION_COOKIE_NAME].value)

    cookie = await run_blocking(sign_up)
    who = Authenticator([], Directory(stores))
    expected = Principal(
        user_id="ann", account_id="lab", accounts=frozenset({"lab"}), groups=frozenset({"chem"}), is_admin=True
    )
    own_page = {"cookie": f"x=y; {settings.SESSION_COOKIE_NAME}={cookie}", "sec-fetch-site": "same-origin"}
    assert await who.by_headers(own_page) == expected
    for headers in (own_page | {"sec-fetch-site": "cross-site"}, own_page | {"cookie": "x=y"}):
        with pytest.raises(Unauthorized):
            await who.by_headers(headers)
    await database_sync_to_async(connections.close_all)()  # of the thread in which Channels reads sessions


# Last use.


class Minutes:
    """`asyncio.sleep` as a hand that the test moves."""

    def __init__(self) -> None:
        self.sleeps: list[float] = []
        self._over = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        await self._over.wait()

    async def pass_one(self) -> None:
        self._over.set()
        await settled()
        self._over.clear()


@pytest.fixture
def minutes(monkeypatch: pytest.MonkeyPatch) -> Minutes:
    minutes = Minutes()
    monkeypatch.setattr(last_use, "sleep", minutes.sleep)
    return minutes


async def test_last_use_is_written_once_a_minute_for_all_keys(keys: Keys, scheme: ApiKeys, minutes: Minutes) -> None:
    used = [keys.add() for _ in range(3)]
    for _ in range(50):
        for key in used:
            await scheme.principal(key)
    await settled()
    assert keys.touched == [] and minutes.sleeps == [FLUSH_SECONDS]
    await minutes.pass_one()
    assert [set(batch) for batch in keys.touched] == [{keys.records[key].id for key in used}]


async def test_nothing_is_written_while_nothing_is_used(keys: Keys, scheme: ApiKeys, minutes: Minutes) -> None:
    key = keys.add()
    await scheme.principal(key)
    await settled()
    await minutes.pass_one()
    await minutes.pass_one()
    assert len(keys.touched) == 1
    await scheme.principal(key)
    await settled()
    await minutes.pass_one()
    assert len(keys.touched) == 2


async def test_what_is_left_is_written_at_the_end(keys: Keys) -> None:
    scheme = scheme_of(keys.stores())
    key = keys.add()
    before = datetime.now(UTC)
    await scheme.principal(key)
    await scheme.aclose()
    assert list(keys.touched[0]) == [keys.records[key].id]
    assert before <= keys.touched[0][keys.records[key].id] <= datetime.now(UTC)


async def test_what_cannot_be_written_is_written_later(keys: Keys, scheme: ApiKeys) -> None:
    first, second = keys.add(), keys.add()
    await scheme.principal(first)
    await scheme.principal(second)
    keys.broken = True
    await scheme.flush()
    assert keys.touched == []
    keys.broken = False
    await scheme.flush()
    await scheme.flush()
    assert [set(batch) for batch in keys.touched] == [{keys.records[key].id for key in (first, second)}]


async def test_a_key_that_is_refused_was_not_used(keys: Keys, scheme: ApiKeys) -> None:
    await refusal(scheme, keys.add(active=False))
    await scheme.flush()
    assert keys.touched == []


async def test_no_key_is_in_the_log(keys: Keys) -> None:
    keys.broken = True
    scheme = scheme_of(keys.stores())
    with capture_logs() as logs:
        for key in (f"amp-{CANARY}-{'x' * 30}", "amp-v1-" + CANARY.ljust(43, "x")):
            await refusal(scheme, key)
    assert CANARY not in str(logs)


async def test_a_store_that_crashes_leaves_nobody_waiting(keys: Keys, scheme: ApiKeys) -> None:
    keys.held = asyncio.Event()
    keys.add(owner="ann")
    good = next(iter(keys.records))
    real = keys.find
    keys.find = Mock(side_effect=[ValueError("a bug"), Unavailable(), {}])  # type: ignore[method-assign]
    keys.held.set()
    asked = [asyncio.ensure_future(scheme.principal(new_key())) for _ in range(3)]
    await asyncio.sleep(0)
    asked.append(asyncio.ensure_future(scheme.principal(good)))
    async with asyncio.timeout(5):
        found = await asyncio.gather(*asked, return_exceptions=True)
    assert all(isinstance(error, Unavailable | NotFound) for error in found)
    keys.find = real  # type: ignore[method-assign]
    assert (await scheme.principal(good)).user_id == "ann"
