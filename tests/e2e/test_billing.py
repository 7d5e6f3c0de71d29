"""Costs through the door: today's clients' operations and REST, of calls that were really made."""

import asyncio
import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bench.upstream.testing import Upstream
from tests.accounts.rest import Reply, Visitor, signed_in, with_key
from tests.accounts.test_stores_dynamodb import Platform, put_key, settings
from tests.e2e.conftest import MODELS
from tests.e2e.test_budgets import COST, PRICED, budget
from tests.harness import Service, running_service
from tests.moto import running_moto

ORIGIN = "https://chat.example.edu"
NOT_AN_ADMIN = "Access denied. Admin privileges required."


def priced(service: Service) -> Service:
    service.sql(
        "INSERT INTO usage_price (model_id, provider, input, output, valid_from, note, created_by, created_at) "
        "VALUES (?, '', 2, 10, '2020-01-01', '', '', '2020-01-01')",
        PRICED,
    )
    time.sleep(6)  # prices made by another process are seen after 5 s
    return service


@pytest.fixture(scope="module")
def service(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("billing")
    with running_service(folder, upstream=upstream.url, models=[*MODELS, PRICED], ALLOWED_ORIGINS=ORIGIN) as running:
        yield priced(running)


async def ask(
    visitor: Visitor,
    operation: str,
    data: Any = None,
    *,
    method: str = "POST",
    raw: bytes | None = None,
    **headers: str,
) -> Reply:
    """As today's clients do: without a slash at the end, and without saying that it is JSON."""
    content = io.BytesIO(raw if raw is not None else json.dumps({"data": data or {}}).encode())
    sent = {**visitor.headers, **headers}
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, f"{visitor.service.url}/billing/{operation}", data=content, headers=sent) as response,
    ):
        return Reply(response.status, response.headers, await response.read())


async def test_what_was_spent_is_told_at_once(service: Service) -> None:
    key = service.create_key("erin", "--access", "full_access")
    erin = with_key(service, key)
    for calls in (1, 2):
        assert (await service.chat(PRICED, key=key)).status == 200
        told = await ask(erin, "mtd-cost", {"email": "erin"})
        assert told.json == {
            "email": "erin", "dailyCost": calls * COST / 10**6, "monthlyCost": 0.0, "MTD Cost": calls * COST / 10**6,
        }  # fmt: skip
    (account,) = (await ask(erin, "list-user-mtd-costs")).json["accounts"]
    public_name = (await erin.get("me")).json["apiKey"]
    assert account["accountInfo"] == f"general_account#{public_name}"
    costs = (await ask(erin, "api-key-user-cost", {"apiKeys": [public_name, key]})).json["results"]
    assert [costs[name]["totalApiKeyCost"] for name in (public_name, key)] == [2 * COST / 10**6] * 2
    assert (await ask(erin, "user-cost-history")).json["summary"]["totalSpendAllTime"] == 2 * COST / 10**6
    assert (await erin.get("usage/month/")).json["microDollars"] == 2 * COST
    assert (await erin.get("usage/?by=model")).json["results"][0]["value"] == PRICED
    assert key not in service.log


async def test_budgets_are_those_that_the_next_call_meets(service: Service) -> None:
    key = service.create_key("fred", "--access", "chat")
    fred = with_key(service, key)
    assert (await service.chat(PRICED, key=key)).status == 200
    budget(service, "user", "fred", 4 * COST, "Monthly")
    async with asyncio.timeout(15):  # budgets made by another process are seen after 5 s
        while not (lines := (await fred.get("budgets/")).json["results"]):  # noqa: ASYNC110 - another process's
            await asyncio.sleep(0.5)
    (line,) = lines
    assert (line["spentMicroDollars"], line["leftMicroDollars"], line["percent"]) == (COST, 3 * COST, 25)
    assert line["resetsAt"].endswith("-01T00:00:00Z")


