"""The platform's available-models API, asked for each person: a unit test of its memory, against a real server."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from structlog.testing import capture_logs

from accounts.principal import Principal
from core.errors import Forbidden, Unavailable
from core.http import HttpClient, HttpTimeouts
from core.testing import own_blocking_thread
from llm import available_models
from llm.available_models import FRESH_SECONDS, RETRY_SECONDS, STALE_SECONDS, AvailableModels

CANARY = "amp-v1-canary-of-the-bearer"
GPT = {
    "id": "gpt-4o", "name": "GPT-4o", "provider": "Azure", "inputContextWindow": "128000", "outputTokenLimit": 16384,
    "inputTokenCost": "0.0025", "outputTokenCost": 0.01, "cachedTokenCost": "0.00125", "supportsImages": True,
    "isAvailable": True,
}  # fmt: skip
RESERVED = {
    "id": "own", "name": "Own", "provider": "Azure", "inputContextWindow": 8000, "outputTokenLimit": 4000,
    "inputTokenCost": 1, "outputTokenCost": 2, "inputCachedTokenCost": 0.5, "inputWriteCachedTokenCost": 3,
    "isAvailable": False, "exclusiveGroupAvailability": ["Chemistry"],
}  # fmt: skip


@pytest.fixture(autouse=True)
def own_thread() -> Iterator[None]:
    with own_blocking_thread():
        yield


def _listing(*models: dict[str, Any], **roles: Any) -> dict[str, Any]:
    return {"success": True, "data": {"models": list(models), **roles}}


class Api:
    """The platform's API: what it answers to whom, and how often it was asked."""

    def __init__(self) -> None:
        self.now = 0.0
        self.asked: list[str] = []
        self.answers: dict[str, Any] = {}
        """Bearer to a JSON value, bytes, or a status."""
        self.was_asked, self.may_answer = asyncio.Event(), asyncio.Event()
        self.may_answer.set()
        self.news = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        bearer = request.headers["Authorization"].removeprefix("Bearer ")
        self.asked.append(bearer)
        self.was_asked.set()
        await self.may_answer.wait()
        answer = self.answers.get(bearer, 401)
        if isinstance(answer, int):
            return web.Response(status=answer, text=f"no, {bearer}", headers={"Location": "/elsewhere"})
        return web.Response(body=answer if isinstance(answer, bytes) else orjson.dumps(answer))

    def has_news(self) -> None:
        self.news += 1


def who(name: str, bearer: str | None = None) -> Principal:
    return Principal(user_id=name, bearer=f"token of {name}" if bearer is None else bearer)


@asynccontextmanager
async def _running(api: Api) -> AsyncIterator[AvailableModels]:
    app = web.Application()
    app.router.add_get("/available_models", api.answer)
    client = HttpClient(timeouts=HttpTimeouts())
    async with TestServer(app) as server:
        base_url = f"http://127.0.0.1:{server.port}"
        models = AvailableModels(base_url, client, on_news=api.has_news, clock=lambda: api.now)
        yield models
        api.may_answer.set()
        await models.aclose()
    await client.aclose()


@pytest.fixture
async def api() -> Api:
    return Api()


@pytest.fixture
async def models(api: Api) -> AsyncIterator[AvailableModels]:
    async with _running(api) as running:
        yield running


async def test_each_person_has_a_list_of_their_own(api: Api, models: AvailableModels) -> None:
    api.answers = {"token of alice": _listing(GPT), "token of bob": _listing(GPT, RESERVED)}
    alice, bob = await models.rules_for(who("alice")), await models.rules_for(who("bob"))
    assert alice.may_use("gpt-4o") and not alice.may_use("own") and not alice.may_use("anything-else")
    # What the API lists its caller may use, whatever it says of others.
    assert bob.may_use("own") and bob.in_order(["own", "gpt-4o"]) == ["gpt-4o", "own"]


async def test_facts_roles_and_rates_are_the_lists(api: Api, models: AvailableModels) -> None:
    roles = {"default": RESERVED, "cheapest": GPT, "advanced": None, "documentCaching": None}
    api.answers = {"token of bob": _listing(GPT, RESERVED, **roles)}
    rules = await models.rules_for(who("bob"))
    expected = {"default": "own", "advanced": "own", "cheapest": "gpt-4o", "document_caching": "gpt-4o"}
    assert rules.roles == expected
    card = await models.card("gpt-4o", provider="compatible")
    assert (card.name, card.provider, card.context_window, card.output_limit) == ("GPT-4o", "azure", 128_000, 16_384)
    assert (await models.card("nowhere", provider="openai")).context_window is None
    gpt, own = models.rates()["gpt-4o"], models.rates()["own"]
    assert (gpt.input, gpt.output, gpt.cache_read, gpt.cache_write) == (
        Decimal("2.5"), Decimal(10), Decimal("1.25"), Decimal("2.5")
    )  # fmt: skip
    assert (own.cache_read, own.cache_write) == (500, 3000)


