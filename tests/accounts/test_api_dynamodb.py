"""REST over the platform's tables: the same answers, and the audit log beside them in our database."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.accounts.rest import entries, with_key
from tests.accounts.test_stores_dynamodb import Platform, put_key, settings
from tests.harness import running_service
from tests.moto import running_moto

ME = "jdoe@example.edu"


@pytest.fixture(scope="module")
def tables() -> Iterator[Platform]:
    with running_moto() as url:
        yield Platform(url)


async def test_keys_groups_and_accounts_on_the_platforms_tables(tables: Platform, tmp_path: Path) -> None:
    good = {"expirationDate": None, "rateLimit": {"period": "Unlimited", "rate": None}}
    _, own = put_key(tables, **good, accessTypes=["full_access"], account={"id": "general_account", "name": ""})
    with running_service(tmp_path, **settings(tables)) as service:
        jdoe = with_key(service, own)
        made = await jdoe.created_key(accessTypes=["chat"])
        name, address = made["record"]["publicName"], f"keys/{made['record']['id']}/"
        assert (await jdoe.ask("PATCH", address, {"name": "renamed"})).json["name"] == "renamed"
        assert (await with_key(service, made["key"]).get("me")).json["userId"] == ME
        assert (await jdoe.post(address + "revoke/")).json["active"] is False
        assert tables.item("keys", api_owner_id=name)["active"] is False
        assert [entry["action"] for entry in entries(service, name)] == ["created", "changed", "revoked"]

        group = await jdoe.created_group(members={"amy@example.edu": "read"})
        changes = [jdoe.ask("PATCH", f"groups/{group['id']}/", {"name": f"name {n}"}) for n in range(5)]
        statuses = [reply.status for reply in await asyncio.gather(*changes)]
        assert set(statuses) <= {200, 409}
        assert len(entries(service, group["id"])) == 1 + statuses.count(200)
        assert (await jdoe.ask("DELETE", f"groups/{group['id']}/")).status == 204
        assert (await jdoe.get("accounts/")).status == 200
        assert made["key"] not in service.log and own not in service.log
