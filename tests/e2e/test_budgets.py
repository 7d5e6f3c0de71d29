"""Limits through the door: what a refused client is told, whose limits count, and what a killed service leaves."""

import asyncio
import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from websockets.asyncio.client import connect

from bench.upstream.testing import Upstream
from tests.e2e.conftest import HUNDRED, LONG, MODELS, SHORT
from tests.harness import Service, manage, question, read_events, running_service, wait_until

# A thousand tokens in, a hundred out, at 2 and 10 dollars a million: three thousandths of a dollar.
PRICED = "mock+tokens=3+text=plain+in=1000+out=100"
COST = 3_000


@pytest.fixture(scope="module")
def limited(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service of this module's own, where a model has a price and few runs may go on at once."""
    folder = tmp_path_factory.mktemp("limited")
    models = [*MODELS, PRICED]
    with running_service(folder, upstream=upstream.url, models=models, KEY_CONCURRENT_RUNS="3") as service:
        service.sql(
            "INSERT INTO usage_price (model_id, provider, input, output, valid_from, note, created_by, created_at) "
            "VALUES (?, '', 2, 10, '2020-01-01', '', '', '2020-01-01')",
            PRICED,
        )
        time.sleep(6)  # prices made by another process are seen after 5 s
        yield service


def budget(service: Service, applies_to: str, subject: str, micro_dollars: int, period: str = "Total") -> None:
    """Made by another process, as in the admin of another replica; felt within seconds."""
    service.sql(
        "INSERT INTO usage_budget (applies_to, subject, period, micro_dollars, active, note, created_by, created_at, "
        "changed_at) VALUES (?, ?, ?, ?, 1, '', '', '2020-01-01', '2020-01-01')",
        applies_to, subject, period, micro_dollars,
    )  # fmt: skip


async def test_a_limit_of_the_requests_own(limited: Service) -> None:
    key = limited.create_key("carl")
    tight = {"rateLimit": {"period": "Monthly", "rate": 0.005}}
    for _ in range(2):
        answer = await limited.chat(PRICED, options=tight, key=key)
        assert answer.status == 200
    refused = await limited.chat(PRICED, options=tight, key=key)
    assert refused.status == 429
    body = refused.json
    assert body["error"] == (
        "Request limit reached. Current Spent: $0.006 spent this month. Set Rate limit: $0.005 / Monthly"
    )
    assert (body["code"], body["limit"]["setBy"], body["limit"]["spent"]) == ("budget_exceeded", "user", 0.006)
    assert 0 < int(refused.headers["Retry-After"]) <= 31 * 86_400 and body["resetAt"].endswith("-01T00:00:00Z")
    async with connect(limited.ws_url, additional_headers=limited.headers(key)) as socket:
        await socket.recv()
        asked = {"type": "chat.start", "id": "q1", "body": question(PRICED, **tight)}
        await socket.send(json.dumps(asked))
        told = json.loads(await socket.recv())
    assert told == {
        "type": "error", "id": "q1", "code": "budget_exceeded", "error": body["error"], "limit": body["limit"],
        "resetAt": body["resetAt"], "retryAfter": told["retryAfter"],
    }  # fmt: skip
    assert 0 < told["retryAfter"] <= int(refused.headers["Retry-After"])
    assert (await limited.chat(PRICED, key=key)).status == 200  # it was the request's own
    assert (await limited.chat(PRICED, options={"rateLimit": {"period": "Unlimited"}}, key=key)).status == 200
    wrong = await limited.chat(PRICED, options={"rateLimit": {"period": "Monthly", "rate": None}}, key=key)
    assert (wrong.status, wrong.json["code"]) == (400, "invalid_request")


async def test_an_administrators_budget_is_felt_and_cannot_be_widened(limited: Service) -> None:
    key = limited.create_key("dora")
    assert (await limited.chat(PRICED, key=key)).status == 200
    budget(limited, "user", "dora", COST)

    async with asyncio.timeout(15):
        while (refused := await limited.chat(PRICED, key=key)).status == 200:  # noqa: ASYNC110 - until it is read
            await asyncio.sleep(0.2)
    assert "Amplify Set Rate limit: $0.003 / Total" in refused.json["error"]
    assert "Retry-After" not in refused.headers and refused.json["resetAt"] is None
    wide = await limited.chat(PRICED, options={"rateLimit": {"period": "Total", "rate": 1_000}}, key=key)
    assert wide.status == 429


async def test_a_race_through_the_door(limited: Service) -> None:
    """Room for one of the two that may run at once: the estimate is a hundred tokens of output at most."""
    limit = {"rateLimit": {"period": "Total", "rate": 0.001}}
    key = limited.create_key("emil")
    body = question(PRICED, **limit) | {"max_tokens": 90}
    answers = await asyncio.gather(*(limited.ask(body, key=key) for _ in range(3)))
    assert sorted(answer.status for answer in answers) == [200, 429, 429]


async def test_somebody_elses_account_cannot_be_charged(limited: Service) -> None:
    answer = await limited.chat(SHORT, options={"accountId": "general_account"})
    record = limited.record(answer.headers["X-Run-Id"])
    assert record["account_id"] == "lab-7"  # a key charges its own account, whatever its caller says


async def test_runs_at_once(limited: Service) -> None:
    key = limited.create_key("fred")
    async with limited.opened(question(LONG), key=key) as one, limited.opened(question(LONG), key=key) as two:
        async with limited.opened(question(LONG), key=key) as three:
            refused = await limited.chat(SHORT, key=key)
            assert (refused.status, refused.json["code"]) == (429, "too_many_requests")
            assert refused.headers["Retry-After"] == "1"
            await limited.ask(path=f"/runs/{three.headers['X-Run-Id']}/cancel", key=key)
        limited.record(three.headers["X-Run-Id"])
        async with asyncio.timeout(10):
            while (await limited.chat(SHORT, key=key)).status == 429:  # noqa: ASYNC110 - its row comes before its end
                await asyncio.sleep(0.02)
        for open_run in (one, two):
            await limited.ask(path=f"/runs/{open_run.headers['X-Run-Id']}/cancel", key=key)


async def test_a_run_that_is_killed_before_it_begins_leaves_no_reservation(limited: Service) -> None:
    await limited.ask({"killSwitch": {"requestId": "early", "value": True}})
    answer = await limited.chat(SHORT, options={"requestId": "early"})
    assert answer.text == "" and limited.records(answer.headers["X-Run-Id"]) == []
    await wait_until(lambda: not limited.sql("SELECT 1 FROM usage_reservation WHERE request_id = 'early'"))


async def test_a_service_that_is_killed_leaves_its_calls_to_the_next(upstream: Upstream, tmp_path: Path) -> None:
    """SIGKILL in the middle of an answer; the next process books the call, once."""
    quick = {"RESERVATION_SECONDS": "1.5"}
    with running_service(tmp_path, upstream=upstream.url, models=MODELS, **quick) as service:
        with pytest.raises(Exception):  # noqa: B017 - however the client meets the end of it
            async with service.opened(question(HUNDRED)) as response:
                run = response.headers["X-Run-Id"]
                await read_events(response, 10)
                service.process.kill()
                await response.read()
                raise AssertionError("the stream did not break")
        service.process.wait()
        assert service.records(run) == []
    with running_service(tmp_path, upstream=upstream.url, models=MODELS, **quick) as service:
        row = service.record(run)
        assert (row["outcome"], row["estimated"], row["user_id"]) == ("crashed", 1, "alice")
        assert row["input_tokens"] > 0
        assert service.sql("SELECT count(*) n FROM usage_reservation")[0]["n"] == 0
        assert "to the micro-dollar" in manage(service.env, "check_books")


async def test_a_database_that_is_away_costs_no_answer_and_no_row(upstream: Upstream, tmp_path: Path) -> None:
    """Another process holds the database's lock: answers go on, and are booked once when it lets go."""
    with running_service(tmp_path, upstream=upstream.url, models=MODELS) as service:
        await service.chat(SHORT)
        with closing(sqlite3.connect(service.folder / "db.sqlite3", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            answers = await asyncio.gather(*(service.chat(SHORT) for _ in range(10)))
            more = await asyncio.gather(*(service.chat(SHORT) for _ in range(10)))
            told = [answer.headers["X-Run-Id"] for answer in (*answers, *more)]
            assert [answer.text for answer in (*answers, *more)] == ["w0 w1 w2 "] * 20
            limit = {"rateLimit": {"period": "Total", "rate": 5}}
            refused = await service.chat(SHORT, options=limit)
            assert (refused.status, refused.json["code"]) == (503, "unavailable")
            assert list((service.folder / "journal").iterdir())
            other.execute("ROLLBACK")
        await wait_until(lambda: not list((service.folder / "journal").iterdir()), 30.0)
        assert [len(service.records(run)) for run in told] == [1] * 20
        assert service.sql("SELECT count(*) n FROM usage_reservation")[0]["n"] == 0
        assert "to the micro-dollar" in manage(service.env, "check_books")
        assert "ledger_row_lost" not in service.log