async def test_the_door_is_that_of_the_other_addresses(service: Service) -> None:
    nobody, erin = Visitor(service), with_key(service, service.create_key("gina", "--access", "full_access"))
    refused = await ask(nobody, "mtd-cost", Origin=ORIGIN)
    assert (refused.status, refused.json["code"]) == (401, "unauthorized")
    assert refused.json["error"] == refused.json["message"]
    assert refused.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert refused.headers["WWW-Authenticate"] == "Bearer"
    unknown = await ask(Visitor(service, {"Authorization": "Bearer amp-v1-nothing"}), "mtd-cost")
    assert unknown.status == 404 and unknown.json["error"].startswith("API key not found")
    preflight = await ask(nobody, "mtd-cost", method="OPTIONS", Origin=ORIGIN)
    assert preflight.status == 204 and "POST" in preflight.headers["Access-Control-Allow-Methods"]
    for_all = await ask(erin, "list-all-user-mtd-costs")
    assert (for_all.status, for_all.json["error"]) == (403, NOT_AN_ADMIN)
    assert for_all.json["requestId"] == for_all.headers["X-Request-ID"]
    broken = await ask(erin, "mtd-cost", raw=b"{")
    assert (broken.status, broken.json["error"]) == (400, "Invalid JSON in request body")
    nothing = await ask(erin, "no-such-operation")
    assert (nothing.status, nothing.json["error"]) == (404, "Not found")
    large = await ask(erin, "mtd-cost", raw=b" " * (1024 * 1024 + 1))
    assert (large.status, large.json["code"]) == (413, "too_large")


async def test_another_site_does_not_ask_in_a_persons_name(service: Service) -> None:
    mine = signed_in(service, "hugo")["hugo"]
    assert (await ask(mine, "list-user-mtd-costs")).json["email"] == "hugo"
    cookie = Visitor(service, {"Cookie": mine.headers["Cookie"]})
    assert (await ask(cookie, "list-user-mtd-costs", Origin=ORIGIN)).status == 401


async def test_administrators_see_everybody(service: Service) -> None:
    key = service.create_key("ivy", "--access", "full_access")
    assert (await service.chat(PRICED, key=key)).status == 200
    root = signed_in(service, "root")["root"]
    page = (await ask(root, "list-all-user-mtd-costs", {"pageSize": 500})).json
    ivy = next(user for user in page["users"] if user["email"] == "ivy")
    assert (ivy["totalCost"], page["hasMore"], page["lastEvaluatedKey"]) == (COST / 10**6, False, None)
    assert (await ask(root, "mtd-cost", {"email": "ivy"})).json["MTD Cost"] == COST / 10**6


async def test_keys_and_groups_of_the_platform(upstream: Upstream, tmp_path: Path) -> None:
    """Its tables for people, and none for books: then what is spent is ours to say."""
    with running_moto() as url:
        tables = Platform(url)
        good = {"expirationDate": None, "rateLimit": {"period": "Unlimited", "rate": None}}
        name, key = put_key(tables, **good, accessTypes=["full_access"])
        chemistry = {"createdBy": "root", "members": ["amy@example.edu"], "includeFromOtherGroups": ["Grads"]}
        tables.put(
            "admin",
            config_id="amplifyGroups",
            data={
                "Chemistry": {**chemistry, "isBillingGroup": True, "rateLimit": {"period": "Monthly", "rate": 200}},
                "Grads": {"createdBy": "root", "members": ["jdoe@example.edu"], "includeFromOtherGroups": []},
            },
        )
        with running_service(tmp_path, upstream=upstream.url, models=[PRICED], **settings(tables)) as service:
            await asyncio.to_thread(priced, service)
            assert (await service.chat(PRICED, key=key)).status == 200
            jdoe, root = with_key(service, key), signed_in(service, "root")["root"]
            costs = (await ask(jdoe, "api-key-user-cost", {"apiKeys": [name]})).json["results"][name]
            assert costs["totalApiKeyCost"] == costs["userApiKeyCost"] == COST / 10**6
            found = (await ask(root, "billing-groups-costs")).json
            group = found["billingGroups"]["Chemistry"]
            assert group["groupInfo"]["rateLimit"] == {"period": "Monthly", "rate": 200.0}
            assert [(one["email"], one["via"]) for one in group["members"]["all"]] == [
                ("jdoe@example.edu", "Grads"), ("amy@example.edu", None),
            ]  # fmt: skip
            assert found["summary"]["totalCost"] == COST / 10**6
