"""The cost operations of today's clients: what they answer, to whom, and what they do not."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext

from accounts.limits import Period, SpendLimit
from accounts.principal import Principal
from accounts.stores import Group, KeyRecord, Role
from accounts.stores.backends import get_stores
from core.errors import Forbidden, Unauthorized
from tests.usage.doors import Reply, ask
from tests.usage.test_own_counters import spend_here as spend

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 3, 4, 12, 30, tzinfo=UTC)
STAMP = "2026-03-04T12:30:00.000Z"
EARLIER, FEBRUARY, JANUARY = NOW - timedelta(days=1), NOW - timedelta(days=10), NOW - timedelta(days=40)

OWN = "alice/ownerKey/1"
LENT = "alice/delegateKey/2"
SYSTEM = "alice/systemKey/3"
SYSTEM_ID = "Scheduling-app-482113"

ALICE = Principal(user_id="alice")
BOB = Principal(user_id="bob")
ADMIN = Principal(user_id="root", is_admin=True)
BY_KEY = Principal(user_id="alice", api_key_id=OWN)
CHAT_ONLY = Principal(user_id="alice", api_key_id=OWN, scopes=frozenset({"chat"}))
BY_DELEGATE_KEY = Principal(user_id="bob", api_key_id=LENT)
BY_SYSTEM_KEY = Principal(user_id=SYSTEM_ID, api_key_id=SYSTEM)

OPERATIONS = (
    "mtd-cost",
    "api-key-user-cost",
    "list-all-user-mtd-costs",
    "list-user-mtd-costs",
    "billing-groups-costs",
    "user-cost-history",
)
NOT_AN_ADMIN = "Access denied. Admin privileges required."


@pytest.fixture(autouse=True)
def now(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """It is always `NOW`; nobody has asked anything yet this minute."""
    monkeypatch.setattr("django.utils.timezone.now", lambda: NOW)
    cache.clear()
    yield
    cache.clear()


@pytest.fixture
def books() -> None:
    """Alice: 1.25 today without a key, 0.5 today and 2 yesterday by her key, 4 in February, 8 in January by it.
    Bob: 16 today by the key that she lent him. Her system: 0.000001 today."""
    keys = get_stores().keys
    made = NOW - timedelta(days=60)
    common = {"owner": "alice", "access_types": frozenset({"full_access"}), "created_at": made}
    keys.add(KeyRecord(id=OWN, **common), "amp-v1-alices-own")  # type: ignore[arg-type]
    keys.add(KeyRecord(id=LENT, delegate="bob", **common), "amp-v1-lent")  # type: ignore[arg-type]
    keys.add(KeyRecord(id=SYSTEM, system_id=SYSTEM_ID, **common), "amp-v1-system")  # type: ignore[arg-type]
    spend("alice", 1_250_000, at=NOW)
    spend("alice", 500_000, at=NOW - timedelta(hours=1), account_id="lab#7", api_key_id=OWN)
    spend("alice", 2_000_000, at=EARLIER, account_id="lab#7", api_key_id=OWN)
    spend("alice", 4_000_000, at=FEBRUARY)
    spend("alice", 8_000_000, at=JANUARY, account_id="lab#7", api_key_id=OWN)
    spend("bob", 16_000_000, at=NOW, api_key_id=LENT)
    spend(SYSTEM_ID, 1, at=NOW, api_key_id=SYSTEM)


def call(who: Any, operation: str, data: Any = None, **more: Any) -> Reply:
    return ask(who, "POST", f"/billing/{operation}/", {"data": {} if data is None else data, **more})


def answer(who: Any, operation: str, data: Any = None) -> Any:
    reply = call(who, operation, data)
    assert reply.status == 200, reply.json
    return reply.json


ALICES_ACCOUNTS = [
    {"accountInfo": f"lab#7#{OWN}", "dailyCost": 0.5, "monthlyCost": 2.0, "totalCost": 2.5, "timestamp": None},
    {"accountInfo": "general_account#NA", "dailyCost": 1.25, "monthlyCost": 0.0, "totalCost": 1.25, "timestamp": None},
]


@pytest.mark.usefixtures("books")
def test_month_to_date() -> None:
    alices = {"email": "alice", "dailyCost": 1.75, "monthlyCost": 2.0, "MTD Cost": 3.75}
    assert answer(ALICE, "mtd-cost", {"email": "alice"}) == alices  # as the older form asks
    assert answer(ALICE, "mtd-cost") == alices  # as the newer does
    assert answer(ADMIN, "mtd-cost", {"email": "alice"}) == alices
    # Older servers said 404 here, which today's web client takes for a failure.
    nothing = {"email": "carol", "dailyCost": 0.0, "monthlyCost": 0.0, "MTD Cost": 0.0}
    assert answer(Principal(user_id="carol"), "mtd-cost") == nothing


@pytest.mark.usefixtures("books")
def test_ones_own_account_by_account() -> None:
    hourly = [0.0] * 24
    hourly[11], hourly[12] = 0.5, 1.250001
    system = {"dailyCost": 1e-06, "monthlyCost": 0.0, "totalCost": 1e-06, "timestamp": None}
    assert answer(ALICE, "list-user-mtd-costs") == {
        "email": "alice",
        "dailyCost": 1.750001,
        "monthlyCost": 2.0,
        "totalCost": 3.750001,
        "accounts": [*ALICES_ACCOUNTS, {"accountInfo": f"general_account#{SYSTEM}", **system}],
        "hourlyCost": hourly,
        "lastUpdated": None,
        "timestamp": STAMP,
    }
    nobodys = answer(Principal(user_id="carol"), "list-user-mtd-costs")
    assert nobodys == {
        "email": "carol", "dailyCost": 0.0, "monthlyCost": 0.0, "totalCost": 0.0, "accounts": [],
        "hourlyCost": [0.0] * 24, "lastUpdated": None, "timestamp": STAMP,
    }  # fmt: skip


@pytest.mark.usefixtures("books")
def test_everybodys() -> None:
    page = answer(ADMIN, "list-all-user-mtd-costs", {"pageSize": 50, "lastEvaluatedKey": None})
    assert [user["email"] for user in page["users"]] == ["bob", "alice", SYSTEM_ID]
    assert page["users"][1] == {
        "email": "alice", "dailyCost": 1.75, "monthlyCost": 2.0, "totalCost": 3.75, "accounts": ALICES_ACCOUNTS,
        "lastUpdated": None,
    }  # fmt: skip
    assert {name: page[name] for name in ("count", "lastEvaluatedKey", "hasMore", "timestamp")} == {
        "count": 3, "lastEvaluatedKey": None, "hasMore": False, "timestamp": STAMP,
    }  # fmt: skip


def test_pages_over_a_thousand_users_show_each_once() -> None:
    for number in range(1_050):
        spend(f"user-{number:04}@example.edu", 1 + number, at=NOW, account_id=f"lab-{number % 3}")
    seen: list[str] = []
    key, pages, queries = None, 0, set()
    while True:
        with CaptureQueriesContext(connection) as asked:
            page = answer(ADMIN, "list-all-user-mtd-costs", {"pageSize": 100, "lastEvaluatedKey": key})
        queries.add(len(asked))
        assert not any("usage_usagerecord" in query["sql"] for query in asked)
        assert page["count"] == len(page["users"]) <= 100
        assert [one["totalCost"] for one in page["users"]] == sorted(
            (u["totalCost"] for u in page["users"]), reverse=True
        )
        seen += [user["email"] for user in page["users"]]
        pages, key = pages + 1, page["lastEvaluatedKey"]
        if not page["hasMore"]:
            break
    assert (pages, key, queries) == (11, None, {3})
    assert len(seen) == len(set(seen)) == 1_050
    assert answer(ADMIN, "list-all-user-mtd-costs")["count"] == 100  # without being told
    assert answer(ADMIN, "list-all-user-mtd-costs", {"pageSize": 500})["count"] == 500


@pytest.mark.usefixtures("books")
def test_what_a_key_has_cost() -> None:
    """Since it was made, each call once, by its id or by the key itself."""
    own = {"totalApiKeyCost": 10.5, "userApiKeyCost": 10.5, "resolvedApiKeyId": OWN, "latestTimestamp": None}
    asked = {"apiKeys": [OWN, "amp-v1-alices-own", LENT], "email": "alice"}
    assert answer(ALICE, "api-key-user-cost", asked) == {
        "email": "alice",
        "results": {
            OWN: own | {"recordCount": 2},
            "amp-v1-alices-own": own | {"recordCount": 2},
            # Bob acts with it: hers is what it costs, not what she has spent.
            LENT: {
                "totalApiKeyCost": 16.0, "userApiKeyCost": 0.0, "resolvedApiKeyId": LENT, "latestTimestamp": None,
                "recordCount": 1,
            },
        },
        "timestamp": STAMP,
    }  # fmt: skip
    bobs = answer(BOB, "api-key-user-cost", {"apiKeys": [LENT]})["results"][LENT]
    assert (bobs["totalApiKeyCost"], bobs["userApiKeyCost"]) == (16.0, 16.0)
    for email, of_alice in (("alice", 10.5), ("bob", 0.0)):
        found = answer(ADMIN, "api-key-user-cost", {"apiKeys": [OWN], "email": email})["results"][OWN]
        assert (found["totalApiKeyCost"], found["userApiKeyCost"]) == (10.5, of_alice)


@pytest.mark.usefixtures("books")
def test_a_key_is_shown_to_its_owner_its_delegate_and_itself() -> None:
    def status(who: Principal, key: str) -> int:
        return call(who, "api-key-user-cost", {"apiKeys": [key]}).status

    assert [status(who, OWN) for who in (ALICE, BY_KEY, CHAT_ONLY, ADMIN)] == [200] * 4
    assert [status(who, OWN) for who in (BOB, BY_DELEGATE_KEY, BY_SYSTEM_KEY)] == [403] * 3
    assert [status(who, LENT) for who in (ALICE, BOB, BY_DELEGATE_KEY)] == [200] * 3
    assert [status(CHAT_ONLY, key) for key in (LENT, SYSTEM)] == [403, 403]
    # One that does not exist looks the same as somebody else's, and a part of an id is no id.
    for key in ("alice/ownerKey/nothing", OWN[:-2], "amp-v1-nothing", "alice/odd/1"):
        assert call(BOB, "api-key-user-cost", {"apiKeys": [key]}).json["error"] == NOT_AN_ADMIN
        assert answer(ADMIN, "api-key-user-cost", {"apiKeys": [key]})["results"][key]["totalApiKeyCost"] == 0.0


@pytest.mark.usefixtures("books")
def test_history_counts_each_call_once() -> None:
    lab = f"lab#7#{OWN}"
    assert answer(ALICE, "user-cost-history") == {
        "email": "alice",
        "history": [
            {
                "month": "2026-03", "displayMonth": "Mar 2026", "totalCost": 3.75, "dailyCostSum": 3.75,
                "monthlyCostSum": 0.0, "daysInMonth": 4, "isCurrent": True,
                "accounts": [{"accountInfo": lab, "cost": 2.5}, {"accountInfo": "general_account#NA", "cost": 1.25}],
            },
            {
                "month": "2026-02", "displayMonth": "Feb 2026", "totalCost": 4.0, "dailyCostSum": 0.0,
                "monthlyCostSum": 4.0, "daysInMonth": 28, "isCurrent": False,
                "accounts": [{"accountInfo": "general_account#NA", "cost": 4.0}],
            },
            {
                "month": "2026-01", "displayMonth": "Jan 2026", "totalCost": 8.0, "dailyCostSum": 0.0,
                "monthlyCostSum": 8.0, "daysInMonth": 31, "isCurrent": False,
                "accounts": [{"accountInfo": lab, "cost": 8.0}],
            },
        ],
        "summary": {
            "totalSpendAllTime": 15.75, "avgMonthlySpend": 5.25, "monthCount": 3, "firstMonth": "2026-01",
            "lastMonth": "2026-03",
            "trend": {"direction": "down", "percentage": 6.25, "comparison": "Mar 2026: $3.75 vs Feb 2026: $4.00"},
        },
    }  # fmt: skip


@pytest.mark.usefixtures("books")
@pytest.mark.parametrize(("months", "shown"), [(1, ["2026-03"]), (2, ["2026-03", "2026-02"]), (120, None)])
def test_months_back_is_heeded(months: int, shown: list[str] | None) -> None:
    found = answer(ALICE, "user-cost-history", {"monthsBack": months})
    assert [one["month"] for one in found["history"]] == (shown or ["2026-03", "2026-02", "2026-01"])
    assert found["summary"]["monthCount"] == len(found["history"])


def test_history_at_the_edges_of_months() -> None:
    march = datetime(2026, 3, 1, tzinfo=UTC)
    for cost, at in ((1, march), (10, march - timedelta(microseconds=1)), (100, datetime(2025, 4, 1, tzinfo=UTC))):
        spend("alice", cost * 1_000_000, at=at)
    spend("alice", 7, at=datetime(2025, 3, 31, 23, 59, 59, tzinfo=UTC))  # more than a year ago
    found = answer(ALICE, "user-cost-history", {"email": "alice", "monthsBack": 12})["history"]
    assert [(one["month"], one["totalCost"]) for one in found] == [("2026-03", 1), ("2026-02", 10), ("2025-04", 100)]
    nobodys = answer(BOB, "user-cost-history")
    assert nobodys["history"] == []
    assert nobodys["summary"] == {
        "totalSpendAllTime": 0.0, "avgMonthlySpend": 0.0, "monthCount": 0, "firstMonth": None, "lastMonth": None,
        "trend": {"direction": "flat", "percentage": 0, "comparison": ""},
    }  # fmt: skip


def put_groups() -> None:
    groups = get_stores().groups
    limit = SpendLimit(period=Period.MONTHLY, micro_dollars=200_000_000)
    for group in (
        Group(id="Grads", name="Grads", kind="amplify", members={"bob": Role.READ}),
        Group(
            id="Chemistry", name="Chemistry", kind="amplify", members={"alice": Role.READ, "carol": Role.READ},
            includes=frozenset({"Grads"}), is_billing_group=True, limit=limit, created_by="root",
        ),
        Group(id="Lab", name="Lab", kind="amplify", members={"alice": Role.READ}, is_billing_group=True),
    ):  # fmt: skip
        groups.put(group)


@pytest.mark.usefixtures("books")
def test_billing_groups() -> None:
    put_groups()
    with CaptureQueriesContext(connection) as asked:
        found = answer(ADMIN, "billing-groups-costs")
    assert not any("usage_usagerecord" in query["sql"] for query in asked)
    chemistry, lab = found["billingGroups"]["Chemistry"], found["billingGroups"]["Lab"]
    assert chemistry["groupInfo"] == {
        "name": "Chemistry", "createdBy": "root", "rateLimit": {"period": "Monthly", "rate": 200.0},
        "directMemberCount": 2, "indirectMemberCount": 1, "totalMemberCount": 3,
    }  # fmt: skip
    assert chemistry["costs"] == {
        "total": 19.75, "daily": 17.75, "monthly": 2.0, "avgPerMember": 19.75 / 3,
        "percentOfPlatform": 19_750_000 * 100 / 19_750_001,
    }  # fmt: skip
    members = chemistry["members"]
    how = [(one["email"], one["membershipType"], one["via"], one["path"]) for one in members["all"]]
    assert how == [
        ("bob", "indirect", "Grads", ["Chemistry", "Grads"]),
        ("alice", "direct", None, ["Chemistry"]),
        ("carol", "direct", None, ["Chemistry"]),
    ]
    assert (members["direct"], members["indirect"]) == (members["all"][1:], members["all"][:1])
    assert members["topSpenders"] == members["all"]
    assert members["all"][1]["accounts"] == ALICES_ACCOUNTS
    assert (lab["costs"]["total"], lab["groupInfo"]["rateLimit"]) == (3.75, None)
    # Alice is in both groups, and has spent her money once.
    assert found["summary"] == {"totalBillingGroups": 2, "totalUsers": 3, "totalCost": 19.75, "timestamp": STAMP}


def test_groups_that_include_each_other_end() -> None:
    groups = get_stores().groups
    groups.put(Group(id="A", name="A", kind="amplify", members={"alice": Role.READ}, is_billing_group=True))
    groups.put(Group(id="B", name="B", kind="amplify", includes=frozenset({"A"}), is_billing_group=True))
    first = groups.get("A")
    assert first is not None
    groups.put(replace(first, includes=frozenset({"B"})))
    spend("alice", 1_000_000, at=NOW)
    found = answer(ADMIN, "billing-groups-costs")
    assert [one["costs"]["total"] for one in found["billingGroups"].values()] == [1.0, 1.0]
    assert found["summary"]["totalCost"] == 1.0


def test_no_billing_groups_at_all() -> None:
    found = answer(ADMIN, "billing-groups-costs")
    assert found == {
        "billingGroups": {},
        "summary": {"totalBillingGroups": 0, "totalUsers": 0, "totalCost": 0.0, "timestamp": STAMP},
    }


@pytest.mark.usefixtures("books")
@pytest.mark.parametrize("who", [ALICE, BOB, BY_KEY, BY_DELEGATE_KEY], ids=["alice", "bob", "key", "delegate key"])
def test_other_peoples_costs_are_for_administrators(who: Principal) -> None:
    refused = [
        *(call(who, name) for name in ("list-all-user-mtd-costs", "billing-groups-costs")),
        *(call(who, name, {"email": "carol"}) for name in ("mtd-cost", "user-cost-history")),
        call(who, "api-key-user-cost", {"apiKeys": [LENT], "email": "carol"}),
    ]
    assert {(reply.status, reply.json["error"], reply.json["message"]) for reply in refused} == {
        (403, NOT_AN_ADMIN, NOT_AN_ADMIN)
    }
    # Nor does it help to name somebody where nobody is asked for.
    assert answer(who, "list-user-mtd-costs", {"email": "carol"})["email"] == who.user_id


def test_a_key_administers_nothing_whoever_owns_it() -> None:
    """`is_admin` is never set for a key (`accounts.directory`); here it is what stands in the principal that counts."""
    by_key = Principal(user_id="root", api_key_id="root/ownerKey/1")
    assert call(by_key, "list-all-user-mtd-costs").status == 403


@pytest.mark.usefixtures("books")
@pytest.mark.parametrize(
    ("who", "month", "accounts", "months"),
    [
        (BY_KEY, 3.75, 3, 3),
        (CHAT_ONLY, 2.5, 1, 2),
        (BY_DELEGATE_KEY, 16.0, 1, 1),
        (BY_SYSTEM_KEY, 0.000001, 1, 1),
    ],
    ids=["own key", "own key for chat", "delegate key", "system key"],
)
def test_what_a_key_is_shown(who: Principal, month: float, accounts: int, months: int) -> None:
    """An owner key with full access: all of its owner's. Others: what they have spent themselves."""
    spend("bob", 99, at=NOW)  # without the key
    spend(SYSTEM_ID, 99, at=NOW, api_key_id="alice/systemKey/other")
    assert answer(who, "mtd-cost")["MTD Cost"] == month
    assert len(answer(who, "list-user-mtd-costs")["accounts"]) == accounts
    assert answer(who, "user-cost-history")["summary"]["monthCount"] == months


