"""Access tokens: real ones of moto's Cognito, forged ones, and what asking for keys costs.

Of the scheme itself, where the clock is set and calls are counted; the last tests go through the door.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import boto3
import jwt
import pytest
from aiohttp import ClientSession
from django.db import OperationalError
from structlog.testing import capture_logs
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from accounts.identity import Naming
from accounts.issuer import Issuer, cognito_issuer
from accounts.jwks import AGAIN_SECONDS, MAX_BYTES, RENEW_SECONDS, RETRY_SECONDS, NotAnswered, signing_keys
from accounts.principal import Principal
from accounts.tokens import AccessTokens, InvalidToken, Trusted, cognito_rules, oidc_rules
from core.errors import Forbidden, Unavailable
from core.http import HttpClient, HttpTimeouts
from tests.accounts.forgeries import (
    AUDIENCE,
    CLIENT_ID,
    COGNITO_ISSUER,
    FORGERIES,
    KEYS,
    POOL,
    RIGHT,
    TABLE,
    WRONG,
    Forge,
    built,
    rs,
)
from tests.accounts.oidc_provider import OidcProvider, ec_key, jwk_of, rsa_key, running_provider
from tests.harness import Service, running_service

NOW = 1_800_000_000.0
KINDS = ["cognito", "oidc"]


@dataclass
class Clock:
    now: float = NOW

    def __call__(self) -> float:
        return self.now


@dataclass
class People:
    """A directory that knows some, and says whom it was asked for."""

    known: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)

    async def knows(self, user_id: str) -> bool:
        self.asked.append(user_id)
        return user_id in self.known

    async def complete(self, principal: Principal) -> Principal:
        return principal


def nobody(user_id: str) -> str:
    """No user here has anybody's name."""
    return ""


@pytest.fixture(scope="module")
def running() -> Iterator[OidcProvider]:
    with running_provider() as provider:
        yield provider


@pytest.fixture
def provider(running: OidcProvider) -> OidcProvider:
    running.reset()
    running.keys = list(KEYS)
    return running


@pytest.fixture
async def client() -> AsyncIterator[HttpClient]:
    client = HttpClient(timeouts=HttpTimeouts())
    yield client
    await client.aclose()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def people() -> People:
    return People()


@dataclass
class Tokens:
    scheme: AccessTokens
    forge: Forge
    issuer: Issuer

    async def user(self, token: str) -> str:
        return (await self.scheme.principal(token)).user_id


@pytest.fixture
def tokens_of(provider: OidcProvider, client: HttpClient, clock: Clock, people: People) -> Any:
    """The scheme for an issuer of a kind, whose keys the provider serves."""

    def make(kind: str, **naming: str) -> Tokens:
        if kind == "cognito":
            uri = f"{provider.url}/{POOL}/.well-known/jwks.json"
            issuer = Issuer(COGNITO_ISSUER, client=client, jwks_uri=uri, clock=clock)
            trusted = Trusted(issuer=issuer, rules=cognito_rules(COGNITO_ISSUER, CLIENT_ID), naming=Naming(**naming))
        else:
            issuer = Issuer(provider.url, client=client, clock=clock)
            rules = oidc_rules(provider.url, AUDIENCE)
            trusted = Trusted(issuer=issuer, rules=rules, naming=Naming(claim="sub"))
        return Tokens(
            AccessTokens([trusted], people, objection=nobody, clock=clock), Forge(kind, issuer.url, clock.now), issuer
        )

    return make


@pytest.fixture
def tokens(tokens_of: Any) -> Tokens:
    return tokens_of("cognito")


@pytest.mark.parametrize("kind", KINDS)
async def test_a_good_token_and_who_holds_it(tokens_of: Any, kind: str) -> None:
    tokens = tokens_of(kind)
    token = tokens.forge.good()
    principal = await tokens.scheme.principal(token)
    assert principal == Principal(user_id="alice" if kind == "cognito" else "sub-of-alice", bearer=token)
    assert token not in repr(principal)


