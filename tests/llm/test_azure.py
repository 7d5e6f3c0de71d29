"""Entra's tokens, fetched from a small server of our own, and the calls that carry them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port
from structlog.testing import capture_logs

from core.errors import ModelFailed, ModelOverflowed, ModelRejectedKey, ModelUnreachable
from core.http import HttpClient, HttpTimeouts
from llm.endpoints import Endpoint
from llm.messages import Message, ModelRequest
from llm.model import ModelCard
from llm.providers import azure
from llm.providers.azure import EntraTokens, WithEntra
from llm.providers.openai_chat import OpenAIChat
from llm.vendor import Provider
from tests.harness import CANARY

SECRET = f"{CANARY}-secret"
URL = "https://x.openai.azure.com/openai/v1/responses"
CARD = ModelCard(id="m", name="M", provider="azure")
REQUEST = ModelRequest(messages=(Message.of("user", "2+2?"),))


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Entra:
    """Gives `<canary>-token-1`, `…-2`, …; answers what `answer` says once that is set."""

    forms: list[Mapping[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    answer: Callable[[], web.Response] | None = None
    delay: float = 0.0

    async def handle(self, request: web.Request) -> web.Response:
        self.paths.append(request.path)
        self.forms.append(dict(await request.post()))
        number = len(self.forms)
        await asyncio.sleep(self.delay)
        if self.answer is not None:
            return self.answer()
        return web.json_response(
            {"token_type": "Bearer", "expires_in": 3600, "access_token": f"{CANARY}-token-{number}"}
        )


@asynccontextmanager
async def _running(entra: Entra, clock: Callable[[], float]) -> AsyncIterator[EntraTokens]:
    app = web.Application()
    app.router.add_post("/{tenant}/oauth2/v2.0/token", entra.handle)
    client = HttpClient(timeouts=HttpTimeouts())
    try:
        async with TestServer(app) as server:
            yield _tokens(client, str(server.make_url("/")), clock)
    finally:
        await client.aclose()


def _tokens(client: HttpClient, authority: str, clock: Callable[[], float]) -> EntraTokens:
    return EntraTokens(
        tenant="a tenant", client_id="app", client_secret=SECRET, client=client, authority=authority, clock=clock
    )


async def test_a_token_is_kept_until_five_minutes_before_it_expires() -> None:
    entra, clock = Entra(), Clock()
    async with _running(entra, clock) as tokens:
        assert await tokens.token() == f"{CANARY}-token-1"
        clock.now += 3299
        assert await tokens.token() == f"{CANARY}-token-1"
        clock.now += 2
        assert await tokens.token() == f"{CANARY}-token-2"
        assert await tokens.token() == f"{CANARY}-token-2"
    assert entra.paths[0] == "/a tenant/oauth2/v2.0/token"
    assert (
        entra.forms
        == [
            {
                "grant_type": "client_credentials",
                "client_id": "app",
                "client_secret": SECRET,
                "scope": "https://cognitiveservices.azure.com/.default",
            }
        ]
        * 2
    )


async def test_many_at_once_fetch_one_token() -> None:
    entra = Entra(delay=0.05)
    async with _running(entra, Clock()) as tokens:
        got = await asyncio.gather(*(tokens.token() for _ in range(50)))
    assert set(got) == {f"{CANARY}-token-1"}
    assert len(entra.forms) == 1


async def test_many_at_once_share_one_failure() -> None:
    entra = Entra(delay=0.05, answer=lambda: web.Response(status=503, headers={"Retry-After": "7"}))
    async with _running(entra, asyncio.get_running_loop().time) as tokens:
        got = await asyncio.gather(*(tokens.token() for _ in range(50)), return_exceptions=True)
        assert len(entra.forms) == 1
        assert {type(failure) for failure in got} == {ModelUnreachable}
        assert all(isinstance(failure, ModelFailed) and failure.retry_after == 7 for failure in got)
        entra.answer = None
        assert await tokens.token() == f"{CANARY}-token-2"  # the next one asks again


async def test_one_that_is_cancelled_holds_up_nobody() -> None:
    entra = Entra(delay=0.05)
    async with _running(entra, Clock()) as tokens:
        async with asyncio.TaskGroup() as group:
            first, second = group.create_task(tokens.token()), group.create_task(tokens.token())
            await asyncio.sleep(0)
            first.cancel()
        assert second.result().startswith(CANARY)


async def test_a_good_token_outlives_a_failed_refresh() -> None:
    entra, clock = Entra(), Clock()
    async with _running(entra, clock) as tokens:
        await tokens.token()
        entra.answer = lambda: web.Response(status=500)
        clock.now += 3400
        assert await tokens.token() == f"{CANARY}-token-1"
        assert await tokens.token() == f"{CANARY}-token-1"
        assert len(entra.forms) == 2  # not asked again with every call
        clock.now += 199
        assert await tokens.token() == f"{CANARY}-token-1"
        assert len(entra.forms) == 3
        clock.now += 1
        with pytest.raises(ModelUnreachable):
            await tokens.token()


def _oauth_error(status: int, error: str) -> web.Response:
    body = {"error": error, "error_description": f"AADSTS7000215: {SECRET}", "error_codes": [7000215, SECRET]}
    return web.json_response(body, status=status)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (lambda: _oauth_error(401, "invalid_client"), ModelRejectedKey),
        (lambda: _oauth_error(400, "invalid_scope"), ModelRejectedKey),
        (lambda: _oauth_error(400, "temporarily_unavailable"), ModelUnreachable),
        (lambda: _oauth_error(429, "x"), ModelUnreachable),
        (lambda: web.Response(status=500, text=SECRET), ModelUnreachable),
        (lambda: web.Response(status=302, headers={"Location": "/elsewhere"}), ModelUnreachable),
        (lambda: web.Response(text=f"<html>{SECRET}"), ModelUnreachable),
        (lambda: web.json_response({"access_token": SECRET}), ModelUnreachable),
        (lambda: web.json_response({"access_token": 7, "expires_in": 3600}), ModelUnreachable),
    ],
)
async def test_failures_say_no_secret(answer: Callable[[], web.Response], kind: type[ModelFailed]) -> None:
    with capture_logs() as logs:
        async with _running(Entra(answer=answer), Clock()) as tokens:
            with pytest.raises(ModelFailed) as raised:
                await tokens.token()
            assert CANARY not in repr(tokens)
    assert type(raised.value) is kind
    assert CANARY not in repr(raised.value) + str(raised.value) + repr(raised.value.__cause__) + repr(logs)
    assert logs


async def test_a_silent_authority_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(azure, "TOKEN_TIMEOUT", 0.05)
    async with _running(Entra(delay=0.5), Clock()) as tokens:
        with pytest.raises(ModelUnreachable):
            await tokens.token()


async def test_nobody_listens() -> None:
    client = HttpClient(timeouts=HttpTimeouts())
    try:
        with pytest.raises(ModelUnreachable) as raised:
            await _tokens(client, f"http://127.0.0.1:{unused_port()}", Clock()).token()
        assert CANARY not in repr(raised.value.__cause__)
    finally:
        await client.aclose()


async def test_calls_without_a_key_carry_a_token() -> None:
    entra = Entra()
    async with _running(entra, Clock()) as tokens:
        provider: Provider = WithEntra(OpenAIChat(), tokens)
        call = await provider.call(CARD, Endpoint(url=URL), REQUEST)
        plain = await OpenAIChat().call(CARD, Endpoint(url=URL), REQUEST)
    assert call.headers == {"Authorization": f"Bearer {CANARY}-token-1"}
    assert (call.url, call.body) == (plain.url, plain.body)
    assert CANARY not in repr(call)
    assert CANARY not in repr(provider)


async def test_calls_with_a_key_need_no_token() -> None:
    entra = Entra()
    async with _running(entra, Clock()) as tokens:
        call = await WithEntra(OpenAIChat(), tokens).call(CARD, Endpoint(url=URL, key="k"), REQUEST)
    assert call.headers == {"api-key": "k"}
    assert entra.forms == []


async def test_everything_else_is_the_inner_providers() -> None:
    async with _running(Entra(), Clock()) as tokens:
        provider = WithEntra(OpenAIChat(), tokens)
    assert type(provider.refusal(400, {}, b'{"error":{"code":"context_length_exceeded"}}')) is ModelOverflowed
    assert len(provider.reader().feed(b'data: {"choices":[{"delta":{"content":"hi"}}]}\n\n')) == 1
