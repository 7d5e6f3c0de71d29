"""Groups and accounts over REST."""

import asyncio
from typing import Any

import pytest

from tests.accounts.rest import Visitor, entries, with_key
from tests.harness import Service


async def test_who_makes_a_group_runs_it(alice: Visitor, bob: Visitor) -> None:
    group = await alice.created_group(name="Chem 101", members={"bob": "read"})
    assert group["members"] == {"alice": "admin", "bob": "read"} and group["id"].startswith("Chem-101_")
    address = f"groups/{group['id']}/"
    assert (await bob.get(address)).json == group
    assert group["id"] in [found["id"] for found in (await bob.get("groups/")).json["results"]]
    for method, path, body in (
        ("PATCH", address, {"name": "mine"}),
        ("DELETE", address, None),
        ("PUT", address + "members/bob/", {"role": "admin"}),
        ("DELETE", address + "members/alice/", None),
    ):
        refused = await bob.ask(method, path, body)
        assert refused.status == 403 and "admins" in refused.json["error"]
    assert (await alice.ask("PUT", address + "members/bob/", {"role": "admin"})).json["members"]["bob"] == "admin"
    assert (await bob.ask("PATCH", address, {"name": "ours"})).json["name"] == "ours"
    assert (await bob.ask("DELETE", address)).status == 204
    assert (await alice.get(address)).status == 404


async def test_a_stranger_finds_no_group(alice: Visitor, mallory: Visitor) -> None:
    group = await alice.created_group()
    address = f"groups/{group['id']}/"
    for method, path, body in (
        ("GET", address, None),
        ("PATCH", address, {"name": "x"}),
        ("DELETE", address, None),
        ("PUT", address + "members/mallory/", {"role": "admin"}),
        ("DELETE", address + "members/mallory/", None),
    ):
        assert (await mallory.ask(method, path, body)).status == 404, (method, path)
    assert group["id"] not in (await mallory.get("groups/")).raw.decode()


async def test_a_public_group_shows_itself_but_not_its_members(alice: Visitor, mallory: Visitor) -> None:
    group = await alice.created_group(isPublic=True)
    seen = (await mallory.get(f"groups/{group['id']}/")).json
    assert seen == {**group, "members": None}
    assert (await mallory.ask("PATCH", f"groups/{group['id']}/", {"name": "x"})).status == 403


async def test_everybody_may_leave_but_the_last_admin(alice: Visitor, bob: Visitor) -> None:
    group = await alice.created_group(members={"bob": "write"})
    address = f"groups/{group['id']}/members/"
    assert (await bob.ask("DELETE", address + "bob/")).status == 204
    assert (await bob.get(f"groups/{group['id']}/")).status == 404
    for method, body in (("DELETE", None), ("PUT", {"role": "read"})):
        assert (await alice.ask(method, address + "alice/", body)).status == 400


async def test_members_need_not_have_been_here(alice: Visitor) -> None:
    group = await alice.created_group(members={"new@example.edu": "read"})
    reply = await alice.ask("PUT", f"groups/{group['id']}/members/newer@example.edu/", {"role": "write"})
    assert reply.json["members"] == {"alice": "admin", "new@example.edu": "read", "newer@example.edu": "write"}


async def test_a_version_that_is_not_there_any_more_changes_nothing(alice: Visitor) -> None:
    group = await alice.created_group()
    address = f"groups/{group['id']}/"
    seen = await alice.get(address)
    assert seen.headers["ETag"] == f'"{group["version"]}"'
    match = {"If-Match": seen.headers["ETag"]}
    assert (await alice.ask("PATCH", address, {"name": "first"}, headers=match)).status == 200
    for method, path, body in (
        ("PATCH", address, {"name": "second"}),
        ("PUT", address + "members/bob/", {"role": "read"}),
        ("DELETE", address + "members/bob/", None),
        ("DELETE", address, None),
    ):
        refused = await alice.ask(method, path, body, headers=match)
        assert (refused.status, refused.json["code"]) == (409, "conflict")
    now = (await alice.get(address)).json
    assert (now["name"], list(now["members"])) == ("first", ["alice"])
    assert (await alice.ask("PATCH", address, {"name": "third"}, headers={"If-Match": now["version"]})).status == 200