@pytest.mark.parametrize(
    "change",
    [{"nbf": int(NOW)}, {"nbf": int(NOW) + 5}, {"iat": int(NOW) + 5}, {"exp": NOW + 0.5}, {"iat": NOW}, {"x": "☃"}],
)
async def test_what_is_still_good(tokens: Tokens, change: dict[str, Any]) -> None:
    assert await tokens.user(tokens.forge.good(**change)) == "alice"


@pytest.mark.parametrize("typ", ["at+JWT", "application/at+jwt", "jwt"])
async def test_types_of_access_tokens(tokens: Tokens, typ: str) -> None:
    assert await tokens.user(tokens.forge.signed(rs(RIGHT), typ=typ)) == "alice"


@pytest.mark.parametrize("aud", [[AUDIENCE], ["another", AUDIENCE]])
async def test_one_audience_of_several(tokens_of: Any, aud: list[str]) -> None:
    tokens = tokens_of("oidc")
    assert await tokens.user(tokens.forge.good(aud=aud)) == "sub-of-alice"


@pytest.mark.parametrize(("kind", "name"), TABLE)
async def test_a_forgery(tokens_of: Any, provider: OidcProvider, kind: str, name: str) -> None:
    tokens = tokens_of(kind)
    await tokens.user(tokens.forge.good())
    asked = provider.asked.total()
    forged = FORGERIES[kind][name](tokens.forge)
    with pytest.raises(InvalidToken) as refused:
        await tokens.scheme.principal(forged)
    assert refused.value.status == 401
    assert refused.value.answer_headers() == {"WWW-Authenticate": 'Bearer error="invalid_token"'}
    assert refused.value.message.startswith("Unauthorized. Invalid token")
    assert provider.asked.total() == asked, "a forgery cost a call"


async def test_who_may_not_be_a_user_here(tokens: Tokens, people: People, clock: Clock) -> None:
    objections = {"alice": "You are deactivated."}
    trusted = Trusted(issuer=tokens.issuer, rules=cognito_rules(COGNITO_ISSUER, CLIENT_ID), naming=Naming())
    scheme = AccessTokens([trusted], people, objection=lambda user: objections.get(user, ""), clock=clock)
    for _ in range(2):
        with pytest.raises(Forbidden, match="You are deactivated"):
            await scheme.principal(tokens.forge.good())
    objections.clear()
    assert (await scheme.principal(tokens.forge.good())).user_id == "alice"


async def test_nobody_comes_in_while_that_cannot_be_asked(tokens: Tokens, people: People, clock: Clock) -> None:
    def broken(user_id: str) -> str:
        raise OperationalError("down")

    trusted = Trusted(issuer=tokens.issuer, rules=cognito_rules(COGNITO_ISSUER, CLIENT_ID), naming=Naming())
    with pytest.raises(Unavailable):
        await AccessTokens([trusted], people, objection=broken, clock=clock).principal(tokens.forge.good())


async def test_what_is_refused_is_not_remembered_as_good(tokens: Tokens, clock: Clock) -> None:
    token = tokens.forge.good()
    assert await tokens.user(token) == "alice"
    for wrong in (token[:-1], token + "A", token + " ", token[:-5] + "AAAAA"):
        with pytest.raises(InvalidToken):
            await tokens.user(wrong)


async def test_one_that_is_remembered_ends_at_its_end(tokens: Tokens, clock: Clock, people: People) -> None:
    token = tokens.forge.good(exp=int(NOW) + 60)
    assert await tokens.user(token) == await tokens.user(token) == "alice"
    assert people.asked == ["sub-of-alice"], "verified once"
    clock.now += 60
    with pytest.raises(InvalidToken):
        await tokens.user(token)