async def test_all_who_ask_at_once_share_a_request_and_it_is_remembered(api: Api, models: AvailableModels) -> None:
    api.answers = {"token of alice": _listing(GPT)}
    api.may_answer.clear()
    asking = [asyncio.ensure_future(models.rules_for(who("alice"))) for _ in range(50)]
    await api.was_asked.wait()
    asking[0].cancel()  # takes no other along
    api.may_answer.set()
    assert all(rules.may_use("gpt-4o") for rules in await asyncio.gather(*asking[1:]))
    api.now = FRESH_SECONDS
    await models.rules_for(who("alice"))
    assert len(api.asked) == 1
    api.now += 1
    api.answers = {"token of alice": _listing(RESERVED)}
    changed = await models.rules_for(who("alice"))
    assert changed.may_use("own") and not changed.may_use("gpt-4o") and len(api.asked) == 2


async def test_another_credential_is_another_question(api: Api, models: AvailableModels) -> None:
    """The same user by another key, and a key with the same first and last characters."""
    api.answers = {"key-1-x": _listing(GPT), "key-2-x": _listing(RESERVED)}
    assert (await models.rules_for(who("alice", "key-1-x"))).may_use("gpt-4o")
    assert not (await models.rules_for(who("alice", "key-2-x"))).may_use("gpt-4o")
    assert not any("key-" in str(key) for key in models._known)


async def test_news_is_told_once(api: Api, models: AvailableModels) -> None:
    api.answers = {"token of alice": _listing(GPT), "token of bob": _listing(GPT), "token of eve": _listing(RESERVED)}
    for name, news in (("alice", 1), ("bob", 1), ("eve", 2)):
        await models.rules_for(who(name))
        assert api.news == news


async def test_equal_lists_are_kept_once(api: Api, models: AvailableModels) -> None:
    api.answers = {"token of alice": _listing(GPT), "token of bob": _listing(GPT)}
    alice, bob = await models.rules_for(who("alice")), await models.rules_for(who("bob"))
    assert alice.table is bob.table