@pytest.mark.parametrize("operation", OPERATIONS)
def test_nobody_is_answered_without_a_credential(operation: str) -> None:
    for refusal, status in ((Unauthorized(), 401), (Forbidden("API key has expired."), 403)):
        reply = ask(refusal, "POST", f"/billing/{operation}/", {"data": {}})
        assert (reply.status, reply.json["message"]) == (status, refusal.message)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_bodies_that_are_none(operation: str) -> None:
    for raw in (b"{", b"\xff", b'{"data": NaN}'):
        reply = ask(ADMIN, "POST", f"/billing/{operation}/", raw=raw)
        assert (reply.status, reply.json["error"]) == (400, "Invalid JSON in request body")
    for body in ([], "data", 7, {"data": []}, {"data": "x"}, {"data": 0}):
        assert ask(ADMIN, "POST", f"/billing/{operation}/", body).status == 400, body


@pytest.mark.parametrize("operation", sorted({*OPERATIONS} - {"api-key-user-cost"}))
def test_who_asks_for_nothing_in_particular_need_not_say_so(operation: str) -> None:
    for raw in (b"", b"{}", b"null", b'{"data": null}', b'{"data": {}, "options": {"model": {"id": "m"}}, "more": 1}'):
        assert ask(ADMIN, "POST", f"/billing/{operation}/", raw=raw).status == 200, raw