async def test_one_is_remembered_for_a_minute(tokens: Tokens, clock: Clock, people: People) -> None:
    token = tokens.forge.good()
    await tokens.user(token)
    people.known.add("sub-of-alice")
    assert await tokens.user(token) == "alice"
    clock.now += AccessTokens.REMEMBER_SECONDS
    assert await tokens.user(token) == "sub-of-alice"


async def test_only_so_many_are_remembered(tokens: Tokens, people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AccessTokens, "REMEMBER_TOKENS", 3)
    made = [tokens.forge.good(jti=str(n)) for n in range(5)]
    for token in [*made, made[4], made[0]]:
        assert await tokens.user(token) == "alice"
    assert len(people.asked) == 6, "the last is remembered, the first is not"


async def test_the_reason_is_for_the_log_alone(tokens: Tokens) -> None:
    with pytest.raises(InvalidToken) as refused:
        await tokens.user(tokens.forge.good(client_id="another"))
    assert refused.value.why == "client_id"
    assert "client" not in refused.value.message


async def test_a_new_key_counts_at_once(tokens: Tokens, provider: OidcProvider, clock: Clock) -> None:
    assert await tokens.user(tokens.forge.good()) == "alice"
    provider.keys = [*KEYS, jwk_of(rsa_key("next"), "next")]
    clock.now += AGAIN_SECONDS
    assert await tokens.user(tokens.forge.signed(rs(rsa_key("next")), kid="next")) == "alice"
    assert provider.asked["jwks.json"] == 2


async def test_a_key_that_was_taken_back(tokens: Tokens, provider: OidcProvider, clock: Clock) -> None:
    good = tokens.forge.good()
    await tokens.user(good)
    provider.keys = [jwk_of(rsa_key("next"), "next")]
    clock.now += RENEW_SECONDS - 1000
    await tokens.user(good)
    clock.now += 1000
    forge = Forge("cognito", COGNITO_ISSUER, clock.now)
    await tokens.user(forge.good())  # nobody waits for the new keys
    with pytest.raises(InvalidToken):
        async with asyncio.timeout(5):
            while True:
                await tokens.user(forge.good(jti=str(uuid4())))
                await asyncio.sleep(0.01)


async def test_a_flood_of_unknown_keys_costs_a_call_a_minute(
    tokens: Tokens, provider: OidcProvider, clock: Clock
) -> None:
    await tokens.user(tokens.forge.good())
    forged = [tokens.forge.signed(rs(WRONG), kid=f"made-up-{n}") for n in range(100)]
    for minutes in range(3):
        results = await asyncio.gather(*map(tokens.user, forged), return_exceptions=True)
        assert {type(result) for result in results} == {InvalidToken}
        assert provider.asked["jwks.json"] == 1 + minutes
        clock.now += AGAIN_SECONDS
    assert await tokens.user(tokens.forge.good()) == "alice"


async def test_a_forgery_of_unknown_key_with_wrong_claims_asks_nobody(tokens: Tokens, provider: OidcProvider) -> None:
    with pytest.raises(InvalidToken):
        await tokens.user(built(tokens.forge.header(kid="made-up"), tokens.forge.claims(client_id="another")))
    assert provider.asked.total() == 0


async def test_all_wait_for_one_fetch(tokens: Tokens, provider: OidcProvider) -> None:
    provider.lag = 0.2
    made = [tokens.forge.good(jti=str(n)) for n in range(50)]
    assert set(await asyncio.gather(*map(tokens.user, made))) == {"alice"}
    assert provider.asked["jwks.json"] == 1


async def test_who_leaves_does_not_take_the_fetch_along(tokens: Tokens, provider: OidcProvider) -> None:
    provider.lag = 0.2
    leaving = asyncio.create_task(tokens.user(tokens.forge.good()))
    staying = asyncio.create_task(tokens.user(tokens.forge.good(jti="2")))
    await asyncio.sleep(0.05)  # both are under way; neither can be done before the lag is over
    leaving.cancel()
    assert await staying == "alice"
    assert provider.asked["jwks.json"] == 1


