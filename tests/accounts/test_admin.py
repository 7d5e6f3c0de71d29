"""Keys, groups and accounts in the admin, through its pages."""

import re
from html import unescape
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group as AdminRole
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.admin import MOST_INLINE
from accounts.keys import hash_key
from accounts.limits import Period, SpendLimit
from accounts.models import Account, ApiKey, Group, Inclusion, Membership, User
from accounts.stores import Role
from accounts.stores.database import database_stores
from audit.models import Entry

pytestmark = pytest.mark.django_db
KEYS, GROUPS = "/admin/accounts/apikey/", "/admin/accounts/group/"
MEMBERSHIPS, ACCOUNTS = "/admin/accounts/membership/", "/admin/accounts/account/"
ROLES = "/admin/auth/group/"
MONTHLY = SpendLimit(period=Period.MONTHLY, micro_dollars=12_500_000)


@pytest.fixture
def admin(client: Client) -> Client:
    """Logged in without a password, because hashing one would take longer than the page."""
    client.force_login(User.objects.create(username="root", is_staff=True, is_superuser=True))
    return client


def send(client: Client, url: str, **facts: Any) -> str:
    """What the page says after the form has been sent."""
    response = client.post(url, facts, follow=True)
    assert response.status_code == 200
    return unescape(response.content.decode())


def page(client: Client, url: str, **query: str) -> str:
    response = client.get(url, query, follow=True)  # "history" is the audit log
    assert response.status_code == 200 and "/login/" not in response.request["PATH_INFO"]
    return unescape(response.content.decode())


def shown_key(text: str) -> str:
    found = re.findall(r"amp-v1-[A-Za-z0-9_-]{43}", text)
    assert len(found) == 1
    return str(found[0])


def key_facts(**more: Any) -> dict[str, Any]:
    return {"owner": "ann", "name": "laptop", "account_id": "lab", "access_types": '["chat"]', "active": "on", **more}


def group_facts(**more: Any) -> dict[str, Any]:
    empty = {"TOTAL_FORMS": 0, "INITIAL_FORMS": 0}
    forms = {f"{name}-{field}": value for name in ("memberships", "inclusions") for field, value in empty.items()}
    return {"group_id": "chem", "kind": "assistant", "system_users": "[]", **forms, **more}


def row(**facts: Any) -> ApiKey:
    made = ApiKey(**{"owner": "ann", "name": "laptop", **facts})
    made.issue()
    return made


# Keys.


def test_a_key_is_made_and_shown_once(admin: Client) -> None:
    text = send(admin, f"{KEYS}add/", **key_facts(limit_period="Monthly", dollars="12.5"))
    key = shown_key(text)
    made = ApiKey.objects.get()
    assert made.key_hash == hash_key(key)
    assert re.fullmatch(r"ann/ownerKey/[0-9a-f-]{36}", made.api_owner_id)
    found = database_stores().keys.find([key])[key]
    assert (found.owner, found.name, found.account_id, found.limit) == ("ann", "laptop", "lab", MONTHLY)
    for url in (KEYS, f"{KEYS}{made.pk}/change/", f"{KEYS}{made.pk}/history/"):
        text = page(admin, url)
        assert key not in text and hash_key(key) not in text


@pytest.mark.parametrize(
    ("facts", "kind", "user_id"),
    [({"delegate": "bob"}, "delegate", "bob"), ({"system_id": "App-123456"}, "system", "App-123456")],
)
def test_keys_of_the_other_kinds(admin: Client, facts: dict[str, str], kind: str, user_id: str) -> None:
    key = shown_key(send(admin, f"{KEYS}add/", **key_facts(**facts)))
    found = database_stores().keys.find([key])[key]
    assert (found.kind, found.user_id) == (kind, user_id)


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"delegate": "bob", "system_id": "App-1"}, "not as both"),
        ({"access_types": '"chat"'}, 'Give a list of texts, like ["chat"].'),
        ({"access_types": "[1]"}, 'Give a list of texts, like ["chat"].'),
        ({"limit_period": "Monthly"}, "A limit needs both a period and an amount"),
        ({"dollars": "5"}, "A limit needs both a period and an amount"),
        ({"dollars": "-1", "limit_period": "Daily"}, "greater than or equal to 0"),
    ],
)
def test_keys_that_make_no_sense_are_refused_with_a_reason(admin: Client, facts: dict[str, str], words: str) -> None:
    assert words in send(admin, f"{KEYS}add/", **key_facts(**facts))
    assert not ApiKey.objects.exists()


def test_a_key_is_changed_and_stays_whose_it_is(admin: Client) -> None:
    made = row(limit_period="Monthly", limit_micro_dollars=12_500_000)
    url = f"{KEYS}{made.pk}/change/"
    assert 'value="12.5"' in page(admin, url)
    send(admin, url, **key_facts(name="new", owner="mallory", delegate="mallory"))
    after = ApiKey.objects.get()
    assert (after.name, after.owner, after.delegate, after.limit) == ("new", "ann", "", None)
    assert after.key_hash == made.key_hash


