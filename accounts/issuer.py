"""An OpenID Connect issuer: where its endpoints are and which keys it signs with."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from accounts.jwks import Algorithm, Fetched, NotAnswered, PublicKey, fetch_json, signing_keys
from core.http import HttpClient


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """What an issuer says of itself (OpenID Connect Discovery 1.0 §3). An endpoint that it does not have is empty."""

    jwks_uri: str
    authorization_endpoint: str
    token_endpoint: str
    userinfo_endpoint: str
    end_session_endpoint: str
    secret_in_body: bool
    """Whether the token endpoint takes the client's secret in the body; otherwise it stands in the header."""


def metadata_of(document: Any, issuer: str, *, in_clear: bool = False) -> Metadata:
    """Read a discovery document. Raises NotAnswered if it is another issuer's, or sends us on in the clear.

    `in_clear`: it came that way itself, from a stand-in on the loopback say.
    """
    if not isinstance(document, dict) or document.get("issuer") != issuer:
        raise NotAnswered("discovery_of_another_issuer")
    ways = document.get("token_endpoint_auth_methods_supported")
    return Metadata(
        jwks_uri=_endpoint(document, "jwks_uri", in_clear),
        authorization_endpoint=_endpoint(document, "authorization_endpoint", in_clear),
        token_endpoint=_endpoint(document, "token_endpoint", in_clear),
        userinfo_endpoint=_endpoint(document, "userinfo_endpoint", in_clear),
        end_session_endpoint=_endpoint(document, "end_session_endpoint", in_clear),
        secret_in_body=isinstance(ways, list) and "client_secret_post" in ways,
    )


def _endpoint(document: dict[str, Any], name: str, in_clear: bool) -> str:
    url = document.get(name)
    if url is None:
        return ""
    allowed = ("https://", "http://") if in_clear else ("https://",)
    if not isinstance(url, str) or not url.startswith(allowed):
        raise NotAnswered(f"bad_{name}")
    return url


class Issuer:
    """One issuer, asked as seldom as can be."""

    def __init__(
        self,
        url: str,
        *,
        client: HttpClient,
        reached_at: str = "",
        jwks_uri: str = "",
        algorithm: Algorithm = "RS256",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`url`: its name, to the letter. `reached_at`: where it stands instead, if that is not its name.
        `jwks_uri`: where its keys are, if that need not be discovered."""
        self.url = url
        self.algorithm = algorithm
        self.client = client
        self._base = (reached_at or url).rstrip("/")
        self._jwks_uri = jwks_uri
        self._metadata = Fetched(self._discover, name=f"metadata of {url}", clock=clock)
        self._keys = Fetched(self._fetch_keys, name=f"keys of {url}", clock=clock)

    async def metadata(self) -> Metadata:
        """Raises Unavailable while there is none."""
        return await self._metadata.get()

    async def key(self, kid: str) -> PublicKey | None:
        """The key of this id, or None. One that is unknown has the keys fetched again, at most once a minute.

        Raises Unavailable while there are no keys at all.
        """
        known = await self._keys.get()
        return known.get(kid) or (await self._keys.renewed()).get(kid)

    async def _discover(self) -> Metadata:
        document = await fetch_json(self.client, f"{self._base}/.well-known/openid-configuration")
        return metadata_of(document, self.url, in_clear=self._base.startswith("http://"))

    async def _fetch_keys(self) -> dict[str, PublicKey]:
        uri = self._jwks_uri or (await self._discover()).jwks_uri
        return signing_keys(await fetch_json(self.client, uri), self.algorithm)


def cognito_issuer(pool_id: str) -> str:
    """The issuer of a user pool's tokens (AWS: "Verifying JSON web tokens", Amazon Cognito developer guide)."""
    region = pool_id.partition("_")[0]
    return f"https://cognito-idp.{region}.amazonaws.com/{pool_id}"
