"""Usage and budgets over REST: whose they are, what they add up to, and what they cost to read."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.db import OperationalError, connection, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.test.utils import CaptureQueriesContext

from accounts.limits import Period, SpendLimit
from accounts.principal import Principal
from accounts.stores import Group, Role
from accounts.stores.backends import get_stores
from core.errors import Unauthorized, Unavailable
from tests.usage.conftest import at_once
from tests.usage.doors import Reply, ask
from tests.usage.test_own_counters import spend_here as spend
from usage import group_sets
from usage.budgets import BudgetBook, current
from usage.limits import Line
from usage.models import Budget, Dimension, Reservation

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 3, 4, 12, 30, tzinfo=UTC)
EARLIER, FEBRUARY = NOW - timedelta(days=1), NOW - timedelta(days=10)
OWN, LENT = "alice/ownerKey/1", "alice/delegateKey/2"
LAB = frozenset({"Lab_1"})

ALICE = Principal(user_id="alice", groups=LAB)
BOB = Principal(user_id="bob", groups=LAB)
MALLORY = Principal(user_id="mallory")
ADMIN = Principal(user_id="root", is_admin=True)
BY_KEY = Principal(user_id="alice", api_key_id=OWN)
CHAT_ONLY = Principal(user_id="alice", api_key_id=OWN, scopes=frozenset({"chat"}))
BY_DELEGATE_KEY = Principal(user_id="bob", api_key_id=LENT)


@pytest.fixture(autouse=True)
def now(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("django.utils.timezone.now", lambda: NOW)
    cache.clear()
    yield
    cache.clear()


@pytest.fixture
def books() -> None:
    get_stores().groups.put(Group(id="Lab_1", members={"alice": Role.ADMIN, "bob": Role.READ}))
    lab = {"group_set": group_sets.name_of(LAB)}
    tokens = {"input_tokens": 100, "cache_read_tokens": 10, "cache_write_tokens": 1, "output_tokens": 50}
    spend("alice", 5, at=NOW, **lab, **tokens)
    spend("alice", 7, at=EARLIER, api_key_id=OWN, account_id="lab", model_id="n", purpose="title", **lab, **tokens)
    spend("alice", 11, at=FEBRUARY, **lab)
    spend("bob", 13, at=NOW, api_key_id=LENT, **lab)
    spend("mallory", 17, at=NOW)


def get(who: Any, path: str) -> Reply:
    return ask(who, "GET", f"/api/{path}")


def shown(who: Any, path: str) -> dict[str, int]:
    """Micro-dollars by part."""
    reply = get(who, path)
    assert reply.status == 200, reply.json
    found = {part["value"]: part["microDollars"] for part in reply.json["results"]}
    assert reply.json["total"]["microDollars"] == sum(found.values())
    return found


@pytest.mark.usefixtures("books")
def test_my_usage() -> None:
    reply = get(ALICE, "usage/?by=model")
    amounts = {"calls": 1, "failedCalls": 0, "inputTokens": 100, "cacheReadTokens": 10, "cacheWriteTokens": 1,
               "outputTokens": 50}  # fmt: skip
    assert reply.json == {
        "count": 2, "next": None, "previous": None, "first": "2026-03-01", "last": "2026-03-04",
        "of": {"user": "alice"}, "by": "model",
        "results": [
            {"value": "n", **amounts, "microDollars": 7},
            {"value": "m", **amounts, "microDollars": 5},
        ],
        "total": {**{name: 2 * number for name, number in amounts.items()}, "microDollars": 12},
    }  # fmt: skip


@pytest.mark.usefixtures("books")
@pytest.mark.parametrize(
    ("query", "parts"),
    [
        ("", {"2026-03-04": 5, "2026-03-03": 7}),
        ("?by=day&period=today", {"2026-03-04": 5}),
        ("?by=account", {"general_account": 5, "lab": 7}),
        ("?by=key", {"": 5, OWN: 7}),
        ("?by=purpose", {"answer": 5, "title": 7}),
        ("?by=model&period=2026-02-22..2026-03-03", {"m": 11, "n": 7}),
        ("?by=account&period=last-month", {"general_account": 11}),
        ("?period=2020-01-01", {}),
    ],
)
def test_parts_of_a_period(query: str, parts: dict[str, int]) -> None:
    assert shown(ALICE, f"usage/{query}") == parts


@pytest.mark.usefixtures("books")
def test_what_a_key_is_shown() -> None:
    assert sum(shown(BY_KEY, "usage/").values()) == 12
    assert shown(CHAT_ONLY, "usage/?by=key") == {OWN: 7}
    assert get(CHAT_ONLY, "usage/").json["of"] == {"key": OWN}
    assert shown(BY_DELEGATE_KEY, "usage/?by=key") == {LENT: 13}
    assert get(CHAT_ONLY, "usage/month/").json["microDollars"] == 7


@pytest.mark.usefixtures("books")
def test_pages() -> None:
    first = get(ALICE, "usage/?limit=1").json
    assert (first["count"], len(first["results"]), first["total"]["microDollars"]) == (2, 1, 12)
    assert "offset=1" in first["next"]
    assert get(ALICE, "usage/?limit=1&offset=1").json["results"][0]["value"] == "2026-03-03"


@pytest.mark.usefixtures("books")
@pytest.mark.parametrize(
    "query",
    [
        "period=never",
        "period=2026-03-04..2026-03-01",
        "period=2020-01-01..2026-01-01",
        "period=%00",
        "by=user",
        "by=assistant",
        "by=%00",
    ],
)
def test_what_is_asked_for_wrongly(query: str) -> None:
    reply = get(ALICE, f"usage/?{query}")
    assert (reply.status, reply.json["code"]) == (400, "invalid_request")


@pytest.mark.usefixtures("books")
def test_the_month_to_date() -> None:
    for day in range(2, 29):  # of February: 28 days are known, with the first call on the 4th
        spend("alice", 10, at=datetime(2026, 2, day, 9, tzinfo=UTC))
    reply = get(ALICE, "usage/month/").json
    whole = dict.fromkeys(range(4, 29), 10)
    whole[22] += 11
    weekend = (
        10 * 7 + 11 + 0
    ) // 8  # seven Saturdays and Sundays of February, one that cost more, and the 1st of March
    weekday = (10 * 18 + 0 + 7) // 20
    assert reply == {
        "first": "2026-03-01", "of": {"user": "alice"}, "microDollars": 12, "todayMicroDollars": 5, "days": 28,
        "weekdayMicroDollars": weekday, "weekendMicroDollars": weekend,
        "expectedMicroDollars": 7 + weekday + 19 * weekday + 8 * weekend,
    }  # fmt: skip


def test_a_month_without_calls() -> None:
    assert get(MALLORY, "usage/month/").json == {
        "first": "2026-03-01", "of": {"user": "mallory"}, "microDollars": 0, "todayMicroDollars": 0, "days": 0,
        "weekdayMicroDollars": 0, "weekendMicroDollars": 0, "expectedMicroDollars": 0,
    }  # fmt: skip


@pytest.mark.usefixtures("books")
def test_a_groups_usage_is_for_its_admins_and_administrators() -> None:
    by_scoped_key = Principal(user_id="alice", api_key_id=OWN, scopes=frozenset({"assistants"}))
    for who in (ALICE, ADMIN, BY_KEY, by_scoped_key):
        assert shown(who, "groups/Lab_1/usage/") == {"bob": 13, "alice": 12}
    assert shown(ALICE, "groups/Lab_1/usage/?by=model&period=30-days") == {"m": 29, "n": 7}
    assert shown(ALICE, "groups/Lab_1/usage/?by=day") == {"2026-03-04": 18, "2026-03-03": 7}
    assert get(ALICE, "groups/Lab_1/usage/").json["of"] == {"group": "Lab_1"}
    statuses = [get(who, "groups/Lab_1/usage/").status for who in (BOB, MALLORY, CHAT_ONLY)]
    assert statuses == [403, 404, 403]
    for refused in (BOB, MALLORY):
        assert "alice" not in str(get(refused, "groups/Lab_1/usage/").json)
    assert get(ADMIN, "groups/nothing/usage/").status == 404


def test_an_amplify_groups_usage_is_for_administrators() -> None:
    get_stores().groups.put(Group(id="Staff", name="Staff", kind="amplify", members={"alice": Role.READ}))
    get_stores().groups.put(Group(id="Open_1", members={"bob": Role.ADMIN}, is_public=True))
    alice = Principal(user_id="alice", groups=frozenset({"Staff"}))
    assert [get(who, "groups/Staff/usage/").status for who in (alice, ADMIN, MALLORY)] == [403, 200, 404]
    # What a public group offers is for everybody; what it spends is not.
    assert [get(who, "groups/Open_1/usage/").status for who in (BOB, MALLORY)] == [200, 403]
    delegate = Principal(user_id="bob", api_key_id=LENT)
    assert get(delegate, "groups/Open_1/usage/").status == 403


@pytest.fixture
def book(monkeypatch: pytest.MonkeyPatch, own_connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Asked in the test's own transaction."""

    async def elsewhere(principal: Principal) -> list[Line]:
        limit = SpendLimit(period=Period.TOTAL, micro_dollars=100)
        return [Line(dimension=Dimension.USER, value=principal.user_id, limit=limit, source="group", name="Lab")]

    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    monkeypatch.setattr("core.remembered.run_blocking", at_once)

    def in_a_loop(call: Any) -> Any:
        async def called(*given: Any) -> Any:
            connections["default"] = own_connection  # on a loop there would be another
            return await call(*given)

        return lambda *given: asyncio.run(called(*given))

    monkeypatch.setattr("usage.api.usage.async_to_sync", in_a_loop)
    monkeypatch.setattr(current, "book", BudgetBook([elsewhere]))
    yield