BROKEN: dict[str, Any] = {
    "500": (500, {}, b"{}"),
    "404": (404, {}, b"{}"),
    "another address": (302, {"Location": "/elsewhere/jwks.json"}, b""),
    "not JSON": (200, {}, b"<html>"),
    "no object": (200, {}, b"[]"),
    "no keys": (200, {}, b'{"keys": []}'),
    "keys of no list": (200, {}, b'{"keys": {"k1": {}}}'),
    "too large": (200, {}, json.dumps({"keys": KEYS}).encode() + b" " * MAX_BYTES),
}


@pytest.mark.parametrize("how", BROKEN)
async def test_keys_that_cannot_be_had(tokens: Tokens, provider: OidcProvider, clock: Clock, how: str) -> None:
    """503 and one line in the log, and the next try after a while; not one for each request."""
    provider.broken["jwks.json"] = BROKEN[how]
    with capture_logs() as logs:
        for n in range(10):
            with pytest.raises(Unavailable) as refused:
                await tokens.user(tokens.forge.good(jti=str(n)))
    assert refused.value.status == 503
    assert provider.asked["jwks.json"] == 1
    assert [line["event"] for line in logs] == ["sign_in_service_silent"]
    provider.broken.clear()
    clock.now += RETRY_SECONDS
    assert await tokens.user(tokens.forge.good()) == "alice"


@pytest.mark.parametrize("how", BROKEN)
async def test_an_outage_keeps_the_keys(tokens: Tokens, provider: OidcProvider, clock: Clock, how: str) -> None:
    await tokens.user(tokens.forge.good())
    provider.broken["jwks.json"] = BROKEN[how]
    with capture_logs() as logs:
        for hours in range(1, 4):
            clock.now = NOW + hours * RENEW_SECONDS
            forge = Forge("cognito", COGNITO_ISSUER, clock.now)
            assert await tokens.user(forge.good()) == "alice"
            with pytest.raises(InvalidToken):
                await tokens.user(forge.signed(rs(WRONG), kid="made-up"))
    assert provider.asked["jwks.json"] == 4
    assert [(line["event"], line["known"]) for line in logs if line["log_level"] == "warning"] == [
        ("sign_in_service_silent", True)
    ] * 3


async def test_nobody_listens(client: HttpClient, people: People, clock: Clock) -> None:
    issuer = Issuer(COGNITO_ISSUER, client=client, jwks_uri="http://127.0.0.1:1/jwks.json", clock=clock)
    trusted = Trusted(issuer=issuer, rules=cognito_rules(COGNITO_ISSUER, CLIENT_ID), naming=Naming())
    with pytest.raises(Unavailable):
        await AccessTokens([trusted], people, objection=nobody, clock=clock).principal(
            Forge("cognito", COGNITO_ISSUER, NOW).good()
        )


