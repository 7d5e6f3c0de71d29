"""The suite that every backend passes, and the platform's tables for those tests that need them.

A backend's tests subclass `StoresContract` under a name that pytest collects, with a fixture `stores`. It may be
shared, as every test uses ids of its own.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from uuid import uuid4

import pytest

from accounts.keys import key_id, new_key
from accounts.limits import Period, SpendLimit
from accounts.principal import KeyKind
from accounts.stores import Account, Group, KeyRecord, Role, Stores, changed
from core.errors import BadRequest, Conflict, NotFound

__all__ = ["PLATFORM_TABLES", "StoresContract", "create_tables", "group", "record"]

# Hash keys and indexes (billing-and-state §2.7 to 2.10), by the keys of `settings.STATE_TABLES`.
PLATFORM_TABLES = {
    "keys": ("api_owner_id", {"ApiKeyIndex": "apiKey"}),
    "groups": ("group_id", {}),
    "admin": ("config_id", {}),
    "users": ("user_id", {}),
    "accounts": ("user", {}),
}
MONTHLY = SpendLimit(period=Period.MONTHLY, micro_dollars=12_345_678)


def create_tables(client: Any, prefix: str) -> dict[str, str]:
    """Make the platform's tables by a boto3 client of DynamoDB; returns their names, for `dynamodb_stores`."""
    for use, (key, indexes) in PLATFORM_TABLES.items():
        named = {"GlobalSecondaryIndexes": [_index(name, attribute) for name, attribute in indexes.items()]}
        client.create_table(
            TableName=f"{prefix}{use}",
            KeySchema=[{"AttributeName": key, "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in (key, *indexes.values())],
            BillingMode="PAY_PER_REQUEST",
            **(named if indexes else {}),
        )
    return {use: f"{prefix}{use}" for use in PLATFORM_TABLES}


def _index(name: str, attribute: str) -> dict[str, Any]:
    return {
        "IndexName": name,
        "KeySchema": [{"AttributeName": attribute, "KeyType": "HASH"}],
        "Projection": {"ProjectionType": "ALL"},
    }


def record(owner: str = "", kind: KeyKind = "owner", **facts: Any) -> KeyRecord:
    """A key of somebody new."""
    owner = owner or someone()
    acts_as = {"owner": {}, "delegate": {"delegate": someone()}, "system": {"system_id": f"App-{uuid4()}"}}[kind]
    now = datetime.now(UTC).replace(microsecond=0)
    return KeyRecord(
        id=key_id(owner, kind),
        owner=owner,
        **{"created_at": now, "access_types": frozenset({"chat"}), **acts_as, **facts},
    )


def group(**facts: Any) -> Group:
    return Group(**{"id": f"group {uuid4()}", "created_by": "ann", **facts})


def amplify(**facts: Any) -> Group:
    return group(kind="amplify", **facts)


def someone() -> str:
    return f"user-{uuid4()}@example.edu"


class _Told:
    """What this process says has changed."""

    def __init__(self) -> None:
        self.whats: list[str] = []
        changed.connect(self._hear)

    def _hear(self, what: str, **_: Any) -> None:
        self.whats.append(what)


class StoresContract:
    """What a backend keeps and refuses."""

    missing_key: ClassVar[str] = f"amp-v1-{'x' * 43}"

    @pytest.fixture
    def stores(self) -> Stores:
        raise NotImplementedError

    @pytest.fixture
    def told(self) -> _Told:
        return _Told()

    # Keys.

    @pytest.mark.parametrize("kind", ["owner", "delegate", "system"])
    def test_a_key_comes_back_as_it_was_added(self, stores: Stores, kind: KeyKind) -> None:
        midnight = datetime(2031, 2, 3, tzinfo=UTC)
        full = record(
            kind=kind,
            name="Scheduling app",
            description="Plans rooms.",
            account_id="123.45",
            account_name="Lab grant",
            access_types=frozenset({"chat", "assistants"}),
            expires_at=midnight,
            limit=MONTHLY,
            purpose="group",
        )
        stores.keys.add(full, key := new_key())
        assert stores.keys.find([key]) == {key: full}
        assert stores.keys.get(full.id) == full

    def test_a_key_with_nothing_but_its_owner(self, stores: Stores) -> None:
        stores.keys.add(bare := record(access_types=frozenset()), key := new_key())
        assert stores.keys.find([key]) == {key: bare}

    def test_legacy_keys_are_found_by_what_they_are(self, stores: Stores) -> None:
        stores.keys.add(old := record(kind="system"), key := f"amp-{uuid4()}")
        assert stores.keys.find([key]) == {key: old}

    def test_many_are_found_at_once_and_only_those_that_are_there(self, stores: Stores) -> None:
        records = {new_key(): record() for _ in range(3)}
        for key, one in records.items():
            stores.keys.add(one, key)
        wrong = [new_key() for _ in range(20)]
        assert stores.keys.find([*wrong, *records, self.missing_key]) == records
        assert stores.keys.find([]) == {}

    def test_a_key_that_shares_all_but_its_end_is_another(self, stores: Stores) -> None:
        stores.keys.add(record(), key := new_key())
        other = key[:-1] + ("A" if key[-1] != "A" else "B")
        assert stores.keys.find([other]) == {}

    def test_a_key_without_a_key_matches_nothing_until_it_is_given_one(self, stores: Stores) -> None:
        for _ in range(2):  # several may wait for theirs
            stores.keys.add(waiting := record(kind="delegate"), None)
        assert stores.keys.find(["MIGRATED", "", "None"]) == {}
        stores.keys.replace(waiting, waiting, key := new_key())
        assert stores.keys.find([key]) == {key: waiting}

    def test_an_id_is_given_once(self, stores: Stores) -> None:
        stores.keys.add(first := record(), key := new_key())
        with pytest.raises(Conflict):
            stores.keys.add(replace(first, name="again"), new_key())
        assert stores.keys.find([key])[key].name == ""

    def test_a_key_that_acts_as_nobody_is_refused(self, stores: Stores) -> None:
        with pytest.raises(BadRequest):
            stores.keys.add(record(kind="delegate", delegate=None), new_key())
        with pytest.raises(BadRequest):
            stores.keys.add(record(owner="x" * 250), new_key())

    def test_replacing_a_record_keeps_its_key(self, stores: Stores, told: _Told) -> None:
        stores.keys.add(old := record(limit=MONTHLY), key := new_key())
        changes: dict[str, Any] = {"name": "new", "active": False, "limit": None, "account_id": "other"}
        stores.keys.replace(old, replace(old, **changes))
        assert stores.keys.find([key]) == {key: replace(old, **changes)}
        assert "keys" in told.whats

    def test_rotation_makes_the_new_key_good_and_the_old_one_not(self, stores: Stores) -> None:
        stores.keys.add(kept := record(), old := new_key())
        stores.keys.replace(kept, kept, new := new_key())
        assert stores.keys.find([old, new]) == {new: kept}

    def test_a_revoked_key_stays_so_whoever_has_read_it_before(self, stores: Stores) -> None:
        stores.keys.add(read_before := record(), key := new_key())
        stores.keys.replace(read_before, replace(read_before, active=False))
        for late in (None, new_key()):
            with pytest.raises(Conflict):
                stores.keys.replace(read_before, replace(read_before, name="late"), late)
        assert not stores.keys.find([key])[key].active

    @pytest.mark.parametrize("taken", [{"limit": MONTHLY}, {"access_types": frozenset({"share"})}, {"name": "other"}])
    def test_what_was_taken_from_a_key_is_not_given_back_by_a_change_begun_before(
        self, stores: Stores, taken: dict[str, Any]
    ) -> None:
        stores.keys.add(read_before := record(access_types=frozenset({"chat", "share"})), key := new_key())
        stores.keys.replace(read_before, less := replace(read_before, **taken))
        for late in (None, new_key()):
            with pytest.raises(Conflict):
                stores.keys.replace(read_before, replace(read_before, description="late"), late)
        assert stores.keys.find([key]) == {key: less}

    def test_a_use_of_a_key_is_no_change_of_it_and_a_revocation_waits_for_nobody(self, stores: Stores) -> None:
        stores.keys.add(read_before := record(), key := new_key())
        stores.keys.touch({read_before.id: datetime.now(UTC)})
        stores.keys.replace(read_before, replace(read_before, name="other"))
        stores.keys.replace(read_before, replace(read_before, active=False))
        assert not stores.keys.find([key])[key].active

    def test_what_is_not_there_cannot_be_replaced(self, stores: Stores) -> None:
        with pytest.raises(NotFound):
            stores.keys.replace(ghost := record(), ghost, new_key())
        assert stores.keys.get(ghost.id) is None

    def test_keys_of_a_user_are_those_they_own_and_those_that_act_as_them(self, stores: Stores) -> None:
        ann = someone()
        now = datetime.now(UTC).replace(microsecond=0)
        older = record(owner=ann, kind="system", created_at=now - timedelta(days=2))
        theirs = record(kind="delegate", delegate=ann, created_at=now - timedelta(days=1))
        newest = record(owner=ann, created_at=now)
        for one in (theirs, newest, older, record(), record(kind="delegate")):
            stores.keys.add(one, new_key())
        assert stores.keys.of_user(ann) == [newest, theirs, older]
        assert stores.keys.of_user(someone()) == []

    def test_last_use_is_noted_of_many_at_once(self, stores: Stores) -> None:
        used = {record(name="a"): new_key(), record(name="b"): new_key(), record(name="c"): new_key()}
        for one, key in used.items():
            stores.keys.add(one, key)
        first, second, third = used
        now = datetime.now(UTC).replace(microsecond=0)
        stores.keys.touch({first.id: now, second.id: now - timedelta(minutes=1), record().id: now})
        assert stores.keys.get(first.id) == replace(first, last_used_at=now)
        assert stores.keys.get(second.id) == replace(second, last_used_at=now - timedelta(minutes=1))
        assert stores.keys.get(third.id) == third
        stores.keys.touch({})

    def test_noting_the_use_of_a_key_that_is_gone_brings_nothing_back(self, stores: Stores) -> None:
        stores.keys.touch({(gone := record()).id: datetime.now(UTC)})
        assert stores.keys.get(gone.id) is None

    # Groups.

    def test_an_assistant_group_comes_back_as_it_was_put(self, stores: Stores, told: _Told) -> None:
        stores.groups.put(staff := amplify())
        full = group(
            name="Chemistry course",
            members={"ann": Role.ADMIN, "bob": Role.WRITE, "cy.d@example.edu": Role.READ},
            includes=frozenset({staff.id}),
            system_users=frozenset({"Scheduling-app-482113"}),
            is_public=True,
        )
        stores.groups.put(full)
        self.assert_is_there(stores, full)
        assert "groups" in told.whats

    def test_an_amplify_group_comes_back_as_it_was_put(self, stores: Stores) -> None:
        stores.groups.put(other := amplify())
        full = amplify(
            name="Chemistry",
            members=dict.fromkeys(("ann", "bob"), Role.READ),
            includes=frozenset({other.id}),
            is_billing_group=True,
            limit=MONTHLY,
        )
        stores.groups.put(full)
        self.assert_is_there(stores, full)

    def assert_is_there(self, stores: Stores, expected: Group) -> None:
        found = stores.groups.get(expected.id)
        assert found is not None and found.version
        assert replace(found, version="") == expected
        assert stores.groups.all()[expected.id] == found

    @pytest.mark.parametrize("make", [group, amplify])
    def test_a_change_goes_in_place_of_the_state_it_was_made_from(self, stores: Stores, make: Any) -> None:
        stores.groups.put(make(id=(group_id := str(uuid4())), members={"ann": Role.READ, "bob": Role.READ}))
        first = self.get(stores, group_id)
        stores.groups.put(replace(first, name="new", members={"bob": Role.READ, "cy": Role.READ}))
        second = self.get(stores, group_id)
        assert (second.name, dict(second.members)) == ("new", {"bob": Role.READ, "cy": Role.READ})
        assert second.version != first.version
        with pytest.raises(Conflict):
            stores.groups.put(replace(first, name="from the old state"))
        assert self.get(stores, group_id) == second

    @pytest.mark.parametrize("make", [group, amplify])
    def test_no_group_is_made_twice_and_none_changed_that_is_gone(self, stores: Stores, make: Any) -> None:
        stores.groups.put(new := make())
        with pytest.raises(Conflict):
            stores.groups.put(replace(new, name="another"))
        there = self.get(stores, new.id)
        stores.groups.remove(new.id)
        with pytest.raises(Conflict):
            stores.groups.put(replace(there, name="late"))
        assert stores.groups.get(new.id) is None

    def test_roles_change(self, stores: Stores) -> None:
        stores.groups.put(group(id=(group_id := str(uuid4())), members={"ann": Role.ADMIN, "bob": Role.READ}))
        stores.groups.put(replace(self.get(stores, group_id), members={"ann": Role.READ, "bob": Role.ADMIN}))
        assert dict(self.get(stores, group_id).members) == {"ann": Role.READ, "bob": Role.ADMIN}

    def test_groups_may_include_each_other(self, stores: Stores) -> None:
        stores.groups.put(first := amplify())
        stores.groups.put(second := amplify(includes=frozenset({first.id})))
        stores.groups.put(replace(self.get(stores, first.id), includes=frozenset({second.id})))
        assert self.get(stores, first.id).includes == {second.id}
        stores.groups.put(replace(self.get(stores, first.id), includes=frozenset()))
        assert self.get(stores, first.id).includes == frozenset()

    @pytest.mark.parametrize("make", [group, amplify])
    def test_only_an_amplify_group_that_is_there_can_be_included(self, stores: Stores, make: Any) -> None:
        stores.groups.put(assistant := group())
        for included in (assistant.id, "nowhere"):
            with pytest.raises(NotFound):
                stores.groups.put(new := make(includes=frozenset({included})))
            assert stores.groups.get(new.id) is None

    @pytest.mark.parametrize(
        "bad",
        [
            amplify(members={"ann": Role.ADMIN}),
            amplify(is_public=True),
            amplify(system_users=frozenset({"App-1"})),
            group(limit=MONTHLY),
            group(is_billing_group=True),
            group(id=""),
            group(id="itself", includes=frozenset({"itself"})),
        ],
        ids=["roles", "public", "systems", "limit", "billing", "no id", "itself"],
    )
    def test_what_a_kind_of_group_cannot_have_is_refused(self, stores: Stores, bad: Group) -> None:
        with pytest.raises(BadRequest):
            stores.groups.put(bad)

    def test_a_group_that_another_includes_stays(self, stores: Stores, told: _Told) -> None:
        stores.groups.put(inner := amplify())
        stores.groups.put(outer := group(includes=frozenset({inner.id})))
        with pytest.raises(Conflict):
            stores.groups.remove(inner.id)
        assert stores.groups.get(inner.id) is not None
        told.whats.clear()
        stores.groups.remove(outer.id)
        stores.groups.remove(inner.id)
        assert "groups" in told.whats
        assert stores.groups.get(inner.id) is stores.groups.get(outer.id) is None
        assert not {inner.id, outer.id} & stores.groups.all().keys()

    def test_what_is_not_there_cannot_be_removed(self, stores: Stores) -> None:
        with pytest.raises(NotFound):
            stores.groups.remove(str(uuid4()))

    def get(self, stores: Stores, group_id: str) -> Group:
        found = stores.groups.get(group_id)
        assert found is not None
        return found

    # Accounts.

    def test_a_users_accounts_are_saved_as_a_whole_and_in_order(self, stores: Stores, told: _Told) -> None:
        user = someone()
        lab = Account(id="123.45", name="Lab grant", is_default=True)
        course = Account(id="67.8", name="Course", limit=MONTHLY)
        assert stores.accounts.of_user(user) == []
        stores.accounts.save(user, [lab, course])
        assert stores.accounts.of_user(user) == [lab, course]
        stores.accounts.save(user, [replace(course, is_default=True)])
        assert stores.accounts.of_user(user) == [replace(course, is_default=True)]
        assert stores.accounts.of_user(someone()) == []
        assert "accounts" in told.whats
        stores.accounts.save(user, [])
        assert stores.accounts.of_user(user) == []

    def test_two_users_may_have_the_same_account(self, stores: Stores) -> None:
        for user in (ann := someone(), someone()):
            stores.accounts.save(user, [Account(id="123.45", is_default=True)])
        assert stores.accounts.of_user(ann) == [Account(id="123.45", is_default=True)]

    @pytest.mark.parametrize(
        "bad",
        [
            [Account(id="1"), Account(id="1")],
            [Account(id="1", is_default=True), Account(id="2", is_default=True)],
            [Account(id="")],
        ],
        ids=["twice", "two defaults", "no id"],
    )
    def test_a_list_that_contradicts_itself_is_refused(self, stores: Stores, bad: list[Account]) -> None:
        stores.accounts.save(user := someone(), [Account(id="0")])
        with pytest.raises(BadRequest):
            stores.accounts.save(user, bad)
        assert stores.accounts.of_user(user) == [Account(id="0")]

    # People.

    def add_person(self, user_id: str, *, admin: bool = False) -> None:
        """What signs somebody up, or makes them an administrator, in this backend."""
        raise NotImplementedError

    def test_people_are_known_once_they_are_there(self, stores: Stores) -> None:
        user = someone()
        assert not stores.people.knows(user)
        self.add_person(user)
        assert stores.people.knows(user) and not stores.people.is_admin(user)

    def test_administrators(self, stores: Stores) -> None:
        self.add_person(admin := someone(), admin=True)
        assert stores.people.is_admin(admin)
        assert admin in stores.people.admins() and someone() not in stores.people.admins()