@pytest.mark.usefixtures("books", "book")
def test_my_budgets() -> None:
    kind = Budget.AppliesTo
    for applies_to, subject, limit, active in (
        (kind.EACH_USER, "", 1_000_000, True),
        (kind.USER, "alice", 10, True),
        (kind.USER, "bob", 1, True),
        (kind.KEY, OWN, 14, True),
        (kind.GROUP, "Lab_1", 50, True),
        (kind.ALL, "", 0, False),
    ):
        Budget.objects.create(
            applies_to=applies_to, subject=subject, period="Monthly", micro_dollars=limit, active=active
        )
    Reservation.objects.create(
        call_id="00000000-0000-0000-0000-000000000001", run_id="r", user_id="alice", account_id="a", model_id="m",
        provider="p", micro_dollars=3, worker="w", reserved_at=NOW, expires_at=NOW, group_set=group_sets.name_of(LAB),
    )  # fmt: skip
    group_sets.save([group_sets.name_of(LAB)])
    found = get(ALICE, "budgets/").json["results"]
    assert [(one["counts"], one["limitMicroDollars"], one["percent"]) for one in found] == [
        ("user", 10, 150), ("group", 50, 56), ("user", 100, 26), ("user", 1_000_000, 0),
    ]  # fmt: skip
    assert found[0] == {
        "name": "one user alice: Monthly", "setBy": "admin", "counts": "user", "of": "alice",
        "limit": {"period": "Monthly", "rate": 1e-05}, "limitMicroDollars": 10, "spentMicroDollars": 12,
        "reservedMicroDollars": 3, "leftMicroDollars": 0, "percent": 150, "resetsAt": "2026-04-01T00:00:00Z",
    }  # fmt: skip
    assert (found[2]["setBy"], found[2]["name"], found[2]["resetsAt"]) == ("group", "Lab", None)
    by_key = Principal(
        user_id="alice", api_key_id=OWN, limit=SpendLimit(period=Period.DAILY, micro_dollars=100), scopes=frozenset()
    )
    keys = [one for one in get(by_key, "budgets/").json["results"] if one["counts"] == "key"]
    assert [(one["setBy"], one["spentMicroDollars"], one["leftMicroDollars"]) for one in keys] == [
        ("admin", 7, 7), ("key", 0, 100),
    ]  # fmt: skip