def test_rotation_ends_the_old_key_and_shows_the_new_one_once(admin: Client) -> None:
    made, other = row(), row()
    text = send(admin, KEYS, action="rotate", _selected_action=[made.pk])
    key = shown_key(text)
    after = ApiKey.objects.get(pk=made.pk)
    assert after.key_hash == hash_key(key) != made.key_hash
    assert after.api_owner_id == made.api_owner_id
    assert ApiKey.objects.get(pk=other.pk).key_hash == other.key_hash
    assert key not in page(admin, KEYS)
    assert [entry.change_message for entry in LogEntry.objects.all()] == ["Rotated."]


def test_keys_are_revoked(admin: Client) -> None:
    made = row()
    assert "1 key(s) revoked." in send(admin, KEYS, action="revoke", _selected_action=[made.pk])
    assert not ApiKey.objects.get().active


def test_who_may_only_look_rotates_nothing(client: Client) -> None:
    viewer = User.objects.create(username="viewer", is_staff=True)
    viewer.user_permissions.set(viewer.user_permissions.model.objects.filter(codename="view_apikey"))
    client.force_login(viewer)
    made = row()
    send(client, KEYS, action="rotate", _selected_action=[made.pk])
    assert ApiKey.objects.get().key_hash == made.key_hash


@pytest.mark.parametrize("words", ["laptop", "ann", "lab-7", "bob"])
def test_keys_are_found(admin: Client, words: str) -> None:
    row(account_id="lab-7", delegate="bob")
    assert "laptop" in page(admin, KEYS, q=words)
    assert "laptop" not in page(admin, KEYS, q="nowhere")


# Groups.


def test_a_group_is_made_with_its_members_and_inclusions(admin: Client) -> None:
    staff = Group.objects.create(group_id="staff", kind="amplify")
    send(
        admin,
        f"{GROUPS}add/",
        **group_facts(
            **{
                "memberships-TOTAL_FORMS": 2,
                "memberships-0-user_id": "ann",
                "memberships-0-role": "admin",
                "memberships-1-user_id": "bob",
                "memberships-1-role": "read",
                "inclusions-TOTAL_FORMS": 1,
                "inclusions-0-included": staff.pk,
                "system_users": '["App-1"]',
            }
        ),
    )
    found = database_stores().groups.get("chem")
    assert found is not None
    assert dict(found.members) == {"ann": Role.ADMIN, "bob": Role.READ}
    assert (found.includes, found.system_users) == ({"staff"}, {"App-1"})


def test_a_change_in_the_admin_is_a_new_state(admin: Client) -> None:
    """Whoever read the group before does not overwrite it."""
    made = Group.objects.create(group_id="chem")
    versions = {made.version}
    member = {"memberships-TOTAL_FORMS": 1, "memberships-0-user_id": "ann", "memberships-0-role": "read"}
    send(admin, f"{GROUPS}{made.pk}/change/", **group_facts(**member))
    versions.add(Group.objects.get().version)
    send(admin, f"{MEMBERSHIPS}add/", group=made.pk, user_id="bob", role="read")
    versions.add(Group.objects.get().version)
    chosen = list(Membership.objects.values_list("pk", flat=True))
    send(admin, MEMBERSHIPS, action="delete_selected", _selected_action=chosen, post="yes")
    versions.add(Group.objects.get().version)
    assert len(versions) == 4 and not Membership.objects.exists()


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"limit_period": "Daily", "dollars": "5"}, "Only amplify groups are billed or limited"),
        ({"is_billing_group": "on"}, "Only amplify groups are billed or limited"),
        ({"kind": "amplify", "is_public": "on"}, "only assistant groups are public"),
        ({"kind": "amplify", "system_users": '["App-1"]'}, "Only assistant groups have system users."),
        ({"system_users": "{}"}, "Give a list of texts"),
    ],
)
def test_groups_that_make_no_sense_are_refused_with_a_reason(admin: Client, facts: dict[str, str], words: str) -> None:
    assert words in send(admin, f"{GROUPS}add/", **group_facts(**facts))
    assert not Group.objects.exists()


def test_a_group_that_another_includes_is_not_deleted(admin: Client) -> None:
    inner = Group.objects.create(group_id="inner", kind="amplify")
    Inclusion.objects.create(group=Group.objects.create(group_id="outer"), included=inner)
    text = send(admin, f"{GROUPS}{inner.pk}/delete/", post="yes")
    assert Group.objects.filter(pk=inner.pk).exists() and "outer" in text.lower()


def test_a_large_group_has_a_page_of_members(admin: Client) -> None:
    made = Group.objects.create(group_id="everybody")
    Membership.objects.bulk_create(Membership(group=made, user_id=f"user {n}") for n in range(MOST_INLINE + 1))
    text = page(admin, f"{GROUPS}{made.pk}/change/")
    assert "memberships-0-user_id" not in text and "user 7" not in text
    (link,) = re.findall(rf'href="({MEMBERSHIPS}\?[^"]+)"', text)
    assert "user 77" in page(admin, link, q="user 77")
    facts = group_facts(name="All")
    send(admin, f"{GROUPS}{made.pk}/change/", **facts)
    assert Group.objects.get().name == "All" and Membership.objects.count() == MOST_INLINE + 1