async def test_a_service_that_hangs(tokens: Tokens, provider: OidcProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accounts.jwks.CALL_SECONDS", 0.1)
    provider.lag = 1.0
    with pytest.raises(Unavailable):
        await tokens.user(tokens.forge.good())


@pytest.mark.parametrize(
    "change",
    [
        {"issuer": "https://mallory.example"},
        {"issuer": None},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": 7},
        {"jwks_uri": None},
    ],
)
async def test_a_discovery_that_is_not_to_be_believed(
    tokens_of: Any, provider: OidcProvider, change: dict[str, Any]
) -> None:
    provider.discovery = lambda document: document | change
    tokens = tokens_of("oidc")
    with pytest.raises(Unavailable):
        await tokens.user(tokens.forge.good())
    assert provider.asked["jwks.json"] == 0


async def test_es256_where_it_is_configured(provider: OidcProvider, client: HttpClient, people: People) -> None:
    issuer = Issuer(provider.url, client=client, algorithm="ES256")
    trusted = Trusted(issuer=issuer, rules=oidc_rules(provider.url, AUDIENCE), naming=Naming(claim="sub"))
    scheme = AccessTokens([trusted], people, objection=nobody)
    claims = Forge("oidc", provider.url, time.time()).claims()
    token = jwt.encode(claims, ec_key("provider"), "ES256", {"kid": "curve"})
    assert (await scheme.principal(token)).user_id == "sub-of-alice"
    for wrong in (
        jwt.encode(claims, ec_key("mallory"), "ES256", {"kid": "curve"}),
        jwt.encode(claims, RIGHT, "RS256", {"kid": "k1"}),
        jwt.encode(claims, RIGHT, "RS256", {"kid": "curve"}),
        token[:-4],
        f"{token.rpartition('.')[0]}.{'A' * 86}",
    ):
        with pytest.raises(InvalidToken):
            await scheme.principal(wrong)


def test_an_issuer_in_https_is_not_followed_into_the_clear() -> None:
    from accounts.issuer import metadata_of

    document = {"issuer": "https://idp.example", "jwks_uri": "http://idp.example/keys"}
    with pytest.raises(NotAnswered):
        metadata_of(document, "https://idp.example")
    assert metadata_of({**document, "jwks_uri": "https://idp.example/keys"}, "https://idp.example").jwks_uri


def test_the_first_of_two_keys_of_one_id_counts() -> None:
    first, second = jwk_of(RIGHT, "k1"), jwk_of(WRONG, "k1")
    assert (
        signing_keys({"keys": [first, second]}, "RS256")["k1"].public_numbers() == RIGHT.public_key().public_numbers()
    )


# Real tokens


class Pool:
    """A user pool of moto's Cognito, with a client and users."""

    def __init__(self, url: str) -> None:
        self.api: Any = boto3.client(
            "cognito-idp", region_name="eu-west-1", endpoint_url=url, aws_access_key_id="x", aws_secret_access_key="x"
        )
        self.id = self.api.create_user_pool(PoolName="people")["UserPool"]["Id"]
        made = self.api.create_user_pool_client(
            UserPoolId=self.id, ClientName="web", ExplicitAuthFlows=["ALLOW_ADMIN_USER_PASSWORD_AUTH"]
        )
        self.client_id = made["UserPoolClient"]["ClientId"]

    def sign_in(self, username: str, client_id: str | None = None) -> dict[str, str]:
        """The tokens that Cognito hands out."""
        password = "Correct-horse-7"
        self.api.admin_create_user(UserPoolId=self.id, Username=username, MessageAction="SUPPRESS")
        self.api.admin_set_user_password(UserPoolId=self.id, Username=username, Password=password, Permanent=True)
        answer = self.api.admin_initiate_auth(
            UserPoolId=self.id,
            ClientId=client_id or self.client_id,
            AuthFlow="ADMIN_USER_PASSWORD_AUTH",
            AuthParameters={"USERNAME": username, "PASSWORD": password},
        )
        return answer["AuthenticationResult"]


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    from tests.core.test_secrets import running_store

    with running_store() as store:
        yield store.url


async def test_a_real_token(moto: str, client: HttpClient, people: People) -> None:
    pool = Pool(moto)
    url = cognito_issuer(pool.id)
    assert url == f"https://cognito-idp.eu-west-1.amazonaws.com/{pool.id}"
    issuer = Issuer(url, client=client, jwks_uri=f"{moto}/{pool.id}/.well-known/jwks.json")
    trusted = Trusted(issuer=issuer, rules=cognito_rules(url, pool.client_id), naming=Naming(prefix="vandy"))
    scheme = AccessTokens([trusted], people, objection=nobody)
    issued = pool.sign_in("vandy_alice@x.edu")
    assert (await scheme.principal(issued["AccessToken"])).user_id == "alice@x.edu"
    another_pools = Pool(moto).sign_in("vandy_alice@x.edu")["AccessToken"]  # moto signs all with one key
    for wrong in (issued["IdToken"], issued["RefreshToken"], another_pools):
        with pytest.raises(InvalidToken):
            await scheme.principal(wrong)
    people.known.add(sub := jwt.decode(issued["AccessToken"], options={"verify_signature": False})["sub"])
    fresh = AccessTokens([trusted], people, objection=nobody)
    assert (await fresh.principal(issued["AccessToken"])).user_id == sub


# Through the door


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory, running: OidcProvider) -> Iterator[Service]:
    with running_service(
        tmp_path_factory.mktemp("tokens"),
        COGNITO_USER_POOL_ID=POOL,
        COGNITO_CLIENT_ID=CLIENT_ID,
        AWS_ENDPOINT_URL=running.url,
        LOG_LEVEL="DEBUG",
    ) as service:
        yield service


