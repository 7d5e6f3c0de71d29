"""The public keys that a sign-in service signs with: fetched seldom, by one for all, kept when it cannot be asked."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Generic, Literal, TypeVar

import aiohttp
import jwt
import orjson
import structlog
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from core.aio import TaskSet
from core.errors import Unavailable
from core.http import HttpClient

T = TypeVar("T")

log = structlog.get_logger(__name__)

Algorithm = Literal["RS256", "ES256"]
PublicKey = RSAPublicKey | EllipticCurvePublicKey

CALL_SECONDS = 5.0
MAX_BYTES = 256 * 1024
MIN_RSA_BITS = 2048  # RFC 7518 §3.3

# A key that was taken back is good for no longer than this.
RENEW_SECONDS = 3600.0
# Tokens with made-up key ids cost the issuer no more than one call in this time.
AGAIN_SECONDS = 60.0
# While there is nothing at all, callers are told to come back: the next try is worth more.
RETRY_SECONDS = 5.0

_KEY_TYPES: dict[str, dict[str, str]] = {"RS256": {"kty": "RSA"}, "ES256": {"kty": "EC", "crv": "P-256"}}


class NotAnswered(Exception):
    """A sign-in service did not answer, or not with what its protocol says. The text is safe to log."""


async def call_json(client: HttpClient, method: str, url: str, **options: Any) -> tuple[int, Any]:
    """Status and JSON of one call: within seconds, of bounded size, and never of another address than this one.

    Raises NotAnswered. `options` are aiohttp's.
    """
    try:
        async with (
            asyncio.timeout(CALL_SECONDS),
            client.session.request(method, url, allow_redirects=False, **options) as response,
        ):
            return response.status, orjson.loads(await _bounded(response.content))
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise NotAnswered(type(error).__name__) from error
    except ValueError:
        raise NotAnswered("not_json") from None


async def fetch_json(client: HttpClient, url: str) -> Any:
    """The JSON at `url`. Raises NotAnswered for every status but 200."""
    status, content = await call_json(client, "GET", url)
    if status != 200:  # noqa: PLR2004
        raise NotAnswered(f"status_{status}")
    return content


async def _bounded(stream: aiohttp.StreamReader) -> bytes:
    body = bytearray()
    async for chunk in stream.iter_any():
        body += chunk
        if len(body) > MAX_BYTES:
            raise NotAnswered("too_large")
    return bytes(body)


def signing_keys(document: Any, algorithm: Algorithm) -> dict[str, PublicKey]:
    """The keys of a JWK Set (RFC 7517 §5) that can verify `algorithm`, by key id.

    Those that are for something else, are too short or cannot be read are left out. Raises NotAnswered if none is left.
    """
    listed = document.get("keys") if isinstance(document, dict) else None
    keys: dict[str, PublicKey] = {}
    for jwk in listed if isinstance(listed, list) else []:
        if isinstance(jwk, dict) and _is_for(jwk, algorithm) and (key := _public_key(jwk, algorithm)) is not None:
            keys.setdefault(jwk["kid"], key)
    if not keys:
        raise NotAnswered("no_usable_key")
    return keys


def _is_for(jwk: dict[str, Any], algorithm: Algorithm) -> bool:
    operations = jwk.get("key_ops", ["verify"])
    return (
        isinstance(jwk.get("kid"), str)
        and _KEY_TYPES[algorithm].items() <= jwk.items()
        and jwk.get("use", "sig") == "sig"
        and jwk.get("alg", algorithm) == algorithm
        and isinstance(operations, list)
        and "verify" in operations
    )


def _public_key(jwk: dict[str, Any], algorithm: Algorithm) -> PublicKey | None:
    try:
        key = jwt.PyJWK(jwk, algorithm).key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        return None
    if isinstance(key, RSAPublicKey):
        return key if key.key_size >= MIN_RSA_BITS else None
    return key if isinstance(key, EllipticCurvePublicKey) else None


class Fetched(Generic[T]):
    """What `fetch` gives, remembered. Callers share one fetch; when it fails (NotAnswered), the last value stays."""

    def __init__(
        self, fetch: Callable[[], Awaitable[T]], *, name: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._fetch = fetch
        self._name = name
        self._clock = clock
        self._value: T | None = None
        self._good_until = float("-inf")
        self._next_fetch = float("-inf")
        self._fetching: asyncio.Task[None] | None = None
        self._tasks = TaskSet()

    async def get(self) -> T:
        """The value; from memory once there is one, though an old one is renewed meanwhile. Raises Unavailable."""
        if self._value is None:
            return await self.renewed()
        if self._clock() >= self._good_until:
            self._start()
        return self._value

    async def renewed(self) -> T:
        """The value, fetched anew unless that was tried a moment ago. Raises Unavailable while there is none."""
        if (fetching := self._start()) is not None:
            # Not awaited itself: a caller that is cancelled does not take the others' fetch along.
            await asyncio.wait([fetching])
        if self._value is None:
            raise Unavailable("The sign-in service cannot be reached. Please try again in a few seconds.")
        return self._value

    def _start(self) -> asyncio.Task[None] | None:
        """The fetch that runs; a new one if it is time for it."""
        running = self._fetching
        if running is not None and not running.done() and running.get_loop() is asyncio.get_running_loop():
            return running
        if self._clock() < self._next_fetch:
            return None
        self._fetching = self._tasks.spawn(self._fetch_again(), name=f"fetch {self._name}")
        return self._fetching

    async def _fetch_again(self) -> None:
        try:
            self._value = await self._fetch()
            self._good_until = self._clock() + RENEW_SECONDS
        except NotAnswered as error:
            log.warning("sign_in_service_silent", what=self._name, reason=str(error), known=self._value is not None)
        finally:
            self._next_fetch = self._clock() + (RETRY_SECONDS if self._value is None else AGAIN_SECONDS)
