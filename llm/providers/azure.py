"""Azure without keys: tokens of Microsoft Entra for the calls of another provider.

Source: https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow (the first case, with a
shared secret) and https://learn.microsoft.com/azure/ai-foundry/openai/reference#authentication.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote

import aiohttp
import structlog

from core.errors import ModelFailed, ModelRejectedKey, ModelUnreachable
from core.http import HttpClient
from llm.endpoints import Endpoint
from llm.messages import ModelRequest
from llm.model import ModelCard
from llm.refusals import json_object, retry_after
from llm.vendor import Provider, StreamReader, WireCall

log = structlog.get_logger(__name__)

AUTHORITY = "https://login.microsoftonline.com"
SCOPE = "https://cognitiveservices.azure.com/.default"

# Seconds.
TOKEN_TIMEOUT = 10.0
REFRESH_BEFORE_EXPIRY = 300.0
# While a token is still good, a refresh that failed is tried again after this.
REFRESH_AGAIN = 15.0

MAX_ANSWER_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class _Token:
    value: str = field(repr=False)
    refresh_at: float
    expires_at: float


class EntraTokens:
    """The access tokens of one application, fetched with its secret and kept until shortly before they expire."""

    def __init__(
        self,
        *,
        tenant: str,
        client_id: str,
        client_secret: str,
        client: HttpClient,
        authority: str = AUTHORITY,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`authority` is another one in national clouds (https://login.microsoftonline.us) and in tests."""
        self._url = f"{authority.rstrip('/')}/{quote(tenant, safe='')}/oauth2/v2.0/token"
        self._form = {
            "grant_type": "client_credentials",
            "client_id": client_id,
            "client_secret": client_secret,
            "scope": SCOPE,
        }
        self._client = client
        self._clock = clock
        self._refreshing = asyncio.Lock()
        self._token: _Token | None = None
        self._failed: tuple[float, ModelFailed] = (float("-inf"), ModelUnreachable())

    async def token(self) -> str:
        """A token that is good for a while. Raises ModelRejectedKey and ModelUnreachable, without secrets."""
        if kept := self._kept():
            return kept
        asked_at = self._clock()
        async with self._refreshing:
            # Somebody else may have refreshed it, or have failed to, while this one waited.
            if kept := self._kept():
                return kept
            failed_at, failure = self._failed
            if failed_at > asked_at:
                raise type(failure)(retry_after=failure.retry_after)
            return await self._refresh()

    def _kept(self) -> str | None:
        token = self._token
        return token.value if token and self._clock() < token.refresh_at else None

    async def _refresh(self) -> str:
        try:
            self._token = await self._fetch()
        except ModelFailed as failure:
            now = self._clock()
            if self._token is None or now >= self._token.expires_at:
                self._failed = (now, failure)
                raise
            self._token = replace(self._token, refresh_at=min(now + REFRESH_AGAIN, self._token.expires_at))
        return self._token.value

    async def _fetch(self) -> _Token:
        try:
            async with (
                asyncio.timeout(TOKEN_TIMEOUT),
                self._client.session.post(self._url, data=self._form, allow_redirects=False) as response,
            ):
                content = json_object(await _body(response))
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            log.warning("entra_unreachable", reason=type(error).__name__)
            raise ModelUnreachable from error
        if response.status != 200:  # noqa: PLR2004
            raise _refusal(response.status, response.headers, content)
        return self._read(content)

    def _read(self, content: Mapping[str, Any]) -> _Token:
        value, lifetime = content.get("access_token"), content.get("expires_in")
        if not isinstance(value, str) or not isinstance(lifetime, int | float):
            log.warning("entra_answered_no_token")
            raise ModelUnreachable
        expires_at = self._clock() + lifetime
        return _Token(value=value, refresh_at=expires_at - REFRESH_BEFORE_EXPIRY, expires_at=expires_at)


async def _body(response: aiohttp.ClientResponse) -> bytes:
    body = b""
    while len(body) < MAX_ANSWER_BYTES and (chunk := await response.content.readany()):
        body += chunk
    return body


def _refusal(status: int, headers: Mapping[str, str], content: Mapping[str, Any]) -> ModelFailed:
    """400 and 401 are about our tenant, application or secret (RFC 6749, section 5.2); the rest passes."""
    codes = content.get("error_codes")
    numbers = [code for code in codes if isinstance(code, int)] if isinstance(codes, list) else []
    # Only Entra's numbers: its texts name the application and the tenant.
    log.warning("entra_refused", status=status, error_codes=numbers, hint="https://login.microsoftonline.com/error")
    if status in (400, 401, 403) and content.get("error") != "temporarily_unavailable":
        return ModelRejectedKey()
    return ModelUnreachable(retry_after=retry_after(headers))


class WithEntra:
    """A provider whose calls carry a token wherever the endpoint has no key of its own."""

    def __init__(self, inner: Provider, tokens: EntraTokens) -> None:
        self._inner = inner
        self._tokens = tokens

    async def call(self, card: ModelCard, endpoint: Endpoint, request: ModelRequest) -> WireCall:
        call = await self._inner.call(card, endpoint, request)
        if endpoint.key:
            return call
        token = await self._tokens.token()
        return replace(call, headers={**call.headers, "Authorization": f"Bearer {token}"})

    def reader(self) -> StreamReader:
        return self._inner.reader()

    def refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> ModelFailed:
        return self._inner.refusal(status, headers, body)