def _sendable(token: str) -> bool:
    """Whether it can stand in a header at all; the servers' own limits are tested elsewhere."""
    return token.isascii() and token.isprintable() and token == token.strip() and 0 < len(token) < 7000


async def test_no_forgery_passes_any_door(doors: Service, provider: OidcProvider) -> None:
    forge = Forge("cognito", COGNITO_ISSUER, time.time())
    good = forge.good()
    made = {name: forgery(forge) for name, forgery in FORGERIES["cognito"].items()}
    sent = {name: token for name, token in made.items() if _sendable(token) and token.replace("Bearer ", "") != good}
    assert len(sent) > 150
    async with ClientSession() as session:

        async def by_http(token: str) -> tuple[int, dict[str, Any], str | None]:
            headers = {"Authorization": f"Bearer {token}"}
            async with session.get(f"{doors.url}/v1/models", headers=headers) as answer:
                return answer.status, await answer.json(), answer.headers.get("WWW-Authenticate")

        assert (await by_http(good))[0] == 200
        for name, token in sent.items():
            status, body, challenge = await by_http(token)
            assert (status, challenge) == (401, 'Bearer error="invalid_token"'), (name, body)
    assert provider.asked["jwks.json"] <= 2
    assert not [token for token in (good, *sent.values()) if len(token) > 100 and token in doors.log]


SOME = [
    "another key of the same id", "expired", "alg 'none', signed", "HS256 by the public key, PEM", "another client",
    "an id token of a browser's sign-in", "another issuer", "no exp", "a key of its own", "a user id with a hash",
    "two parts", "four parts", "claims twice, exp",
]  # fmt: skip


IN_MESSAGES_ALONE = ["a NUL behind", "wide dots"]  # no header can hold them


@pytest.mark.parametrize(
    ("way", "name"),
    [(way, name) for way in ("header", "subprotocol") for name in SOME]
    + [("message", name) for name in SOME + IN_MESSAGES_ALONE],
)
async def test_no_forgery_opens_a_socket(doors: Service, provider: OidcProvider, way: str, name: str) -> None:
    forged = FORGERIES["cognito"][name](Forge("cognito", COGNITO_ISSUER, time.time()))
    assert await _first_words(doors, way, forged) == ("error", "unauthorized")


@pytest.mark.parametrize("way", ["header", "subprotocol", "message"])
async def test_a_good_token_opens_a_socket(doors: Service, provider: OidcProvider, way: str) -> None:
    good = Forge("cognito", COGNITO_ISSUER, time.time()).good()
    assert await _first_words(doors, way, good) == ("auth.ok", "alice")


async def _first_words(service: Service, way: str, token: str) -> tuple[str, str]:
    options: dict[str, Any] = {}
    if way == "header":
        options["additional_headers"] = {"Authorization": f"Bearer {token}"}
    if way == "subprotocol":
        options["subprotocols"] = [Subprotocol("amplify.chat.v1"), Subprotocol(f"bearer.{token}")]
    async with asyncio.timeout(10), connect(service.ws_url, **options) as socket:
        if way == "message":
            await socket.send(json.dumps({"type": "auth", "token": token}))
        said = json.loads(await socket.recv())
        return said["type"], said.get("code") or said["user"]
