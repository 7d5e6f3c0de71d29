"""The service beside an Amplify platform: what it books, the platform's own services read."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from bench.upstream.testing import Upstream
from tests.accounts.test_stores_dynamodb import Platform, settings
from tests.e2e.test_platform import COUNTED, RATES, key_of
from tests.harness import Service, question, running_service
from tests.moto import running_moto
from tests.usage.platform import PlatformBooks
from usage.platform.outbox import NIGHT

SECONDS = 20.0
COST = Decimal("0.0027")  # 600 uncached at 2.50, 400 cached at 1.25, 70 out at 10 dollars per million


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    with running_moto() as url:
        tables = Platform(url)
        rates = tables.make_table("model-rates", "ModelID")
        common = {"Provider": "OpenAI", "Available": True, "InputContextWindow": 128000, "OutputTokenLimit": 4096}
        rates.put_item(Item={"ModelID": COUNTED, "ModelName": "Counted", **common, **RATES})
        tables.put("admin", config_id="rateLimit", data={"limits": [{"period": "Daily", "rate": 1}]})
        yield tables


@pytest.fixture(scope="module")
def books(platform: Platform) -> PlatformBooks:
    return PlatformBooks(platform.url)


@pytest.fixture(scope="module")
def service(
    platform: Platform, books: PlatformBooks, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    env = {**settings(platform), **books.env, "MODEL_RATE_TABLE": platform.names["model-rates"]}
    folder: Path = tmp_path_factory.mktemp("books")
    with running_service(folder, upstream=upstream.url, models=[COUNTED], **env) as running:
        yield running


def soon(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.05)  # polls a fact of another process


@pytest.mark.skipif(
    datetime.now(UTC) - datetime.now(UTC).replace(hour=0, minute=0, second=0) < 2 * NIGHT,
    reason="in the first minutes of a day nothing is delivered",
)
async def test_every_call_reaches_the_platforms_books(
    service: Service, platform: Platform, books: PlatformBooks
) -> None:
    key = key_of(platform, "jdoe@example.edu")
    runs = [(await service.ask(question(COUNTED), key=key)).headers["X-Run-Id"] for _ in range(3)]
    rows = [service.record(run) for run in runs]

    def told_of() -> dict[str, Any]:
        return {row["id"]: row for row in books.all("usage") if row["user"] == "jdoe@example.edu"}

    soon(lambda: len(told_of()) == len(runs))
    told = told_of()
    for row in rows:
        item = told[row["call_id"] if "-" in row["call_id"] else _dashed(row["call_id"])]
        assert (item["user"], item["accountId"], item["modelId"]) == ("jdoe@example.edu", "lab-7", COUNTED)
        assert (item["inputTokens"], item["outputTokens"]) == (1000, 70)
        assert item["details"]["api_key_id"].startswith("jdoe@example.edu/ownerKey/")
    (counter,) = [row for row in books.all("costs") if row["id"] == "jdoe@example.edu"]
    assert counter["dailyCost"] == 3 * COST == sum(counter["hourlyCost"])
    assert counter["accountInfo"].startswith("lab-7#jdoe@example.edu/ownerKey/")
    soon(lambda: not service.sql("SELECT * FROM usage_delivery"))
    metrics = (await service.ask(path="/metrics", method="GET")).raw.decode()
    assert "amplify_deliveries_set_aside 0" in metrics


async def test_what_other_services_have_spent_uses_a_limit_up(
    service: Service, platform: Platform, books: PlatformBooks
) -> None:
    books.spent_by_others("spender@example.edu", "general_account#NA", "1.25", hour=datetime.now(UTC).hour)
    refused = await service.ask(question(COUNTED), key=key_of(platform, "spender@example.edu"))
    assert refused.status == 429
    assert refused.json["error"] == (
        "Request limit reached. Current Spent: $1.25 spent today. Amplify Set Rate limit: $1.00 / Daily"
    )
    assert (await service.ask(question(COUNTED), key=key_of(platform, "saver@example.edu"))).status == 200


def _dashed(text: str) -> str:
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
