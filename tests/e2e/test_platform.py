"""The service beside an Amplify platform: its keys, its groups, its models and its prices, out of its tables."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from bench.upstream.testing import Upstream
from tests.accounts.test_stores_dynamodb import Platform, put_key, settings
from tests.harness import Service, question, running_service
from tests.moto import running_moto

COUNTED = "mock+tokens=5+in=1000+cached=400+out=70+reasoning=20"
RESERVED = "mock+tokens=3+text=plain"
UNLISTED = "mock+tokens=6+text=emoji"
# US dollars per thousand tokens.
RATES = {
    "InputCostPerThousandTokens": Decimal("0.0025"),
    "OutputCostPerThousandTokens": Decimal("0.01"),
    "CachedCostPerThousandTokens": Decimal("0.00125"),
}


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    with running_moto() as url:
        tables = Platform(url)
        rates = tables.make_table("model-rates", "ModelID")
        common = {"Provider": "OpenAI", "Available": True, "InputContextWindow": 128000, "OutputTokenLimit": 4096}
        rates.put_item(Item={"ModelID": COUNTED, "ModelName": "Counted", **common, **RATES})
        # Not for all, but for a group (llm-providers: who sees which model).
        reserved = {**common, **RATES, "Available": False, "ExclusiveGroupAvailability": ["Chemistry"]}
        rates.put_item(Item={"ModelID": RESERVED, "ModelName": "Reserved", **reserved})
        tables.put("admin", config_id="defaultModels", data={"user": COUNTED})
        tables.put_amplify_group("Chemistry", createdBy="admin@example.edu", members=["chemist@example.edu"])
        yield tables


@pytest.fixture(scope="module")
def service(platform: Platform, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    env = {**settings(platform), "MODEL_RATE_TABLE": platform.names["model-rates"]}
    models = [COUNTED, RESERVED, UNLISTED]
    folder: Path = tmp_path_factory.mktemp("platform")
    with running_service(folder, upstream=upstream.url, models=models, **env) as running:
        yield running


def key_of(platform: Platform, user: str) -> str:
    account = {"id": "lab-7", "name": "Lab"}
    _, key = put_key(
        platform, owner=user, accessTypes=["full_access"], account=account, rateLimit=..., expirationDate=...
    )
    return str(key)


async def test_a_platform_key_gets_the_platforms_default_at_its_price(service: Service, platform: Platform) -> None:
    key = key_of(platform, "jdoe@example.edu")
    answer = await service.ask({"messages": [{"role": "user", "content": "hi"}]}, key=key)
    assert answer.error is None
    row = service.record(answer.headers["X-Run-Id"])
    assert (row["model_id"], row["user_id"], row["account_id"]) == (COUNTED, "jdoe@example.edu", "lab-7")
    # 600 uncached at 2.50, 400 cached at 1.25, 70 out at 10 dollars per million: nothing is counted twice.
    assert (row["micro_dollars"], row["price_version"]) == (600 * 2.5 + 400 * 1.25 + 70 * 10, "platform model-rates")


async def test_a_model_of_a_group_is_for_its_members(service: Service, platform: Platform) -> None:
    member, other = key_of(platform, "chemist@example.edu"), key_of(platform, "jdoe@example.edu")
    assert (await service.ask(question(RESERVED), key=member)).error is None
    refused = await service.ask(question(RESERVED), key=other)
    assert (refused.status, refused.json["code"]) == (400, "unknown_model")
    listed = await service.ask(path="/v1/models", method="GET", key=other)
    assert [entry["id"] for entry in listed.json["data"]] == [COUNTED]


async def test_a_model_that_the_platform_does_not_list_is_not_there(service: Service, platform: Platform) -> None:
    refused = await service.ask(question(UNLISTED), key=key_of(platform, "jdoe@example.edu"))
    assert (refused.status, refused.json["code"]) == (400, "unknown_model")