# Accounts.


def test_accounts(admin: Client) -> None:
    facts = {"user_id": "ann", "account_id": "1.2", "is_default": "on", "position": 0, "dollars": "12.5"}
    send(admin, f"{ACCOUNTS}add/", **facts, limit_period="Monthly")
    assert Account.objects.get().limit == MONTHLY
    text = send(admin, f"{ACCOUNTS}add/", **facts, limit_period="Monthly")
    assert "already exists" in text
    text = send(admin, f"{ACCOUNTS}add/", **{**facts, "account_id": "3", "limit_period": "Monthly"})
    assert "This user has a default account already." in text
    assert Account.objects.count() == 1


# All of them.


def fill(number: int) -> None:
    inner = [Group.objects.create(group_id=f"inner {n}-{number}", kind="amplify") for n in range(number)]
    outer = Group.objects.create(group_id=f"outer {number}")
    Membership.objects.bulk_create(Membership(group=outer, user_id=f"user {n}") for n in range(number))
    Membership.objects.bulk_create(Membership(group=group, user_id="ann") for group in inner)
    Inclusion.objects.bulk_create(Inclusion(group=outer, included=group) for group in inner)
    for n in range(number):
        row(name=f"key {n}")
        Account.objects.create(user_id=f"user {number}", account_id=str(n))


def queries(client: Client, url: str) -> int:
    with CaptureQueriesContext(connection) as captured:
        page(client, url)
    return len(captured)


@pytest.mark.parametrize("url", [KEYS, GROUPS, MEMBERSHIPS, ACCOUNTS])
def test_a_longer_list_costs_no_more_queries(admin: Client, url: str) -> None:
    fill(2)
    few = queries(admin, url)
    fill(20)
    assert queries(admin, url) == few


def test_a_group_with_more_members_and_inclusions_costs_no_more_queries(admin: Client) -> None:
    fill(2)
    fill(20)
    small, large = (Group.objects.get(group_id=f"outer {number}").pk for number in (2, 20))
    page(admin, f"{GROUPS}{small}/change/")  # Django remembers what it knows of models
    assert queries(admin, f"{GROUPS}{large}/change/") == queries(admin, f"{GROUPS}{small}/change/")


def test_a_form_that_was_opened_before_does_not_wake_a_revoked_key(admin: Client) -> None:
    made = row()
    ApiKey.objects.filter(pk=made.pk).update(active=False)
    send(admin, f"{KEYS}{made.pk}/change/", **key_facts(name="later"))
    made.refresh_from_db()
    assert (made.name, made.active) == ("later", False)


def test_rotating_a_key_that_is_revoked_at_this_moment_does_not_wake_it() -> None:
    read_before = row()
    ApiKey.objects.filter(pk=read_before.pk).update(active=False)
    key = read_before.rotate()
    assert not database_stores().keys.find([key])[key].active


def test_nobody_is_renamed(admin: Client) -> None:
    """Keys, groups and the books would go on under the old name, which somebody else could be given."""
    ann = User.objects.create(username="ann", password="!")
    facts = {"username": "eve", "date_joined_0": "2026-01-01", "date_joined_1": "00:00:00", "is_active": "on"}
    send(admin, f"/admin/accounts/user/{ann.pk}/change/", **facts, first_name="Ann")
    ann.refresh_from_db()
    assert (ann.username, ann.first_name) == ("ann", "Ann")


def test_only_one_thing_is_called_groups(admin: Client) -> None:
    """Django's groups give rights in the admin, and ours are of people who chat."""
    finance = AdminRole.objects.get(name="Finance")
    assert re.findall(r">(Groups|Admin roles)</a>", page(admin, "/admin/")) == ["Groups", "Admin roles"]
    ann = User.objects.create(username="ann", password="!")
    shown = page(admin, f"/admin/accounts/user/{ann.pk}/change/")
    assert "Admin roles" in shown and "Groups:" not in shown
    people = page(admin, "/admin/accounts/user/")
    assert "By admin role" in people and "By groups" not in people
    assert "Change admin role" in page(admin, f"{ROLES}{finance.pk}/change/")


def test_who_gives_a_role_more_rights_is_written_down(admin: Client) -> None:
    finance = AdminRole.objects.get(name="Finance")
    more = Permission.objects.get(codename="view_entry")
    send(admin, f"{ROLES}{finance.pk}/change/", name="Finance", permissions=[more.pk])
    entry = Entry.objects.latest("id")
    assert (entry.actor, entry.action) == ("root", "changed")
    assert (entry.resource, entry.resource_id) == ("admin role", "Finance")
    assert "Can view audit entry" in str(entry.changes["permissions"])
    assert "Finance" in page(admin, f"{ROLES}{finance.pk}/history/")
