"""The store in the platform's tables, in a moto server of its own: the contract, and rows as others write them."""

import socket
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import pytest
from structlog.testing import capture_logs

from accounts.keys import hash_key, new_key
from accounts.limits import Period, SpendLimit
from accounts.stores import Account, Group, Role, Stores, rows
from accounts.stores.dynamodb import DynamoGroups, dynamodb_stores
from accounts.stores.testing import MONTHLY, StoresContract, amplify, create_tables, group, record, someone
from core import dynamodb
from core.errors import BadRequest, ConfigurationError, Conflict, Unavailable
from tests.harness import CANARY, Answer, Service, running_service
from tests.moto import REGION, running_moto


class Platform:
    """The platform's tables, and its other services' hands on them."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._resource = boto3.resource(
            "dynamodb", region_name=REGION, endpoint_url=url, aws_access_key_id="x", aws_secret_access_key="x"
        )
        self.names = create_tables(self._resource.meta.client, f"{uuid4()}-")

    def table(self, use: str) -> Any:
        return self._resource.Table(self.names[use])

    def make_table(self, use: str, key: str) -> Any:
        """One more, that is not the stores'."""
        self.names[use] = f"{uuid4()}-{use}"
        return self._resource.create_table(
            TableName=self.names[use],
            KeySchema=[{"AttributeName": key, "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )

    def put(self, use: str, **item: Any) -> None:
        self.table(use).put_item(Item=item)

    def item(self, use: str, **key: str) -> dict[str, Any]:
        return dict(self.table(use).get_item(Key=key)["Item"])

    def put_amplify_group(self, group_id: str, **entry: Any) -> None:
        """As the platform does: the whole map is written again."""
        there = self.table("admin").get_item(Key={"config_id": "amplifyGroups"}).get("Item", {})
        data = {**there.get("data", {}), group_id: entry}
        self.put("admin", config_id="amplifyGroups", data=data, last_updated="2025-01-01T00:00:00")

    def amplify_groups(self) -> dict[str, Any]:
        return dict(self.item("admin", config_id="amplifyGroups")["data"])

    def stores(self) -> Stores:
        return dynamodb_stores(self.names, region=REGION)


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    with running_moto() as url:
        yield Platform(url)


@pytest.fixture(autouse=True)
def aws(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", platform.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", f"{CANARY}-id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", f"{CANARY}-key")


@pytest.fixture
def stores(platform: Platform) -> Stores:
    return platform.stores()


class TestContract(StoresContract):
    @pytest.fixture(autouse=True)
    def stores(self, platform: Platform) -> Stores:
        self.platform = platform
        return platform.stores()

    def add_person(self, user_id: str, *, admin: bool = False) -> None:
        self.platform.put("users", user_id=user_id)
        if admin:
            self.platform.put("admin", config_id="admins", data=[user_id], last_updated="2025-01-01")


FULL = {
    "owner": "jdoe@example.edu",
    "account": {"id": "123.45.67890.1234.567.890.123.456.7", "name": "Lab grant", "isDefault": True},
    "delegate": None,
    "systemId": None,
    "active": True,
    "applicationName": "Scheduling app",
    "applicationDescription": "Plans rooms.",
    "createdAt": "2025-06-01T12:00:00+00:00",
    "lastAccessed": "2025-08-01T14:05:09.123Z",
    "rateLimit": {"period": "Monthly", "rate": Decimal(50)},
    "expirationDate": "2026-01-31",
    "accessTypes": ["full_access"],
    "purpose": None,
}


def put_key(platform: Platform, kind: str = "owner", **more: Any) -> tuple[str, str]:
    """Id and key of a row as the platform's services write it; None leaves an attribute out."""
    key = more.pop("key", None) or new_key()
    row = {"api_owner_id": f"jdoe@example.edu/{kind}Key/{uuid4()}", "apiKey": rows.stored_form(key), **FULL, **more}
    platform.put("keys", **{name: value for name, value in row.items() if value is not ...})
    return row["api_owner_id"], key


def test_a_key_of_the_platform(platform: Platform, stores: Stores) -> None:
    key_id, key = put_key(platform)
    found = stores.keys.find([key])[key]
    assert found == stores.keys.get(key_id)
    assert (found.kind, found.user_id, found.name) == ("owner", "jdoe@example.edu", "Scheduling app")
    assert (found.account_id, found.account_name) == ("123.45.67890.1234.567.890.123.456.7", "Lab grant")
    assert found.expires_at == datetime(2026, 1, 31, tzinfo=UTC)
    assert found.created_at == datetime(2025, 6, 1, 12, tzinfo=UTC)
    assert found.last_used_at == datetime(2025, 8, 1, 14, 5, 9, 123_000, tzinfo=UTC)
    assert found.limit == SpendLimit(period=Period.MONTHLY, micro_dollars=50_000_000)
    assert found.access_types == {"full_access"}


def test_a_group_key_with_most_of_it_missing(platform: Platform, stores: Stores) -> None:
    """Plain text, without a name, an expiry or a limit (billing-and-state §5.1)."""
    key = f"amp-{uuid4()}"
    platform.put(
        "keys",
        api_owner_id=(key_id := f"Chem/systemKey/{uuid4()}"),
        owner="Chem_1",
        systemId="Chem_1",
        apiKey=key,
        active=True,
        account={"id": "group_account", "name": "No COA Required"},
        accessTypes=[["chat", "assistants"], "share"],
        rateLimit={"period": "Unlimited", "rate": None},
        purpose="group",
    )
    found = stores.keys.find([key])[key]
    assert (found.id, found.user_id, found.account_id) == (key_id, "Chem_1", "group_account")
    assert found.access_types == {"chat", "assistants", "share"}
    assert (found.limit, found.expires_at, found.name, found.purpose) == (None, None, "", "group")


def test_the_key_itself_is_stored_nowhere(platform: Platform, stores: Stores) -> None:
    stores.keys.add(made := record(), key := new_key())
    row = platform.item("keys", api_owner_id=made.id)
    assert row["apiKey"] == hash_key(key) and len(row["apiKey"]) == 128
    assert key not in str(row)


def test_the_hash_of_a_key_is_no_key(platform: Platform, stores: Stores) -> None:
    _, key = put_key(platform)
    assert stores.keys.find([hash_key(key), "MIGRATED"]) == {}


def test_an_index_that_is_behind_opens_nothing(
    platform: Platform, stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What moto's never is, and DynamoDB's may be: it answers as before the rotation, the revocation, the deletion."""
    stores.keys.add(kept := record(), old := new_key())
    stores.keys.add(revoked := record(), key := new_key())
    query = dynamodb.Table.query
    before = {form: query(stores.keys._table, "ApiKeyIndex", "apiKey", form) for form in map(hash_key, (old, key))}  # type: ignore[attr-defined]
    stores.keys.replace(kept, kept, new := new_key())
    stores.keys.replace(revoked, replace(revoked, active=False))
    monkeypatch.setattr(
        dynamodb.Table, "query", lambda table, index, name, value: before.get(value) or query(table, index, name, value)
    )
    found = stores.keys.find([old, key, new])
    assert found == {key: replace(revoked, active=False), new: kept}
    platform.table("keys").delete_item(Key={"api_owner_id": revoked.id})
    assert stores.keys.find([key]) == {}


def test_a_delegate_key_that_waits_to_be_rotated_is_marked_as_the_platform_marks_it(
    platform: Platform, stores: Stores
) -> None:
    stores.keys.add(waiting := record(kind="delegate"), None)
    assert platform.item("keys", api_owner_id=waiting.id)["apiKey"] == "MIGRATED"


@pytest.mark.parametrize(
    ("written", "means"),
    [
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
        ("2026-01-31T10:00:00Z", datetime(2026, 1, 31, 10, tzinfo=UTC)),
        ("2026-01-31T10:00:00", datetime(2026, 1, 31, 10, tzinfo=UTC)),
        ("2026-01-31T10:00:00+02:00", datetime(2026, 1, 31, 8, tzinfo=UTC)),
        ("", None),
        (None, None),
        ("next year", datetime.min.replace(tzinfo=UTC)),
        (Decimal(1800000000), datetime.min.replace(tzinfo=UTC)),
    ],
)
def test_when_a_key_expires(written: Any, means: datetime | None) -> None:
    """A date that cannot be read has been: the platform's comparison is false then, too."""
    found = rows.key_of({**FULL, "api_owner_id": "a/ownerKey/1", "expirationDate": written}).expires_at
    assert found == means


@pytest.mark.parametrize("rate", [{"period": "Monthly", "rate": None}, {"period": "Weekly", "rate": 5}, "much", [1]])
def test_a_limit_that_cannot_be_read_lets_nothing_be_spent(rate: Any) -> None:
    with capture_logs() as logs:
        found = rows.key_of({**FULL, "api_owner_id": "a/ownerKey/1", "rateLimit": rate})
    assert found.limit == SpendLimit(period=Period.TOTAL, micro_dollars=0)
    assert [(line["event"], line["of"]) for line in logs] == [("limit_not_readable", "a/ownerKey/1")]


@pytest.mark.parametrize("account", [None, {}, {"name": "no id"}, "123", {"id": None}])
def test_a_key_without_a_valid_account_says_so(account: Any) -> None:
    assert rows.key_of({**FULL, "api_owner_id": "a/ownerKey/1", "account": account}).account_id == ""


@pytest.mark.parametrize("row", [{}, {"api_owner_id": 1, "active": "", "accessTypes": "chat", "owner": ["x"]}])
def test_a_row_that_makes_no_sense_opens_nothing(row: dict[str, Any]) -> None:
    found = rows.key_of(row)
    assert (found.id, found.owner, found.active, found.access_types) == ("", "", False, frozenset())


def test_what_the_platform_keeps_in_a_key_survives_our_writes(platform: Platform, stores: Stores) -> None:
    key_id, key = put_key(platform, hiddenNote="keep", tags=["a"])
    found = stores.keys.find([key])[key]
    stores.keys.replace(found, replace(found, name="Rooms"), other := new_key())
    stores.keys.touch({key_id: datetime(2031, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)})
    assert platform.item("keys", api_owner_id=key_id) == {
        **FULL,
        "api_owner_id": key_id,
        "apiKey": hash_key(other),
        "applicationName": "Rooms",
        "lastAccessed": "2031-01-02T03:04:05.678Z",
        "hiddenNote": "keep",
        "tags": ["a"],
    }


def test_a_key_that_we_make_is_a_row_as_the_platform_writes_it(platform: Platform, stores: Stores) -> None:
    made = record(
        "jdoe@example.edu",
        name="Rooms",
        account_id="1.2",
        account_name="Lab",
        limit=MONTHLY,
        expires_at=datetime(2031, 1, 31, tzinfo=UTC),
        created_at=datetime(2030, 1, 2, tzinfo=UTC),
    )
    stores.keys.add(made, key := new_key())
    assert platform.item("keys", api_owner_id=made.id) == {
        "api_owner_id": made.id,
        "owner": "jdoe@example.edu",
        "delegate": None,
        "systemId": None,
        "apiKey": hash_key(key),
        "account": {"id": "1.2", "name": "Lab"},
        "active": True,
        "applicationName": "Rooms",
        "applicationDescription": "",
        "accessTypes": ["chat"],
        "createdAt": "2030-01-02T00:00:00.000Z",
        "expirationDate": "2031-01-31",
        "rateLimit": {"period": "Monthly", "rate": Decimal("12.345678")},
        "purpose": None,
    }


def test_an_expiry_that_other_services_cannot_read_is_refused(stores: Stores) -> None:
    with pytest.raises(BadRequest, match="2027-01-31"):
        stores.keys.add(record(expires_at=datetime(2031, 1, 31, 10, tzinfo=UTC)), new_key())


CHEMISTRY = {
    "createdBy": "admin@example.edu",
    "members": ["jdoe@example.edu"],
    "includeFromOtherGroups": ["ChemGrads"],
    "rateLimit": {"period": "Monthly", "rate": Decimal(200)},
    "isBillingGroup": True,
}


def test_amplify_groups_of_the_platform(platform: Platform, stores: Stores) -> None:
    name = f"Chem.{uuid4()}"
    platform.put_amplify_group(name, **CHEMISTRY)
    platform.put_amplify_group(old := str(uuid4()), groupName="Old", createdBy="x", members=[])
    found = stores.groups.all()
    assert replace(found[name], version="") == Group(
        id=name,
        kind="amplify",
        members={"jdoe@example.edu": Role.READ},
        includes=frozenset({"ChemGrads"}),
        limit=SpendLimit(period=Period.MONTHLY, micro_dollars=200_000_000),
        is_billing_group=True,
        created_by="admin@example.edu",
    )
    assert (found[old].name, found[old].limit, found[old].is_billing_group) == ("Old", None, False)


def test_assistant_groups_of_the_platform(platform: Platform, stores: Stores) -> None:
    platform.put(
        "groups",
        group_id=(group_id := f"Chem_{uuid4()}"),
        groupName="Chem",
        members={"jdoe@example.edu": "admin", "amy": "read", "zoe": "owner"},
        assistants=[],
        createdBy="jdoe@example.edu",
        createdAt="2025-01-01",
        groupTypes=[],
        amplifyGroups=["Chemistry"],
        systemUsers=["Scheduling-app-482113"],
        isPublic=False,
    )
    found = stores.groups.get(group_id)
    assert found is not None and found == stores.groups.all()[group_id]
    assert dict(found.members) == {"jdoe@example.edu": Role.ADMIN, "amy": Role.READ, "zoe": Role.READ}
    assert found.includes == {"Chemistry"} and found.system_users == {"Scheduling-app-482113"}
    assert (found.name, found.kind, found.is_public) == ("Chem", "assistant", False)


def test_one_group_is_changed_and_the_platforms_own_facts_stay(platform: Platform, stores: Stores) -> None:
    name, neighbour = str(uuid4()), str(uuid4())
    platform.put_amplify_group(name, **CHEMISTRY, colour="green")
    platform.put_amplify_group(neighbour, createdBy="y", members=["z"], includeFromOtherGroups=[])
    found = stores.groups.all()[name]
    stores.groups.put(replace(found, members={"amy": Role.READ}))
    groups = platform.amplify_groups()
    assert groups[name] == {**CHEMISTRY, "members": ["amy"], "colour": "green"}
    assert groups[neighbour] == {"createdBy": "y", "members": ["z"], "includeFromOtherGroups": []}


def test_an_assistant_group_keeps_its_assistants(platform: Platform, stores: Stores) -> None:
    stores.groups.put(made := group(members={"ann": Role.ADMIN}))
    row = platform.item("groups", group_id=made.id)
    assert (row["assistants"], row["groupTypes"], row["members"]) == ([], [], {"ann": "admin"})
    platform.put("groups", **row | {"assistants": [{"id": "astgp/1"}], "supportConversation": True})
    found = stores.groups.get(made.id)
    assert found is not None
    stores.groups.put(replace(found, name="new"))
    after = platform.item("groups", group_id=made.id)
    assert after == row | {"assistants": [{"id": "astgp/1"}], "supportConversation": True, "groupName": "new"}


def test_the_first_amplify_group_of_all(platform: Platform) -> None:
    with running_moto() as url, pytest.MonkeyPatch.context() as env:
        env.setenv("AWS_ENDPOINT_URL", url)
        fresh = Platform(url)
        assert fresh.stores().groups.all() == {} and fresh.stores().people.admins() == frozenset()
        fresh.stores().groups.put(first := amplify())
        assert list(fresh.amplify_groups()) == [first.id]


class _Overtaken(dynamodb.Table):
    """Somebody else writes in the moment between our read and our write."""

    def __init__(self, table: str, other: Any) -> None:
        super().__init__(table, region=REGION)
        self._other = other

    def update(self, *args: Any, **kwargs: Any) -> None:
        self._other()
        super().update(*args, **kwargs)


def overtaken(platform: Platform, other: Any) -> DynamoGroups:
    tables = (_Overtaken(platform.names[use], other) for use in ("groups", "admin"))
    return DynamoGroups(*tables)


def test_what_another_service_does_to_an_amplify_group_meanwhile_is_not_lost(platform: Platform) -> None:
    platform.put_amplify_group(name := str(uuid4()), **CHEMISTRY)
    theirs = CHEMISTRY | {"members": ["new@example.edu"]}
    groups = overtaken(platform, lambda: platform.put_amplify_group(name, **theirs))
    with pytest.raises(Conflict):
        groups.put(replace(groups.all()[name], name="ours"))
    assert platform.amplify_groups()[name] == theirs


def test_what_another_service_does_to_an_assistant_group_meanwhile_is_not_lost(
    platform: Platform, stores: Stores
) -> None:
    stores.groups.put(made := group(members={"ann": Role.ADMIN}))
    theirs = platform.item("groups", group_id=made.id) | {"members": {"ann": "admin", "zoe": "read"}}
    groups = overtaken(platform, lambda: platform.put("groups", **theirs))
    with pytest.raises(Conflict):
        groups.put(replace(groups.all()[made.id], name="ours"))
    assert platform.item("groups", group_id=made.id) == theirs


def test_an_amplify_group_that_two_make_at_once_is_the_firsts(platform: Platform) -> None:
    new = amplify(name="ours")
    groups = overtaken(platform, lambda: platform.put_amplify_group(new.id, **CHEMISTRY))
    with pytest.raises(Conflict):
        groups.put(new)
    assert platform.amplify_groups()[new.id] == CHEMISTRY


def test_a_change_of_a_neighbour_is_no_conflict(platform: Platform, stores: Stores) -> None:
    platform.put_amplify_group(name := str(uuid4()), **CHEMISTRY)
    found = stores.groups.all()[name]
    platform.put_amplify_group(str(uuid4()), **CHEMISTRY)
    stores.groups.put(replace(found, members={}))
    assert platform.amplify_groups()[name]["members"] == []


def test_a_group_that_includes_one_that_is_gone_can_still_be_changed(platform: Platform, stores: Stores) -> None:
    platform.put_amplify_group(name := str(uuid4()), **CHEMISTRY)  # nobody has made ChemGrads
    stores.groups.put(replace(stores.groups.all()[name], members={"amy": Role.READ}))
    assert platform.amplify_groups()[name]["includeFromOtherGroups"] == ["ChemGrads"]


def test_accounts_of_the_platform(platform: Platform, stores: Stores) -> None:
    unlimited = {"period": "Unlimited", "rate": None}
    lab = {"id": "1.2", "name": "Lab grant", "isDefault": True, "rateLimit": unlimited}
    platform.put("accounts", user=(user := someone()), accounts=[lab, {"id": "3"}, "?", {}], theme="dark")
    assert stores.accounts.of_user(user) == [Account(id="1.2", name="Lab grant", is_default=True), Account(id="3")]
    stores.accounts.save(user, [Account(id="9", limit=MONTHLY), Account(id="1.2", name="Lab")])
    assert platform.item("accounts", user=user) == {
        "user": user,
        "theme": "dark",
        "accounts": [
            {
                "id": "9",
                "name": "",
                "isDefault": False,
                "rateLimit": {"period": "Monthly", "rate": Decimal("12.345678")},
            },
            {**lab, "name": "Lab", "isDefault": False},
        ],
    }


def test_a_table_of_many_pages_is_read_to_its_end(platform: Platform, stores: Stores) -> None:
    """A page holds 1 MB."""
    ids = {f"big-{uuid4()}" for _ in range(4)}
    for group_id in ids:
        platform.put("groups", group_id=group_id, description="x" * 350_000)
    assert ids <= stores.groups.all().keys()
    for group_id in ids:
        stores.groups.remove(group_id)


@pytest.mark.parametrize("missing", ["keys", "groups", "admin", "users", "accounts"])
def test_a_table_without_a_name_is_said_at_the_start(platform: Platform, missing: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^[A-Z_]+_(DYNAMODB|DYNAMO)_TABLE is not set"):
        dynamodb_stores(platform.names | {missing: ""}, region=REGION)


def everything(stores: Stores, key: str) -> list[Any]:
    """A call of each method that asks a table."""
    user, one = someone(), record()
    return [
        lambda: stores.keys.find([key] * 3),
        lambda: stores.keys.get(one.id),
        lambda: stores.keys.of_user(user),
        lambda: stores.keys.add(one, key),
        lambda: stores.keys.replace(one, one, key),
        lambda: stores.keys.touch({one.id: datetime.now(UTC)}),
        stores.groups.all,
        lambda: stores.groups.get("x"),
        lambda: stores.groups.put(group()),
        lambda: stores.groups.put(amplify()),
        lambda: stores.groups.remove("x"),
        lambda: stores.accounts.of_user(user),
        lambda: stores.accounts.save(user, []),
        lambda: stores.people.knows(user),
        lambda: stores.people.is_admin(user),
        stores.people.admins,
    ]


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "no address"])
def test_a_store_that_is_away_is_unavailable_and_leaves_one_line(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    for call in everything(platform.stores(), f"amp-{CANARY}-{'x' * 30}"):
        with capture_logs() as logs, pytest.raises(Unavailable):
            call()
        assert [line["event"] for line in logs] == ["store_failed"]
        assert CANARY not in str(logs) and logs[0]["hint"]


def test_a_table_that_does_not_exist_is_said(platform: Platform) -> None:
    stores = dynamodb_stores(platform.names | {"keys": "not-there"}, region=REGION)
    with capture_logs() as logs, pytest.raises(Unavailable):
        stores.keys.find([new_key()])
    assert (logs[0]["table"], logs[0]["reason"]) == ("not-there", "ResourceNotFoundException")
    assert "AWS_REGION" in logs[0]["hint"]


def test_a_table_that_answers_nothing_is_given_up_within_seconds(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dynamodb, "READ", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent, capture_logs() as logs:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(Unavailable):
            platform.stores().people.knows("ann")
    assert [line["reason"] for line in logs] == ["ReadTimeoutError"]


def settings(platform: Platform) -> dict[str, str]:
    """A service's environment on the platform's tables."""
    return {
        "AWS_ENDPOINT_URL": platform.url,
        "AWS_REGION": REGION,
        "AWS_ACCESS_KEY_ID": f"{CANARY}-id",
        "AWS_SECRET_ACCESS_KEY": f"{CANARY}-key",
        "STATE_BACKEND": "dynamodb",
        "API_KEYS_DYNAMODB_TABLE": platform.names["keys"],
        "ASSISTANT_GROUPS_DYNAMO_TABLE": platform.names["groups"],
        "AMPLIFY_ADMIN_DYNAMODB_TABLE": platform.names["admin"],
        "COGNITO_USERS_DYNAMODB_TABLE": platform.names["users"],
        "ACCOUNTS_DYNAMO_TABLE": platform.names["accounts"],
    }


async def models(service: Service, key: str) -> Answer:
    return await service.ask(path="/v1/models", method="GET", key=key)


async def test_a_service_on_the_platforms_tables(platform: Platform, tmp_path: Path) -> None:
    good = {"expirationDate": None, "lastAccessed": "2025-01-01T00:00:00.000Z"}
    used, modern = put_key(platform, **good)
    _, legacy = put_key(platform, kind="system", systemId="App-1", key=f"amp-{uuid4()}", **good)
    _, expired = put_key(platform)
    _, revoked = put_key(platform, **good, active=False)
    _, other = put_key(platform, **good | {"accessTypes": ["share"]})
    with running_service(tmp_path, **settings(platform)) as service:
        answers = [await models(service, key) for key in (service.key, modern, legacy, expired, revoked, other)]
        assert [answer.status for answer in answers] == [200, 200, 200, 403, 403, 403]
        assert (await models(service, f"amp-{CANARY}-{uuid4()}")).status == 404
        assert service.stop() == 0
    assert platform.item("keys", api_owner_id=used)["lastAccessed"] > "2026"
    assert CANARY not in service.log and not [key for key in (modern, legacy) if key in service.log]