@pytest.mark.parametrize(
    ("operation", "data", "words"),
    [
        *(
            ("list-all-user-mtd-costs", {"pageSize": size}, "pageSize")
            for size in (0, -1, 501, 10**30, "50", 1.5, True)
        ),
        *(
            ("list-all-user-mtd-costs", {"lastEvaluatedKey": key}, "lastEvaluatedKey")
            for key in ("alice", {"x": 1}, {"id": ""}, {"id": 7}, {"id": "a\0"}, [1])
        ),
        *(("user-cost-history", {"monthsBack": months}, "monthsBack") for months in (0, -3, 121, "12", 0.5, False)),
        *(("mtd-cost", {"email": email}, "Email is required") for email in ("", 7, [], "a\0b", "a" * 601)),
        *(
            ("api-key-user-cost", {"apiKeys": keys}, "apiKeys")
            for keys in (None, [], "x", [7], [""], ["a\0"], ["x"] * 101, {"a": 1})
        ),
    ],
)
def test_what_is_asked_for_wrongly(operation: str, data: Any, words: str) -> None:
    reply = call(ADMIN, operation, data)
    assert reply.status == 400 and words in reply.json["error"], reply.json


@pytest.mark.usefixtures("books")
@pytest.mark.parametrize("operation", OPERATIONS)
def test_books_that_cannot_be_read_are_503(operation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any, **__: Any) -> Any:
        raise OperationalError("pulled: secret of the database")

    monkeypatch.setattr("usage.own_counters.beginning", away)
    monkeypatch.setattr("usage.own_counters.midnight", away)
    reply = call(ADMIN, operation, {"apiKeys": [OWN]})
    assert (reply.status, reply.json["code"]) == (503, "unavailable")
    assert "secret" not in str(reply.json)


def test_only_a_post_is_an_operation() -> None:
    assert ask(ALICE, "GET", "/billing/mtd-cost/").status == 405
