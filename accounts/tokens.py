"""Access tokens of sign-in services: JSON Web Tokens, verified here and never over there.

What is checked, and why: RFC 7519 (claims), RFC 8725 (what went wrong with them in practice), RFC 9068 (access tokens)
and AWS, "Verifying JSON web tokens" (Amazon Cognito developer guide). Nothing that a token says chooses how it is
verified: algorithm, keys and claims are the configured issuer's.
"""

import base64
import binascii
import json
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, ClassVar, Protocol

import structlog
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from django.db import Error as DatabaseFailed
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from accounts.identity import Naming, NoUserId, checked
from accounts.issuer import Issuer
from accounts.jwks import Algorithm, PublicKey
from accounts.namesakes import objection_to_name
from accounts.principal import Principal
from core.aio import run_blocking
from core.errors import Forbidden, Unauthorized, Unavailable

log = structlog.get_logger(__name__)

MAX_BYTES = 16 * 1024
CLOCK_SKEW_SECONDS = 30.0
"""How far an issuer's clock may be ahead of ours. Nothing is good for longer because of it."""
LAST_SECOND = 10**11
"""No date of a token is later than this: it is the year 5138, or in milliseconds by mistake."""

_FORM = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
# `typ` says what a token is for, where it is said at all (RFC 8725 §3.11): a logout token, say, opens nothing.
_TYPES = frozenset({"jwt", "at+jwt", "application/at+jwt"})


class InvalidToken(Unauthorized):
    """The token is not one of ours, or not any more. `why` is for the log (LOG_LEVEL=DEBUG), not for the caller."""

    headers: ClassVar[Mapping[str, str]] = {"WWW-Authenticate": 'Bearer error="invalid_token"'}
    default = "Unauthorized. Invalid token. Sign in again, or send an API key that starts with `amp-`."

    def __init__(self, why: str, message: str = "") -> None:
        super().__init__(message)
        self.why = why


@dataclass(frozen=True, slots=True)
class ParsedToken:
    """A token taken apart; nothing in it is verified yet."""

    text: str
    header: Mapping[str, Any]
    claims: Mapping[str, Any]

    @property
    def kid(self) -> str:
        """Raises InvalidToken: a token that does not say which key it is signed with fits none."""
        kid = self.header.get("kid")
        if not isinstance(kid, str) or not kid:
            raise InvalidToken("kid")
        return kid


def parse_token(text: str) -> ParsedToken:
    """Raises InvalidToken for what is not a signed token in its one exact form; cheap, whatever it is given."""
    if len(text) > MAX_BYTES or not _FORM.fullmatch(text):
        raise InvalidToken("form")
    header, claims, _ = text.split(".")
    return ParsedToken(text, _object(header), _object(claims))


def _object(part: str) -> dict[str, Any]:
    """A JSON object in base64url. A repeated name is refused: readers differ on which one counts."""
    try:
        content = json.loads(_bytes(part).decode(), object_pairs_hook=_without_repeats, parse_constant=_refused)
    except (ValueError, RecursionError):
        raise InvalidToken("json") from None
    if not isinstance(content, dict):
        raise InvalidToken("json")
    return content


def _bytes(part: str) -> bytes:
    """What a part stands for; of several spellings of the same bytes only one is right (RFC 4648 §3.5)."""
    try:
        raw = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except binascii.Error:
        raise InvalidToken("base64") from None
    if base64.urlsafe_b64encode(raw).rstrip(b"=") != part.encode():
        raise InvalidToken("base64")
    return raw


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError("repeated name")
    return content


def _refused(constant: str) -> float:
    raise ValueError(f"{constant} is not JSON")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the claims of an issuer's tokens have to be."""

    issuer: str
    audience: str = ""
    """Must be in `aud`; empty for issuers whose access tokens have none."""
    exact: Mapping[str, str] = field(default_factory=dict)
    """Claims that must be just this."""
    absent: Iterable[str] = ()
    """Claims that only tokens for something else have."""

    def check(self, claims: Mapping[str, Any], now: float) -> None:
        """Raises InvalidToken. `now`: seconds since 1970."""
        for name, value in {"iss": self.issuer, **self.exact}.items():
            if claims.get(name) != value:
                raise InvalidToken(name)
        if self.audience and self.audience not in audiences(claims):
            raise InvalidToken("aud")
        for name in self.absent:
            if name in claims:
                raise InvalidToken(name)
        if not isinstance(claims.get("sub"), str) or not claims["sub"]:
            raise InvalidToken("sub")
        _check_dates(claims, now)


def audiences(claims: Mapping[str, Any]) -> list[str]:
    """`aud` as a list of texts (RFC 7519 §4.1.3). Raises InvalidToken for any other shape."""
    value = claims.get("aud")
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list) or not all(isinstance(item, str) for item in listed):
        raise InvalidToken("aud")
    return listed


def _check_dates(claims: Mapping[str, Any], now: float) -> None:
    """RFC 7519 §4.1.4 to 4.1.6: `exp` must be there and has no grace."""
    if _date(claims, "exp") <= now:
        raise InvalidToken("exp")
    for name in ("nbf", "iat"):
        if name in claims and _date(claims, name) > now + CLOCK_SKEW_SECONDS:
            raise InvalidToken(name)


