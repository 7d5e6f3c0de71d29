"""From a credential to a Principal: API keys, access tokens of sign-in services (`accounts.tokens`), sessions."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from http.cookies import CookieError, SimpleCookie
from importlib import import_module
from typing import Any, Protocol

from channels.auth import get_user
from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.db import Error as DatabaseFailed

from accounts.directory import AWAY_SECONDS, Directory
from accounts.keys import hash_key, is_well_formed
from accounts.last_use import LastUse
from accounts.lookups import Bucket, Lookups
from accounts.principal import FULL_ACCESS, Principal
from accounts.stores import KeyRecord, Stores, changed
from core.errors import BadRequest, Forbidden, NotFound, Unauthorized, Unavailable

CHAT = "chat"
"""The access type that chatting needs."""

_NOT_FOUND = "API key not found. Check that you copied the whole key."
_INACTIVE = "API key is inactive. Ask for a new one."
_EXPIRED = "API key has expired. Create a new one."
_NO_KIND = "Invalid or unrecognized key type. Create a new key."
_NO_ACCOUNT = "API key data does not have a valid account attached. Give the key an account, or create a new one."


class BearerScheme(Protocol):
    """One kind of bearer token."""

    def recognises(self, token: str) -> bool:
        """Whether the token is of this kind, by its form alone."""

    async def principal(self, token: str) -> Principal:
        """Who holds the token, with what the directory knows of them.

        Raises Unauthorized, Forbidden, NotFound; Unavailable when a store cannot be asked.
        """


@dataclass(frozen=True, slots=True)
class _Known:
    principal: Principal
    """With the groups of its last request."""
    expires_at: datetime | None
    stale_at: float
    kept_until: float
    """While the store is away."""
    state: int
    """How many changes of keys this process had made when the lookup began."""


class ApiKeys:
    """API keys, hashed at rest.

    A good key is remembered for a second: a revocation is felt everywhere within that time, and at once in the
    process that made it; a busy key costs one read a second instead of one a request. What is remembered is found by
    the hash of the whole key.

    While the store does not answer, a key that was good goes on for as long as what is known of people
    (`AWAY_SECONDS`), unless this process has changed keys meanwhile.
    """

    REMEMBER_SECONDS = 1.0
    WAIT_SECONDS = 2.0
    RETRY_SECONDS = 5.0
    REMEMBER_KEYS = 10_000

    def __init__(self, stores: Stores, directory: Directory) -> None:
        self._directory = directory
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._state = 0
        self._away_until = float("-inf")
        # Two lanes: keys that were good a moment ago do not wait behind those that never were.
        self._renewals, self._first_lookups = Lookups(stores), Lookups(stores)
        self._first_tries = Bucket(stores.keys.new_keys_per_second)
        self._last_use = LastUse(stores)
        changed.connect(self._on_change)

    def recognises(self, token: str) -> bool:
        return token.startswith("amp-")

    async def principal(self, token: str) -> Principal:
        """Raises what the platform answers, in its order (wire-protocol §2.3); TooManyRequests for keys never seen
        before where these are looked up one by one."""
        if not is_well_formed(token):
            raise NotFound(_NOT_FOUND)
        key_hash = hash_key(token)
        known = self._known.get(key_hash)
        if known is None or known.stale_at <= time.monotonic() or known.state != self._state:
            known = await self._look_up(token, key_hash)
        now = datetime.now(UTC)
        _check_expiry(known.expires_at, now)
        principal = known.principal
        self._last_use.note(principal.api_key_id or "", now)
        groups = await self._directory.groups_of(principal.user_id, system=principal.is_system)
        if groups != principal.groups:
            principal = replace(principal, groups=groups)
            self._known[key_hash] = replace(known, principal=principal)
        return principal

    async def _look_up(self, token: str, key_hash: str) -> _Known:
        state, known = self._state, self._known.get(key_hash)
        try:
            record = await self._find(token, known, state)
        except (Unavailable, TimeoutError):
            if known is None or not self._may_go_on(known, state):
                raise
            return known
        if record is None:
            self._known.pop(key_hash, None)
            raise NotFound(_NOT_FOUND)
        now = time.monotonic()
        found = _Known(
            _principal_of(record, token), record.expires_at, now + self.REMEMBER_SECONDS, now + AWAY_SECONDS, state
        )
        self._known[key_hash] = found
        self._known.move_to_end(key_hash)
        while len(self._known) > self.REMEMBER_KEYS:
            self._known.popitem(last=False)
        return found

    async def _find(self, token: str, known: _Known | None, state: int) -> KeyRecord | None:
        """Raises Unavailable, and TimeoutError for a key that may go on without an answer."""
        if known is None:
            self._first_tries.take()
            return await self._first_lookups.find(token)
        if not self._may_go_on(known, state):
            return await self._renewals.find(token)
        if time.monotonic() < self._away_until:  # not every request waits for a store that hangs
            raise Unavailable
        try:
            async with asyncio.timeout(self.WAIT_SECONDS):
                return await self._renewals.find(token)
        except (Unavailable, TimeoutError):
            self._away_until = time.monotonic() + self.RETRY_SECONDS
            raise

    def _may_go_on(self, known: _Known, state: int) -> bool:
        return known.state == state and time.monotonic() < known.kept_until

    def _on_change(self, *, what: str, **_: Any) -> None:
        """In any thread."""
        if what == "keys":
            self._state += 1

    async def flush(self) -> None:
        """Write down when keys were used last; it happens once a minute by itself."""
        await self._last_use.flush()

    async def aclose(self) -> None:
        """After the last request: end what runs, write down what is left to write."""
        await self._renewals.aclose()
        await self._first_lookups.aclose()
        await self._last_use.aclose()


def _check_expiry(expires_at: datetime | None, now: datetime) -> None:
    if expires_at is not None and expires_at <= now:
        raise Forbidden(_EXPIRED)


def _principal_of(record: KeyRecord, token: str) -> Principal:
    if not record.active:
        raise Forbidden(_INACTIVE)
    _check_expiry(record.expires_at, datetime.now(UTC))
    if not record.access_types:
        raise Forbidden(_no_access(CHAT))
    try:
        user_id = record.user_id
    except ValueError as error:
        raise BadRequest(_NO_KIND) from error
    if not record.account_id:
        raise BadRequest(_NO_ACCOUNT)
    return Principal(
        user_id=user_id,
        account_id=record.account_id,
        api_key_id=record.id,
        scopes=record.access_types,
        limit=record.limit,
        bearer=token,
    )


def _no_access(scope: str) -> str:
    what = "chat functionality" if scope == CHAT else "this"
    return f"API key does not have access to {what}. Use one with the access type `{scope}` or `{FULL_ACCESS}`."


class Authenticator:
    """Asked by every transport, once per request."""

    def __init__(self, schemes: Sequence[BearerScheme], directory: Directory) -> None:
        """`directory` completes those who come with a session; schemes complete theirs."""
        self._schemes = tuple(schemes)
        self._directory = directory

    async def by_headers(self, headers: Mapping[str, str], *, scope: str | None = CHAT) -> Principal:
        """Who makes this request: a bearer token, else the session of one of our own pages. Raises Unauthorized, and
        what `by_token` raises."""
        if authorization := headers.get("authorization"):
            return await self.by_header(authorization, scope=scope)
        if (cookie := headers.get("cookie")) and same_origin(headers):
            principal = await self.by_cookie(cookie)
            if principal is not None:
                return principal
        raise Unauthorized

    async def by_header(self, authorization: str, *, scope: str | None = CHAT) -> Principal:
        """The holder of an `Authorization` header's value. Raises Unauthorized if it is not `Bearer <token>`."""
        kind, _, token = authorization.strip().partition(" ")
        if kind.lower() != "bearer" or not token.strip():
            raise Unauthorized("Unauthorized: Bearer token not found. Send `Authorization: Bearer <key>`.")
        return await self.by_token(token.strip(), scope=scope)

    async def by_token(self, token: str, *, scope: str | None = CHAT) -> Principal:
        """Who holds the token. Raises Forbidden if it is not good for `scope`; None: the caller asks for that itself,
        as policies do."""
        for scheme in self._schemes:
            if scheme.recognises(token):
                principal = await scheme.principal(token)
                if scope is not None and not principal.has_scope(scope):
                    raise Forbidden(_no_access(scope))
                return principal
        raise Unauthorized("Unauthorized. Invalid token. Send an API key that starts with `amp-`, or sign in again.")

    async def by_cookie(self, cookie: str) -> Principal | None:
        """The person signed in to the admin or the page, or None. The caller has checked the request's origin."""
        session_key = _session_key(cookie)
        if session_key is None:
            return None
        store = import_module(settings.SESSION_ENGINE).SessionStore(session_key)
        try:
            user = await get_user({"session": store})
        except DatabaseFailed as error:
            raise Unavailable("Who you are cannot be checked at the moment. Please try again.") from error
        if isinstance(user, AnonymousUser):
            return None
        return await self._directory.complete(Principal(user_id=user.username, is_admin=user.is_superuser))


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