async def test_memory_is_bounded(api: Api, models: AvailableModels, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(available_models, "REMEMBER_LISTS", 3)
    names = [f"user-{number}" for number in range(5)]
    api.answers = {f"token of {name}": _listing(GPT) for name in names}
    for name in names:
        await models.rules_for(who(name))
    assert len(models._known) == 3
    await models.rules_for(who(names[-1]))
    assert len(api.asked) == 5


@pytest.mark.parametrize(
    "answer",
    [
        500, 401, 302, b"", b"not JSON", b"[]", b'{"success":true}', b'{"success":true,"data":{"models":{}}}',
        {"success": False, "data": {"models": [GPT]}}, b"[" + b"0," * (available_models.MAX_BYTES // 2),
    ],
)  # fmt: skip
async def test_what_is_no_list_lets_nobody_in_and_is_asked_again_soon(
    api: Api, models: AvailableModels, answer: Any
) -> None:
    api.answers = {CANARY: answer}
    with capture_logs() as logs:
        for _ in range(3):
            with pytest.raises(Unavailable, match="Which models you may use"):
                await models.rules_for(who("alice", CANARY))
    assert len(api.asked) == 1  # a failure is remembered, for seconds
    assert [line["event"] for line in logs] == ["available_models_not_read"] and CANARY not in str(logs)
    api.now += RETRY_SECONDS
    api.answers = {CANARY: _listing(GPT)}
    assert (await models.rules_for(who("alice", CANARY))).may_use("gpt-4o")


async def test_while_the_api_is_away_its_last_answer_goes_on_for_a_while(api: Api, models: AvailableModels) -> None:
    api.answers = {"token of alice": _listing(GPT)}
    await models.rules_for(who("alice"))
    api.answers = {"token of alice": 503}
    api.now = STALE_SECONDS
    assert (await models.rules_for(who("alice"))).may_use("gpt-4o")
    with pytest.raises(Unavailable):
        await models.rules_for(who("bob"))
    api.now += RETRY_SECONDS
    with pytest.raises(Unavailable):
        await models.rules_for(who("alice"))


async def test_an_api_that_hangs_is_given_up(
    api: Api, models: AvailableModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(available_models, "TIMEOUT_SECONDS", 0.05)
    api.may_answer.clear()
    with pytest.raises(Unavailable):
        await models.rules_for(who("alice"))


async def test_a_caller_without_a_credential_is_told_what_to_use(api: Api, models: AvailableModels) -> None:
    with pytest.raises(Forbidden, match="access token or an API key"):
        await models.rules_for(who("alice", ""))
    assert api.asked == []


@pytest.mark.parametrize(
    "broken",
    [
        {}, {"id": None}, {"id": ""}, {"id": "x" * 256}, None, 7,
        {**GPT, "id": "bad", "inputContextWindow": "many"},
    ],
)  # fmt: skip
async def test_a_broken_entry_takes_no_other_along(api: Api, models: AvailableModels, broken: Any) -> None:
    api.answers = {"token of alice": _listing(broken, GPT)}
    with capture_logs() as logs:
        rules = await models.rules_for(who("alice"))
    assert list(rules.table.entries) == ["gpt-4o"]
    assert [line["event"] for line in logs] == ["model_row_not_read"]


@pytest.mark.parametrize("cost", [None, "", "dear", -1, "NaN", True, [], {}])
async def test_a_price_that_is_none_is_no_price(api: Api, models: AvailableModels, cost: Any) -> None:
    """The price list holds then, and where that knows none either, an alarm: never a silent zero."""
    api.answers = {"token of alice": _listing({**GPT, "inputTokenCost": cost})}
    await models.rules_for(who("alice"))
    assert "gpt-4o" not in models.rates()


async def test_a_list_that_comes_back_brings_its_prices_back(api: Api, models: AvailableModels) -> None:
    """Also where somebody who asked before has it still."""
    dearer = {**GPT, "inputTokenCost": "0.005", "inputContextWindow": 64_000}
    api.answers = {"token of alice": _listing(GPT), "token of bob": _listing(dearer)}
    for name, dollars, window in (("alice", "2.5", 128_000), ("bob", "5", 64_000)):
        await models.rules_for(who(name))
        assert models.rates()["gpt-4o"].input == Decimal(dollars)
        assert (await models.card("gpt-4o", provider="azure")).context_window == window
    api.answers = {"token of bob": _listing(GPT)}
    api.now += FRESH_SECONDS + 1
    await models.rules_for(who("bob"))
    assert models.rates()["gpt-4o"].input == Decimal("2.5") and api.news == 3
    assert (await models.card("gpt-4o", provider="azure")).context_window == 128_000


@pytest.mark.parametrize("broken", [{}, None, {"id": ""}, {**GPT, "inputContextWindow": "many"}])
async def test_a_list_of_nothing_but_broken_entries_is_no_list(api: Api, models: AvailableModels, broken: Any) -> None:
    api.answers = {"token of alice": _listing(GPT), "token of bob": _listing(broken)}
    await models.rules_for(who("alice"))
    with pytest.raises(Unavailable):
        await models.rules_for(who("bob"))
    api.answers = {"token of alice": _listing(broken), "token of bob": _listing(GPT)}
    api.now = FRESH_SECONDS + 1
    assert (await models.rules_for(who("alice"))).may_use("gpt-4o")
    assert (await models.rules_for(who("bob"))).may_use("gpt-4o")


async def test_an_empty_list_is_an_answer(api: Api, models: AvailableModels) -> None:
    api.answers = {"token of alice": _listing()}
    assert not (await models.rules_for(who("alice"))).may_use("gpt-4o")


@pytest.mark.parametrize("cost", ["1e999999", "1e300", "Infinity"])
async def test_a_price_beyond_all_bounds_is_no_price_and_takes_no_model_along(
    api: Api, models: AvailableModels, cost: str
) -> None:
    api.answers = {"token of alice": _listing({**GPT, "inputTokenCost": cost}, RESERVED)}
    rules = await models.rules_for(who("alice"))
    assert rules.may_use("gpt-4o") and list(models.rates()) == ["own"]


@pytest.mark.parametrize("count", ["Infinity", "1e400", "NaN", 10**18, "1e300"])
async def test_a_window_beyond_all_bounds_is_a_broken_entry(api: Api, models: AvailableModels, count: Any) -> None:
    api.answers = {"token of alice": _listing({**GPT, "inputContextWindow": count}, RESERVED)}
    with capture_logs() as logs:
        rules = await models.rules_for(who("alice"))
    assert list(rules.table.entries) == ["own"] and [line["event"] for line in logs] == ["model_row_not_read"]


async def test_a_window_is_a_whole_number(api: Api, models: AvailableModels) -> None:
    api.answers = {"token of alice": _listing({**GPT, "inputContextWindow": "128000.5"})}
    await models.rules_for(who("alice"))
    window = (await models.card("gpt-4o", provider="azure")).context_window
    assert window == 128_000 and isinstance(window, int)