async def test_of_changes_at_once_none_is_lost(alice: Visitor) -> None:
    group = await alice.created_group()
    address = f"groups/{group['id']}/"
    replies = await asyncio.gather(
        *(alice.ask("PUT", f"{address}members/{name}/", {"role": "read"}) for name in ("bob", "mallory", "root")),
        alice.ask("PATCH", address, {"isPublic": True}),
    )
    done = [reply.status for reply in replies]
    assert set(done) <= {200, 409} and 200 in done
    now = (await alice.get(address)).json
    assert len(now["members"]) == 1 + done[:3].count(200) and now["isPublic"] is (done[3] == 200)


async def test_amplify_groups_are_the_administrators(alice: Visitor, root: Visitor) -> None:
    body = {
        "name": "Chemistry",
        "kind": "amplify",
        "members": {"alice": "read"},
        "limit": {"period": "Daily", "rate": 2},
    }
    assert (await alice.post("groups/", body)).status == 403
    made = await root.post("groups/", body)
    assert made.status == 201 and made.json["id"] == "Chemistry"
    assert (await root.post("groups/", body)).status == 409
    seen = await alice.get("groups/Chemistry/")
    assert seen.json["limit"] == {"period": "Daily", "rate": 2.0}
    for method, path, change in (("PATCH", "", {"limit": None}), ("DELETE", "members/alice/", None)):
        assert (await alice.ask(method, f"groups/Chemistry/{path}", change)).status == 403
    including = await alice.created_group(includes=["Chemistry"])
    assert including["includes"] == ["Chemistry"]
    assert (await root.ask("DELETE", "groups/Chemistry/")).status == 409


async def test_a_group_that_one_may_not_see_cannot_be_included(mallory: Visitor, root: Visitor) -> None:
    await root.post("groups/", {"name": "Hidden", "kind": "amplify"})
    refused = [await mallory.post("groups/", {"name": "x", "includes": [name]}) for name in ("Hidden", "Nowhere")]
    assert [reply.status for reply in refused] == [400, 400]
    assert refused[0].json["error"].replace("Hidden", "Nowhere") == refused[1].json["error"]


@pytest.mark.parametrize(
    "body",
    [
        {"name": "a/b", "kind": "amplify"},
        {"name": "x", "members": {"bob": "owner"}},
        {"name": "x", "members": {"b\0b": "read"}},
        {"name": "x", "members": ["bob"]},
        {"name": "x", "includes": ["y" * 256]},
        {"name": "x", "public": True},
        {"name": "x", "limit": {"period": "Daily", "rate": 1}},
    ],
)
async def test_what_cannot_be_a_group_is_refused(root: Visitor, body: Any) -> None:
    refused = await root.post("groups/", body)
    assert (refused.status, refused.json["code"]) == (400, "invalid_request")


async def test_changes_of_groups_are_written_down(service: Service, alice: Visitor) -> None:
    group = await alice.created_group(name="before")
    address = f"groups/{group['id']}/"
    await alice.ask("PATCH", address, {"name": "after"})
    await alice.ask("PUT", address + "members/bob/", {"role": "read"})
    await alice.ask("DELETE", address + "members/bob/")
    await alice.ask("DELETE", address + "members/bob/")
    await alice.ask("DELETE", address)
    written = entries(service, group["id"])
    expected = ["created", "changed", "members changed", "members changed", "removed"]
    assert [entry["action"] for entry in written] == expected
    assert written[1]["changes"] == {"name": ["before", "after"]}
    assert written[2]["changes"] == {"members": [{}, {"bob": "read"}]}


async def test_accounts_are_saved_whole(service: Service, bob: Visitor) -> None:
    first = {"id": "123.45", "name": "Lab grant", "isDefault": True, "limit": {"period": "Monthly", "rate": 100.0}}
    second = {"id": "678.90", "name": "", "isDefault": False, "limit": None}
    saved = await bob.ask("PUT", "accounts/", {"accounts": [first, {"id": "678.90"}]})
    assert saved.json == {"accounts": [first, second]}
    assert (await bob.get("accounts/")).json["results"] == [first, second]
    assert (await bob.ask("PUT", "accounts/", {"accounts": [first, first]})).status == 400
    await bob.ask("PUT", "accounts/", {"accounts": [first]})
    written = entries(service, "bob")
    assert written[-1]["changes"] == {"678.90": [{"name": "", "is_default": False, "limit": None}, None]}


async def test_a_key_reads_accounts_and_does_not_save_them(service: Service, bob: Visitor) -> None:
    own = with_key(service, (await bob.created_key())["key"])
    assert (await own.get("accounts/")).status == 200
    refused = await own.ask("PUT", "accounts/", {"accounts": []})
    assert refused.status == 403 and "Sign in" in refused.json["error"]