def _date(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < LAST_SECOND:
        raise InvalidToken(name)
    return value


def verify(token: ParsedToken, key: PublicKey, algorithm: Algorithm) -> None:
    """Whether `key` signed it with `algorithm`. Raises InvalidToken.

    On the event loop: an RSA signature is checked in about 50 µs, less than the hop to a thread and back.
    """
    signed, _, signature = token.text.rpartition(".")
    if not _ALGORITHMS[algorithm].verify(signed.encode(), key, _bytes(signature)):
        raise InvalidToken("signature")


_ALGORITHMS: Mapping[Algorithm, Any] = {
    "RS256": RSAAlgorithm(RSAAlgorithm.SHA256),
    "ES256": ECAlgorithm(ECAlgorithm.SHA256, SECP256R1),
}


async def verified_claims(token: ParsedToken, issuer: Issuer, rules: Rules, now: float) -> Mapping[str, Any]:
    """The claims, once all is well with them. Raises InvalidToken; Unavailable while there are no keys.

    What needs no key is checked first: no made-up token asks for one.
    """
    header = token.header
    if header.get("alg") != issuer.algorithm or "crit" in header or "b64" in header:
        raise InvalidToken("alg")
    if str(header.get("typ", "JWT")).lower() not in _TYPES:
        raise InvalidToken("typ")
    rules.check(token.claims, now)
    key = await issuer.key(token.kid)
    if key is None:
        raise InvalidToken("kid")
    verify(token, key, issuer.algorithm)
    return token.claims


class Directory(Protocol):
    """What is known of people besides their token."""

    async def knows(self, user_id: str) -> bool: ...

    async def complete(self, principal: Principal) -> Principal: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Trusted:
    """An issuer whose access tokens we accept."""

    issuer: Issuer
    rules: Rules
    naming: Naming


def cognito_rules(issuer: str, client_id: str) -> Rules:
    """Of Cognito's access tokens: they have no `aud`, the client stands in `client_id`."""
    return Rules(issuer=issuer, exact={"client_id": client_id, "token_use": "access"})


def oidc_rules(issuer: str, audience: str) -> Rules:
    """Of any other issuer's. Only id tokens have `at_hash` (OpenID Connect Core §3.1.3.6), or Cognito's `token_use`."""
    return Rules(issuer=issuer, audience=audience, absent=("at_hash", "c_hash", "token_use"))


class AccessTokens:
    """The `BearerScheme` for access tokens.

    A verified one is remembered for a minute, by the hash of all of it, and never beyond its end. One that is refused
    costs no call and is not remembered.
    """

    REMEMBER_SECONDS = 60.0
    REMEMBER_TOKENS = 10_000

    def __init__(
        self,
        trusted: Sequence[Trusted],
        directory: Directory,
        *,
        objection: Callable[[str], str] = objection_to_name,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`objection`: why this user may not come in, or nothing; it may block."""
        self._trusted = {each.issuer.url: each for each in trusted}
        self._directory = directory
        self._objection = objection
        self._clock = clock
        self._users: OrderedDict[bytes, tuple[str, float]] = OrderedDict()

    def recognises(self, token: str) -> bool:
        """Everything that is not an API key; what is wrong with it is said by `principal`."""
        return not token.startswith("amp-")

    async def principal(self, token: str) -> Principal:
        """Raises InvalidToken; Forbidden for one who is deactivated here, or has the name of somebody else here;
        Unavailable while the issuer's keys or the directory cannot be had."""
        try:
            user_id = self._remembered(token) or await self._verified(token)
        except InvalidToken as refused:
            log.debug("token_refused", why=refused.why)
            raise
        return await self._directory.complete(Principal(user_id=user_id, bearer=token))

    def _remembered(self, token: str) -> str | None:
        if len(token) > MAX_BYTES:
            raise InvalidToken("size")
        user_id, until = self._users.get(_digest(token), ("", 0.0))
        return user_id if self._clock() < until else None

    async def _verified(self, token: str) -> str:
        parsed = parse_token(token)
        # Only to find whose rules count; these then ask for exactly this issuer.
        issuer = parsed.claims.get("iss")
        trusted = self._trusted.get(issuer) if isinstance(issuer, str) else None
        if trusted is None:
            raise InvalidToken("iss")
        now = self._clock()
        claims = await verified_claims(parsed, trusted.issuer, trusted.rules, now)
        try:
            user_id = await user_id_of(claims, trusted.naming, self._directory)
        except NoUserId as error:
            message = f"Unauthorized. Invalid token: {error}. Ask your administrator to look at your account."
            raise InvalidToken("user_id", message) from error
        await self._admit(user_id)
        self._remember(token, user_id, min(claims["exp"], now + self.REMEMBER_SECONDS))
        return user_id

    async def _admit(self, user_id: str) -> None:
        try:
            objection = await run_blocking(self._objection, user_id)
        except DatabaseFailed as error:
            raise Unavailable("Who you are cannot be checked at the moment. Please try again.") from error
        if objection:
            raise Forbidden(objection)

    def _remember(self, token: str, user_id: str, until: float) -> None:
        self._users[_digest(token)] = user_id, until
        while len(self._users) > self.REMEMBER_TOKENS:
            self._users.popitem(last=False)


def _digest(token: str) -> bytes:
    return sha256(token.encode(errors="surrogatepass")).digest()


async def user_id_of(claims: Mapping[str, Any], naming: Naming, directory: Directory) -> str:
    """Who verified claims are about. Raises NoUserId; Unavailable."""
    known = naming.asks_directory(claims) and await directory.knows(checked(claims["sub"]))
    return naming.user_id(claims, sub_is_known=known)
