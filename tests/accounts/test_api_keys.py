"""API keys over REST: who makes, sees, changes, rotates and revokes which."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from tests.accounts.rest import Visitor, entries, with_key
from tests.harness import Service


async def test_a_key_is_shown_once_and_works(service: Service, alice: Visitor) -> None:
    limit = {"period": "Monthly", "rate": 12.5}
    made = await alice.created_key(name="mine", description="d", limit=limit, expiresAt="2099-01-31T00:00:00+02:00")
    record = made["record"]
    assert (record["kind"], record["owner"], record["limit"]) == ("owner", "alice", limit)
    assert record["expiresAt"] == "2099-01-30T22:00:00Z"
    assert record["publicName"] == f"alice/ownerKey/{record['id']}"
    assert (await with_key(service, made["key"]).get("me")).json["apiKey"] == record["publicName"]
    again = await alice.get(f"keys/{record['id']}/")
    assert {**again.json, "lastUsedAt": None} == record
    assert made["key"] not in again.raw.decode() and made["key"] not in service.log


async def test_no_proxy_keeps_a_key(alice: Visitor) -> None:
    made = await alice.post("keys/", {"name": "a key", "accessTypes": ["chat"]})
    assert made.headers["Cache-Control"] == "no-store"


async def test_what_is_not_named_stays(alice: Visitor) -> None:
    record = (await alice.created_key(name="before", limit={"period": "Daily", "rate": 1}))["record"]
    changed = await alice.ask("PATCH", f"keys/{record['id']}/", {"name": "after"})
    assert changed.json == {**record, "name": "after"}
    for half in ({}, {"rate": 5}, {"period": "Daily"}):
        refused = await alice.ask("PATCH", f"keys/{record['id']}/", {"limit": half})
        assert refused.status == 400 and "required" in refused.json["error"]
    assert (await alice.get(f"keys/{record['id']}/")).json["limit"] == {"period": "Daily", "rate": 1.0}
    without = await alice.ask("PATCH", f"keys/{record['id']}/", {"limit": None})
    assert without.json["limit"] is None


async def test_a_rotated_key_replaces_the_old_one(service: Service, alice: Visitor) -> None:
    made = await alice.created_key()
    old = with_key(service, made["key"])
    assert (await old.get("me")).status == 200
    rotated = await alice.post(f"keys/{made['record']['id']}/rotate/")
    assert rotated.status == 200 and rotated.json["record"]["publicName"] == made["record"]["publicName"]
    assert (await old.get("me")).status == 404
    assert (await with_key(service, rotated.json["key"]).get("me")).json["userId"] == "alice"


async def test_a_revoked_key_stays_revoked(service: Service, alice: Visitor) -> None:
    made = await alice.created_key()
    address = f"keys/{made['record']['id']}/"
    assert (await alice.post(address + "revoke/")).json["active"] is False
    assert (await alice.post(address + "revoke/")).status == 200
    assert (await with_key(service, made["key"]).get("me")).status == 403
    for method, path, body in (("PATCH", address, {"name": "x"}), ("POST", address + "rotate/", None)):
        refused = await alice.ask(method, path, body)
        assert (refused.status, refused.json["code"]) == (409, "conflict")


async def test_whoever_changes_a_key_while_it_is_revoked_does_not_wake_it(service: Service, alice: Visitor) -> None:
    made = await alice.created_key()
    address = f"keys/{made['record']['id']}/"
    changes = [alice.ask("PATCH", address, {"name": f"name {n}"}) for n in range(10)]
    await asyncio.gather(*changes[:5], alice.post(address + "revoke/"), *changes[5:])
    assert (await alice.get(address)).json["active"] is False


async def test_a_stranger_finds_nothing(alice: Visitor, mallory: Visitor) -> None:
    record = (await alice.created_key())["record"]
    address = f"keys/{record['id']}/"
    unknown = f"keys/{uuid4()}/"
    for method, tail, body in (
        ("GET", "", None),
        ("PATCH", "", {"name": "x"}),
        ("POST", "rotate/", None),
        ("POST", "revoke/", None),
    ):
        refused, never_there = [await mallory.ask(method, path + tail, body) for path in (address, unknown)]
        assert refused.status == 404
        assert {**refused.json, "requestId": ""} == {**never_there.json, "requestId": ""}
    assert record["id"] not in (await mallory.get("keys/")).raw.decode()


async def test_only_the_delegate_ever_sees_a_delegate_key(service: Service, alice: Visitor, bob: Visitor) -> None:
    made = await alice.created_key(kind="delegate", delegate="bob")
    address = f"keys/{made['record']['id']}/"
    assert made["key"] is None and made["record"]["delegate"] == "bob"
    assert (await alice.post(address + "rotate/")).status == 403
    assert (await bob.ask("PATCH", address, {"name": "x"})).status == 403
    rotated = await bob.post(address + "rotate/")
    acting = with_key(service, rotated.json["key"])
    assert (await acting.get("me")).json["userId"] == "bob"
    assert (await bob.post(address + "revoke/")).json["active"] is False


async def test_a_system_key_acts_as_no_person(service: Service, alice: Visitor) -> None:
    made = await alice.created_key(kind="system", name="Scheduling app!")
    system = made["record"]["systemId"]
    assert system[:15] == "Scheduling-app-" and system[15:].isdecimal() and len(system) == 21
    acting = with_key(service, made["key"])
    assert (await acting.get("me")).json["userId"] == system
    for reply in (
        await acting.post("keys/", {"name": "x", "accessTypes": ["chat"]}),
        await acting.post("groups/", {"name": "x"}),
    ):
        assert reply.status == 403 and "Sign in" in reply.json["error"]
    assert made["record"]["id"] not in (await acting.get("keys/")).raw.decode()


async def test_a_key_makes_keys_up_to_what_it_is(service: Service, alice: Visitor) -> None:
    made = await alice.created_key(accessTypes=["api_key", "chat"], expiresAt="2099-01-01T00:00:00Z")
    own = with_key(service, made["key"])
    within = {"name": "child", "accessTypes": ["chat"], "expiresAt": "2098-01-01T00:00:00Z"}
    child = await own.post("keys/", within)
    assert child.status == 201 and child.json["record"]["accountId"] == made["record"]["accountId"]
    for beyond in (
        {"accessTypes": ["full_access"]},
        {"accountId": "other"},
        {"expiresAt": None},
        {"expiresAt": "2099-01-02T00:00:00Z"},
    ):
        assert (await own.post("keys/", within | beyond)).status == 403, beyond
        changed = await own.ask("PATCH", f"keys/{child.json['record']['id']}/", beyond)
        assert changed.status == 403, beyond
    assert (await own.post(f"keys/{child.json['record']['id']}/rotate/")).status == 403
    assert (await own.post(f"keys/{made['record']['id']}/rotate/")).status == 200


async def test_a_key_with_a_limit_makes_no_keys(service: Service, alice: Visitor) -> None:
    made = await alice.created_key(limit={"period": "Total", "rate": 5})
    own = with_key(service, made["key"])
    assert (await own.post("keys/", {"name": "x", "accessTypes": ["chat"]})).status == 403
    raised = await own.ask("PATCH", f"keys/{made['record']['id']}/", {"limit": None})
    assert raised.status == 403 and "limit" in raised.json["error"]


async def test_a_key_without_the_scope_knows_nothing_of_keys(service: Service, alice: Visitor) -> None:
    made = await alice.created_key(accessTypes=["chat"])
    chatting = with_key(service, made["key"])
    for address in ("keys/", f"keys/{made['record']['id']}/", f"keys/{uuid4()}/", "accounts/", "groups/"):
        refused = await chatting.get(address)
        assert refused.status == 403 and "access type" in refused.json["error"], address


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": "x", "accessTypes": []}, "accessTypes"),
        ({"name": "x", "accessTypes": ["root"]}, "accessTypes.0"),
        ({"name": "x", "accessTypes": ["chat"], "limits": None}, "limits"),
        ({"name": "x", "accessTypes": ["chat"], "limit": {"period": "Weekly", "rate": 1}}, "limit.period"),
        ({"name": "x", "accessTypes": ["chat"], "limit": {"period": "Daily", "rate": -1}}, "limit.rate"),
        ({"name": "x", "accessTypes": ["chat"], "limit": {"period": "Daily", "rate": "NaN"}}, "limit.rate"),
        ({"name": "x", "accessTypes": ["chat"], "expiresAt": "2001-01-01T00:00:00Z"}, "expiresAt"),
        ({"name": "x" * 201, "accessTypes": ["chat"]}, "name"),
        ({"name": "x\0", "accessTypes": ["chat"]}, "name"),
        ([], "body"),
    ],
)
async def test_what_is_wrong_is_named(alice: Visitor, body: Any, field: str) -> None:
    refused = await alice.post("keys/", body)
    assert (refused.status, refused.json["code"]) == (400, "invalid_request")
    assert field in refused.json["fields"] and refused.json["error"].startswith(next(iter(refused.json["fields"])))


@pytest.mark.parametrize(
    "facts",
    [
        {"kind": "delegate"},
        {"delegate": "bob"},
        {"kind": "delegate", "delegate": "alice"},
        {"kind": "delegate", "delegate": "nobody-we-know"},
    ],
)
async def test_a_delegate_is_somebody_else_and_known(alice: Visitor, facts: dict[str, Any]) -> None:
    assert (await alice.post("keys/", {"name": "x", "accessTypes": ["chat"], **facts})).status == 400


async def test_an_account_that_is_not_yours_is_not_charged(alice: Visitor) -> None:
    refused = await alice.post("keys/", {"name": "x", "accessTypes": ["chat"], "accountId": "somebody-elses"})
    assert refused.status == 403 and "/api/accounts/" in refused.json["error"]


async def test_lists_come_in_pages(mallory: Visitor) -> None:
    made = [(await mallory.created_key(name=f"key {n}"))["record"]["id"] for n in range(3)]
    first = (await mallory.get("keys/?limit=2")).json
    rest = (await mallory.get("keys/?limit=2&offset=2")).json
    assert first["count"] >= 3 and len(first["results"]) == 2 and "offset=2" in first["next"]
    listed = [key["id"] for key in (*first["results"], *rest["results"])]
    assert listed[:3] == made[::-1]


async def test_every_change_is_written_down_without_the_key(service: Service, alice: Visitor) -> None:
    reply = await alice.post(
        "keys/", {"name": "audited", "accessTypes": ["chat"]}, headers={"X-Request-ID": "audit-me"}
    )
    made = reply.json
    address, name = f"keys/{made['record']['id']}/", made["record"]["publicName"]
    await alice.ask("PATCH", address, {"name": "renamed", "limit": {"period": "Total", "rate": 0}})
    rotated = (await alice.post(address + "rotate/")).json["key"]
    await alice.post(address + "revoke/")
    await alice.post(address + "revoke/")
    written = entries(service, name)
    assert [entry["action"] for entry in written] == ["created", "changed", "rotated", "revoked"]
    assert {(entry["actor"], entry["door"], entry["resource"]) for entry in written} == {("alice", "rest", "API key")}
    assert written[0]["request_id"] == "audit-me"
    assert written[1]["changes"] == {
        "name": ["audited", "renamed"],
        "limit": [None, {"period": "Total", "rate": "0"}],
    }
    assert written[3]["changes"] == {"active": [True, False]}
    for secret in (made["key"], rotated):
        assert secret not in str(written)
