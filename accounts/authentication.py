"""From a credential to a Principal: API keys first, then sessions. Bearer tokens of sign-in services come in beside
`ApiKeys`, as one more `BearerScheme`."""

import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http.cookies import CookieError, SimpleCookie
from importlib import import_module
from typing import Any, Protocol

from channels.auth import get_user
from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.db import DatabaseError
from django.db.models.signals import post_delete, post_save

from accounts.keys import hash_key, is_well_formed
from accounts.models import ApiKey
from accounts.principal import Principal
from core.aio import run_blocking
from core.errors import Forbidden, NotFound, Unauthorized, Unavailable

_CHAT = frozenset({"chat", "full_access"})


class BearerScheme(Protocol):
    """One kind of bearer token."""

    def recognises(self, token: str) -> bool:
        """Whether the token is of this kind, by its form alone."""

    async def principal(self, token: str) -> Principal:
        """Who holds the token. Raises Unauthorized, Forbidden, NotFound; Unavailable when the store cannot be asked."""


@dataclass(frozen=True, slots=True)
class _Cached:
    principal: Principal
    expires_at: datetime | None
    stale_at: float


class ApiKeys:
    """API keys, hashed at rest.

    A good key is remembered for a second: a revocation is felt everywhere within that time, and at once in the
    process that made it; a busy key costs one read a second instead of one a request.
    """

    REMEMBER_SECONDS = 1.0
    REMEMBER_KEYS = 10_000

    def __init__(self) -> None:
        self._cache: OrderedDict[str, _Cached] = OrderedDict()
        post_save.connect(self._changed, sender=ApiKey)
        post_delete.connect(self._changed, sender=ApiKey)

    def recognises(self, token: str) -> bool:
        return token.startswith("amp-")

    async def principal(self, token: str) -> Principal:
        if not is_well_formed(token):
            raise NotFound("API key not found. Check that you copied the whole key.")
        key_hash = hash_key(token)
        cached = self._cache.get(key_hash)
        if cached is None or cached.stale_at < time.monotonic():
            cached = await self._look_up(key_hash, token)
        if cached.expires_at is not None and cached.expires_at <= datetime.now(UTC):
            raise Forbidden("API key has expired. Create a new one.")
        return cached.principal

    async def _look_up(self, key_hash: str, token: str) -> _Cached:
        try:
            row = await run_blocking(_find, key_hash)
        except DatabaseError as error:
            raise Unavailable("Your key cannot be checked at the moment. Please try again in a few seconds.") from error
        found = _Cached(_principal_of(row, token), row.expires_at, time.monotonic() + self.REMEMBER_SECONDS)
        self._cache[key_hash] = found
        while len(self._cache) > self.REMEMBER_KEYS:
            self._cache.popitem(last=False)
        return found

    def _changed(self, *, instance: ApiKey, **_: Any) -> None:
        self._cache.pop(instance.key_hash, None)


def _find(key_hash: str) -> ApiKey:
    row = ApiKey.objects.select_related("owner").filter(key_hash=key_hash).first()
    if row is None:
        raise NotFound("API key not found. Check that you copied the whole key.")
    return row


def _principal_of(row: ApiKey, token: str) -> Principal:
    if not (row.active and row.owner.is_active):
        raise Forbidden("API key is inactive. Ask for a new one.")
    if _CHAT.isdisjoint(row.access_types):
        raise Forbidden("API key does not have access to chat functionality. Create one with the access type `chat`.")
    return Principal(user_id=row.owner.username, account_id=row.account_id, api_key_id=row.api_owner_id, bearer=token)


class Authenticator:
    """Asked by every transport, once per request."""

    def __init__(self, schemes: Sequence[BearerScheme]) -> None:
        self._schemes = tuple(schemes)

    async def by_header(self, authorization: str) -> Principal:
        """The holder of an `Authorization` header's value. Raises Unauthorized if it is not `Bearer <token>`."""
        kind, _, token = authorization.strip().partition(" ")
        if kind.lower() != "bearer" or not token.strip():
            raise Unauthorized("Unauthorized: Bearer token not found. Send `Authorization: Bearer <key>`.")
        return await self.by_token(token.strip())

    async def by_token(self, token: str) -> Principal:
        for scheme in self._schemes:
            if scheme.recognises(token):
                return await scheme.principal(token)
        raise Unauthorized("Unauthorized. Invalid token. Send an API key that starts with `amp-`, or sign in again.")

    async def by_cookie(self, cookie: str) -> Principal | None:
        """The person signed in to the admin or the page, or None. The caller has checked the request's origin."""
        session_key = _session_key(cookie)
        if session_key is None:
            return None
        store = import_module(settings.SESSION_ENGINE).SessionStore(session_key)
        try:
            user = await get_user({"session": store})
        except DatabaseError as error:
            raise Unavailable("Who you are cannot be checked at the moment. Please try again.") from error
        return None if isinstance(user, AnonymousUser) else Principal(user_id=user.username)


def _session_key(cookie: str) -> str | None:
    try:
        morsel = SimpleCookie(cookie).get(settings.SESSION_COOKIE_NAME)
    except CookieError:
        return None
    return morsel.value if morsel else None


def same_origin(headers: Mapping[str, str]) -> bool:
    """Whether a browser says that one of our own pages made the request.

    A cookie goes along with requests that other sites make, so it counts only then. Browsers send `Origin` with
    every POST and WebSocket; plain GETs of our pages carry `Sec-Fetch-Site: same-origin`.
    """
    origin = headers.get("origin")
    if origin is None:
        return headers.get("sec-fetch-site") == "same-origin"
    return origin.partition("://")[2] == headers.get("host")