@pytest.mark.usefixtures("book")
def test_limits_that_nobody_can_read_are_503(monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(principal: Principal) -> list[Line]:
        raise Unavailable

    monkeypatch.setattr(current, "book", BudgetBook([away]))
    assert get(ALICE, "budgets/").status == 503
    monkeypatch.setattr(current, "book", None)  # a process that serves nothing
    assert get(ALICE, "budgets/").status == 503


@pytest.mark.usefixtures("books", "book")
@pytest.mark.parametrize(
    ("path", "most"),
    [
        ("usage/?by=day", 1), ("usage/?by=model&period=year", 1), ("usage/month/", 1), ("budgets/", 2),
        ("groups/Lab_1/usage/", 9),
    ],
)  # fmt: skip
def test_nothing_asks_the_ledger_and_little_the_database(path: str, most: int) -> None:
    with CaptureQueriesContext(connection) as asked:
        assert get(ALICE, path).status == 200
    assert len(asked) <= most, [query["sql"] for query in asked]
    assert not any('"usage_usagerecord"' in query["sql"] for query in asked)


@pytest.mark.usefixtures("book")  # that of a service whose doors these tests have imported has threads of its own
@pytest.mark.parametrize("path", ["usage/", "usage/month/", "budgets/", "groups/x/usage/"])
def test_nobody_is_answered_without_a_credential_or_a_database(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert get(Unauthorized(), path).status == 401

    async def one_limit(principal: Principal) -> list[Line]:
        limit = SpendLimit(period=Period.DAILY, micro_dollars=1)
        return [Line(dimension=Dimension.USER, value=principal.user_id, limit=limit, source="admin")]

    monkeypatch.setattr(current, "book", BudgetBook([one_limit]))

    def away(*_: Any, **__: Any) -> Any:
        raise OperationalError("pulled")

    monkeypatch.setattr(connection, "cursor", away)
    assert get(ALICE, path).status == 503
