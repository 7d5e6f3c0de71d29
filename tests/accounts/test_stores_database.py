"""The store in our own tables: the contract, and what only it has."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import IntegrityError, OperationalError, connection, transaction
from structlog.testing import capture_logs

from accounts import models as tables
from accounts.keys import hash_key, new_key
from accounts.models import User
from accounts.stores import Role, Stores, database
from accounts.stores.database import database_stores
from accounts.stores.testing import StoresContract, amplify, group, record, someone
from core.errors import Conflict, Unavailable
from tests.harness import CANARY

# Transactions of its own: what others remember is forgotten when a change is committed.
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def stores() -> Stores:
    return database_stores()


class TestContract(StoresContract):
    @pytest.fixture
    def stores(self) -> Stores:
        return database_stores()

    def add_person(self, user_id: str, *, admin: bool = False) -> None:
        User.objects.create(username=user_id, is_superuser=admin)


def test_only_a_hash_is_stored(stores: Stores) -> None:
    for key in (new_key(), f"amp-{CANARY}-legacy-legacy"):
        stores.keys.add(made := record(), key)
        row = tables.ApiKey.objects.filter(api_owner_id=made.id).values().get()
        assert row["key_hash"] == hash_key(key) and key not in str(row)


def test_a_thousand_keys_are_looked_up_by_one_query(
    stores: Stores, django_assert_num_queries: Callable[[int], Any]
) -> None:
    with django_assert_num_queries(1):
        stores.keys.find([new_key() for _ in range(stores.keys.most_at_once)])


def test_all_groups_are_read_by_three_queries(stores: Stores, django_assert_num_queries: Callable[[int], Any]) -> None:
    for _ in range(5):
        stores.groups.put(inner := amplify(members={"ann": Role.READ, "bob": Role.READ}))
        stores.groups.put(group(includes=frozenset({inner.id}), members={"ann": Role.ADMIN}))
    with django_assert_num_queries(3):
        assert len(stores.groups.all()) == 10


def test_many_uses_are_written_by_one_query(stores: Stores, django_assert_num_queries: Callable[[int], Any]) -> None:
    made = [record() for _ in range(30)]
    for one in made:
        stores.keys.add(one, new_key())
    with django_assert_num_queries(1):
        stores.keys.touch({one.id: datetime.now(UTC) for one in made})


def test_of_two_who_change_a_group_at_once_one_is_told(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    stores.groups.put(made := group(name="before"))
    found = stores.groups.get(made.id)
    assert found is not None

    def overtaken() -> str:
        tables.Group.objects.filter(group_id=made.id).update(version="theirs", name="theirs")
        return "ours"

    monkeypatch.setattr(database, "new_version", overtaken)
    with pytest.raises(Conflict):
        stores.groups.put(replace(found, name="ours", members={"ann": Role.READ}))
    after = stores.groups.get(made.id)
    assert after is not None and dict(after.members) == {}


def test_an_old_state_is_not_taken_for_that_of_a_group_made_again(stores: Stores) -> None:
    stores.groups.put(made := group())
    old = stores.groups.get(made.id)
    assert old is not None
    stores.groups.remove(made.id)
    stores.groups.put(made)
    with pytest.raises(Conflict):
        stores.groups.put(replace(old, name="old"))


def test_somebody_who_is_deactivated_is_not_known(stores: Stores) -> None:
    user = User.objects.create(username=someone(), is_active=False, is_superuser=True)
    assert not stores.people.knows(user.username)
    assert not stores.people.is_admin(user.username) and user.username not in stores.people.admins()


@pytest.mark.parametrize(
    "make",
    [
        lambda: tables.ApiKey(api_owner_id="a", key_hash="a", owner="ann", delegate="bob", system_id="App-1"),
        lambda: tables.ApiKey(api_owner_id="a", key_hash="a", owner="ann", limit_period="Daily"),
        lambda: tables.ApiKey(api_owner_id="a", key_hash="a", owner="ann", limit_micro_dollars=5),
        lambda: tables.Account(
            user_id="ann", account_id="1", limit_period="Weekly", limit_micro_dollars=5, is_default=True
        ),
        lambda: tables.Account(user_id="ann", account_id="1", limit_period="Daily", limit_micro_dollars=-1),
        lambda: tables.Group(group_id="g", kind="assistant", is_billing_group=True),
        lambda: tables.Group(group_id="g", kind="amplify", is_public=True),
        lambda: tables.Group(group_id="g", kind="other"),
    ],
)
def test_the_database_holds_what_the_rows_promise(make: Callable[[], Any]) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        make().save()


def everything(stores: Stores, key: str) -> list[Callable[[], object]]:
    """A call of each method."""
    user, one = someone(), record()
    return [
        lambda: stores.keys.find([key]),
        lambda: stores.keys.get(one.id),
        lambda: stores.keys.of_user(user),
        lambda: stores.keys.add(one, key),
        lambda: stores.keys.replace(one, one, key),
        lambda: stores.keys.touch({one.id: datetime.now(UTC)}),
        stores.groups.all,
        lambda: stores.groups.get("x"),
        lambda: stores.groups.put(group()),
        lambda: stores.groups.remove("x"),
        lambda: stores.accounts.of_user(user),
        lambda: stores.accounts.save(user, []),
        lambda: stores.people.knows(user),
        lambda: stores.people.is_admin(user),
        stores.people.admins,
    ]


def _away(*_: Any) -> None:
    raise OperationalError(f"connection refused: password {CANARY}")


def test_a_database_that_is_away_is_unavailable_and_leaves_one_line(stores: Stores) -> None:
    for call in everything(stores, f"amp-{CANARY}-{'x' * 30}"):
        with connection.execute_wrapper(_away), capture_logs() as logs, pytest.raises(Unavailable):
            call()
        assert [(line["event"], line["reason"]) for line in logs] == [("store_failed", "OperationalError")]
        assert CANARY not in str(logs)
