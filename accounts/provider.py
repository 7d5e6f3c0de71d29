"""The sign-in service that browsers are sent to: OpenID Connect's code flow, as far as it is about tokens and claims.

OpenID Connect Core 1.0 §3.1.3 says what is checked. Django's side of it is in `accounts.login`.
"""

import base64
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from urllib.parse import quote_plus, urlencode

import structlog

from accounts.identity import Naming, NoUserId, groups_of
from accounts.issuer import Issuer
from accounts.jwks import NotAnswered, call_json
from accounts.tokens import Directory, InvalidToken, Rules, audiences, parse_token, user_id_of, verified_claims
from core.errors import Unavailable

log = structlog.get_logger(__name__)

Claims = Mapping[str, Any]

# What a token endpoint may answer (RFC 6749 §5.2); anything else it says stays out of the log.
_OAUTH_ERRORS = (
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
)
_OK = 200
_CLIENT_ERRORS = range(400, 500)


class SignInRefused(Exception):
    """Nobody is signed in; the text is for the person and says what to do, `why` is for the log."""

    def __init__(self, why: str, text: str = "") -> None:
        super().__init__(
            text or "The sign-in was not completed. Please try again; if it stays, ask your administrator."
        )
        self.why = why


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody who has signed in, as the sign-in service describes them."""

    user_id: str
    email: str = ""
    first_name: str = ""
    last_name: str = ""
    groups: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    issuer: Issuer
    client_id: str
    naming: Naming
    directory: Directory
    groups_claim: str
    staff_groups: frozenset[str] = frozenset()
    admin_groups: frozenset[str] = frozenset()
    id_rules: Rules
    """For id tokens."""
    access_rules: Rules | None = None
    """For access tokens, where these say who somebody is (Cognito); None where the id token does."""

    async def authorization_endpoint(self) -> str:
        """Where the browser goes. Raises Unavailable."""
        url = (await self.issuer.metadata()).authorization_endpoint
        if not url:
            raise _silent("metadata", "no_authorization_endpoint")
        return url

    async def tokens(self, form: Mapping[str, str]) -> Mapping[str, str]:
        """`id_token` and `access_token` for a code. Raises SignInRefused, Unavailable.

        `client_secret` is empty for a public client: PKCE alone binds the code to us then.
        """
        metadata = await self.issuer.metadata()
        sent, headers = dict(form), {}
        secret = sent.pop("client_secret", "")
        if secret and metadata.secret_in_body:
            sent["client_secret"] = secret
        elif secret:
            headers["Authorization"] = _basic(self.client_id, secret)
        content = await self._call("POST", "token_endpoint", metadata.token_endpoint, data=sent, headers=headers)
        return {name: _text(content, name) for name in ("id_token", "access_token")}

    async def id_claims(self, id_token: str, nonce: str, now: float) -> Claims:
        """The claims of an id token that was made for us and for this sign-in. Raises SignInRefused, Unavailable."""
        claims = await self._verified(id_token, self.id_rules, now)
        if not hmac.compare_digest(str(claims.get("nonce", "")).encode(errors="replace"), nonce.encode()):
            raise SignInRefused("nonce")
        if claims.get("azp", self.client_id) != self.client_id or (len(audiences(claims)) > 1 and "azp" not in claims):
            raise SignInRefused("azp")
        return claims

    async def person(self, claims: Claims, access_token: str, now: float) -> Person:
        """Whom an id token's claims are about. Raises SignInRefused, Unavailable."""
        if "at_hash" in claims and claims["at_hash"] != half_hash(access_token):
            raise SignInRefused("at_hash")
        about = {**await self._userinfo(access_token, claims["sub"]), **claims}
        named_by = about if self.access_rules is None else await self._access_claims(access_token, claims, now)
        try:
            user_id = await user_id_of(named_by, self.naming, self.directory)
        except NoUserId as error:
            raise SignInRefused("user_id", f"You cannot sign in: {error}. Please ask your administrator.") from error
        return Person(
            user_id=user_id,
            email=_short(about, "email", 254),
            first_name=_short(about, "given_name", 150),
            last_name=_short(about, "family_name", 150),
            groups=groups_of(about, self.groups_claim),
        )

    async def end_of_session(self, back_to: str) -> str:
        """Where the browser ends its session over there; empty if there is no such place, or it cannot be asked."""
        try:
            url = (await self.issuer.metadata()).end_session_endpoint
        except Unavailable:
            return ""
        # `logout_uri` is Cognito's name for it (AWS: "Logout endpoint", Amazon Cognito developer guide).
        query = {"client_id": self.client_id, "post_logout_redirect_uri": back_to, "logout_uri": back_to}
        return f"{url}{'&' if '?' in url else '?'}{urlencode(query)}" if url else ""

    async def _access_claims(self, access_token: str, id_claims: Claims, now: float) -> Claims:
        """The same claims that name somebody who comes with the token alone."""
        assert self.access_rules is not None
        claims = await self._verified(access_token, self.access_rules, now)
        if claims["sub"] != id_claims["sub"]:
            raise SignInRefused("access_token_sub")
        return claims

    async def _userinfo(self, access_token: str, sub: str) -> Claims:
        url = (await self.issuer.metadata()).userinfo_endpoint
        if not url:
            return {}
        claims = await self._call("GET", "userinfo", url, headers={"Authorization": f"Bearer {access_token}"})
        if claims.get("sub") != sub:
            raise SignInRefused("userinfo_sub")
        return claims

    async def _verified(self, token: str, rules: Rules, now: float) -> Claims:
        try:
            return await verified_claims(parse_token(token), self.issuer, rules, now)
        except InvalidToken as error:
            raise SignInRefused(error.why) from error

    async def _call(self, method: str, what: str, url: str, **options: Any) -> dict[str, Any]:
        try:
            status, content = await call_json(self.issuer.client, method, url, **options)
        except NotAnswered as error:
            raise _silent(what, str(error)) from error
        if status in _CLIENT_ERRORS:
            said = content.get("error") if isinstance(content, dict) else None
            raise SignInRefused(f"{what}_{said if said in _OAUTH_ERRORS else status}")
        if status != _OK or not isinstance(content, dict):
            raise _silent(what, f"status_{status}")
        return content


def half_hash(access_token: str) -> str:
    """`at_hash` of an access token, for the algorithms with SHA-256 (OpenID Connect Core §3.1.3.6)."""
    half = sha256(access_token.encode()).digest()[:16]
    return base64.urlsafe_b64encode(half).rstrip(b"=").decode()


def _basic(client_id: str, secret: str) -> str:
    """RFC 6749 §2.3.1: both are form-encoded first."""
    return "Basic " + base64.b64encode(f"{quote_plus(client_id)}:{quote_plus(secret)}".encode()).decode()


def _silent(what: str, reason: str) -> Unavailable:
    log.warning("sign_in_service_silent", what=what, reason=reason)
    return Unavailable("The sign-in service cannot be reached. Please try again in a few seconds.")


def _text(content: Mapping[str, Any], name: str) -> str:
    value = content.get(name)
    if not isinstance(value, str) or not value:
        raise SignInRefused(f"no_{name}")
    return value


def _short(claims: Claims, name: str, length: int) -> str:
    """A claim that is only shown, never trusted."""
    value = claims.get(name)
    return value[:length] if isinstance(value, str) and value.isprintable() else ""
