"""Sign-in through an institution: a browser, this service and an OpenID provider, over real sockets."""

import json
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
import pytest
from aiohttp import ClientResponse, ClientSession, CookieJar

from tests.accounts.forgeries import POOL
from tests.accounts.oidc_provider import (
    CLIENT,
    SECRET,
    Claims,
    OidcProvider,
    rsa_key,
    running_provider,
)
from tests.harness import Service, environment, manage, running_service

ALICE = {
    "sub": "s-1",
    "email": "alice@x.edu",
    "given_name": "Alice",
    "family_name": "Liddell",
    "preferred_username": "alice@x.edu",
}


@pytest.fixture(scope="module")
def running() -> Iterator[OidcProvider]:
    with running_provider() as provider:
        yield provider


@pytest.fixture
def provider(running: OidcProvider) -> OidcProvider:
    running.reset()
    running.person = dict(ALICE)
    return running


def settings_of(provider: OidcProvider, **more: str) -> dict[str, str]:
    return {
        "OIDC_ISSUER": provider.url,
        "OIDC_CLIENT_ID": CLIENT,
        "OIDC_CLIENT_SECRET": SECRET,
        "OIDC_USER_CLAIM": "preferred_username",
        "STAFF_GROUPS": "finance, support",
        "ADMIN_GROUPS": "operators",
        **more,
    }


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, running: OidcProvider) -> Iterator[Service]:
    with running_service(tmp_path_factory.mktemp("login"), **settings_of(running)) as service:
        yield service


@pytest.fixture(scope="module")
def without_passwords(tmp_path_factory: pytest.TempPathFactory, running: OidcProvider) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("alone")
    with running_service(folder, **settings_of(running, LOCAL_LOGIN="off")) as service:
        yield service


class Browser:
    """Cookies and redirects, as a browser has them."""

    def __init__(self, service: Service, session: ClientSession) -> None:
        self.service = service
        self.session = session

    async def get(self, path: str, **options: Any) -> "Page":
        url = path if path.startswith("http") else self.service.url + path
        async with self.session.get(url, **options) as response:
            return Page(response, await response.text())

    async def post(self, path: str, **form: str) -> "Page":
        """A form of the page at `/login/` or `/`, with its token."""
        token = next(cookie.value for cookie in self.session.cookie_jar if cookie.key == "csrftoken")
        fields = {"csrfmiddlewaretoken": token, **form}
        async with self.session.post(self.service.url + path, data=fields) as response:
            return Page(response, await response.text())

    async def sign_in(self, path: str = "/") -> "Page":
        """The way over and back; ends on the page it was begun for, or on the one that says why not."""
        return await self.get(f"/login/institution/?next={path}")

    async def back_from_over_there(self) -> str:
        """The address that the provider sends the browser to, not followed yet."""
        over = await self.get("/login/institution/", allow_redirects=False)
        back = await self.get(over.location, allow_redirects=False)
        return back.location

    async def user(self) -> str | None:
        """Who is signed in."""
        page = await self.get("/", allow_redirects=False)
        found = re.search(r'data-user="([^"]*)"', page.text)
        return found[1] if found else None

    @property
    def session_key(self) -> str | None:
        return next((cookie.value for cookie in self.session.cookie_jar if cookie.key == "sessionid"), None)


class Page:
    def __init__(self, response: ClientResponse, text: str) -> None:
        self.status = response.status
        self.url = response.url
        self.location = response.headers.get("Location", "")
        self.cookies = response.headers.getall("Set-Cookie", [])
        self.headers = response.headers
        self.text = text


@asynccontextmanager
async def browsing(service: Service) -> AsyncIterator[Browser]:
    async with ClientSession(cookie_jar=CookieJar(unsafe=True)) as session:
        yield Browser(service, session)


@pytest.fixture
async def browser(service: Service, provider: OidcProvider) -> AsyncIterator[Browser]:
    async with browsing(service) as browser:
        yield browser


def row(service: Service, username: str) -> dict[str, Any] | None:
    found = service.sql("SELECT * FROM accounts_user WHERE username = ?", username)
    return dict(found[0]) if found else None


# The way it goes


async def test_somebody_signs_in(browser: Browser, provider: OidcProvider) -> None:
    page = await browser.sign_in()
    assert (page.status, page.url.path) == (200, "/")
    assert await browser.user() == "alice@x.edu"
    user = row(browser.service, "alice@x.edu")
    assert user is not None
    assert (user["email"], user["first_name"], user["last_name"]) == ("alice@x.edu", "Alice", "Liddell")
    assert (user["is_staff"], user["is_superuser"], user["password"][0]) == (0, 0, "!")
    asked = provider.last_asked
    assert asked["scope"] == "openid email profile"
    assert (asked["code_challenge_method"], len(asked["code_challenge"])) == ("S256", 43)
    assert len(asked["state"]) >= 32
    assert len(asked["nonce"]) >= 32
    assert asked["redirect_uri"] == f"{browser.service.url}/login/callback/"


async def test_the_page_offers_both_ways(browser: Browser) -> None:
    page = await browser.get("/login/?next=/admin/")
    assert 'href="/login/institution/?next=/admin/"' in page.text
    assert 'name="password"' in page.text


async def test_the_secret_goes_where_the_provider_wants_it(browser: Browser, provider: OidcProvider) -> None:
    await browser.sign_in()
    assert provider.last_token_request["client_secret"] == SECRET
    assert not provider.last_token_request["authorization"]
    assert len(provider.last_token_request["code_verifier"]) == 64


async def test_somebody_is_told_what_changed_of_them(browser: Browser, provider: OidcProvider) -> None:
    await browser.sign_in()
    provider.person |= {"email": "new@x.edu", "family_name": "Hargreaves", "given_name": ["no", "text"]}
    await browser.sign_in()
    user = row(browser.service, "alice@x.edu")
    assert user is not None
    assert (user["email"], user["first_name"], user["last_name"]) == ("new@x.edu", "", "Hargreaves")
    assert len(browser.service.sql("SELECT id FROM accounts_user WHERE username = 'alice@x.edu'")) == 1


@pytest.mark.parametrize(
    ("groups", "is_staff", "is_superuser"),
    [
        (["operators"], 1, 1),
        (["students", "finance"], 1, 0),
        (["support"], 1, 0),
        ("operators", 1, 1),
        (["students"], 0, 0),
        (["Operators", "operators "], 0, 0),
        ({"operators": True}, 0, 0),
        (None, 0, 0),
    ],
)
async def test_groups_give_rank_and_take_it_again(
    browser: Browser, provider: OidcProvider, groups: Any, is_staff: int, is_superuser: int
) -> None:
    provider.person |= {"preferred_username": "carol", "groups": groups}
    await browser.sign_in()
    user = row(browser.service, "carol")
    assert user is not None
    assert (user["is_staff"], user["is_superuser"]) == (is_staff, is_superuser)
    admin = await browser.get("/admin/")
    assert (admin.url.path == "/admin/") is bool(is_staff)
    provider.person |= {"groups": []}
    await browser.sign_in()
    user = row(browser.service, "carol")
    assert user is not None
    assert (user["is_staff"], user["is_superuser"]) == (0, 0)
    assert (await browser.get("/admin/")).url.path == "/login/"


async def test_rank_comes_from_the_signed_token_where_the_two_differ(browser: Browser, provider: OidcProvider) -> None:
    provider.person |= {"preferred_username": "dora", "groups": ["students"]}
    provider.userinfo = lambda claims: {**claims, "groups": ["operators"], "preferred_username": "root"}
    await browser.sign_in()
    assert await browser.user() == "dora"
    user = row(browser.service, "dora")
    assert user is not None
    assert not user["is_superuser"]


async def test_the_admin_sends_to_the_one_page(browser: Browser) -> None:
    page = await browser.get("/admin/")
    assert page.url.path_qs == "/login/?next=/admin/"


async def test_next(browser: Browser, provider: OidcProvider) -> None:
    provider.person |= {"groups": ["operators"]}
    assert (await browser.sign_in("/admin/accounts/")).url.path == "/admin/accounts/"


@pytest.mark.parametrize(
    "elsewhere",
    ["https://mallory.example/", "//mallory.example/", "/\\mallory.example", "javascript:alert(1)", "http:///mallory.example"],
)  # fmt: skip
async def test_next_leads_nowhere_else(browser: Browser, elsewhere: str) -> None:
    await browser.get("/login/institution/", params={"next": elsewhere}, allow_redirects=False)
    over = await browser.get("/login/institution/", params={"next": elsewhere}, allow_redirects=False)
    back = await browser.get(over.location, allow_redirects=False)
    home = await browser.get(back.location, allow_redirects=False)
    assert (home.status, home.location) == (302, "/")
    assert "mallory" not in (await browser.get("/login/", params={"next": elsewhere})).text


# Sessions


async def test_the_session_gets_a_new_key(browser: Browser) -> None:
    back = await browser.back_from_over_there()
    before = browser.session_key
    home = await browser.get(back)
    assert home.status == 200
    first = browser.session_key
    assert before and first and before != first
    await browser.sign_in()
    assert browser.session_key != first, "also where the same person signs in again"
    browser.session.cookie_jar.update_cookies({"sessionid": before}, home.url.origin())
    assert await browser.user() is None


async def test_somebody_else_takes_over_nothing_but_the_way(browser: Browser, provider: OidcProvider) -> None:
    await browser.sign_in()
    provider.person = {"sub": "s-2", "preferred_username": "bob", "groups": ["operators"]}
    page = await browser.sign_in("/admin/")
    assert page.url.path == "/admin/"
    assert await browser.user() == "bob"


@pytest.mark.parametrize(("scheme", "secure"), [("https", True), ("http", False)])
async def test_cookies_keep_to_the_way_they_came(browser: Browser, scheme: str, secure: bool) -> None:
    headers = {"X-Forwarded-Proto": scheme}
    page = await browser.get("/login/institution/", headers=headers, allow_redirects=False)
    page_with_form = await browser.get("/login/", headers=headers)
    cookies = page.cookies + page_with_form.cookies
    assert {cookie.partition("=")[0] for cookie in cookies} == {"sessionid", "csrftoken"}
    assert all(("Secure" in cookie) is secure for cookie in cookies)
    assert all("SameSite=Lax" in cookie for cookie in cookies)


async def test_a_session_lasts_a_days_work(browser: Browser) -> None:
    await browser.get(await browser.back_from_over_there())
    cookie = next(cookie for cookie in browser.session.cookie_jar if cookie.key == "sessionid")
    assert cookie["max-age"] == str(12 * 3600)


async def test_who_is_deactivated_stays_out(browser: Browser, provider: OidcProvider) -> None:
    provider.person |= {"preferred_username": "erin"}
    await browser.sign_in()
    assert await browser.user() == "erin"
    browser.service.sql("UPDATE accounts_user SET is_active = 0 WHERE username = 'erin'")
    assert await browser.user() is None, "the session that was open"
    page = await browser.sign_in()
    assert page.status == 403
    assert "deactivated" in page.text
    assert await browser.user() is None


async def test_nobody_becomes_a_user_with_a_password(browser: Browser, provider: OidcProvider) -> None:
    script = "from accounts.models import User; User.objects.create_superuser('admin', password='a long password')"
    manage(browser.service.env, "shell", "-c", script)
    provider.person |= {"preferred_username": "admin"}
    page = await browser.sign_in("/admin/")
    assert page.status == 403
    assert "with a password" in page.text
    assert await browser.user() is None


@pytest.mark.parametrize("name", ["\uff41dmin", "admin\u200b", "ali#ce", "", "a" * 151, ["admin"], None])
async def test_what_is_no_name_here(browser: Browser, provider: OidcProvider, name: Any) -> None:
    provider.person |= {"preferred_username": name}
    page = await browser.sign_in()
    assert page.status == 403
    assert "administrator" in page.text
    assert await browser.user() is None


# Signing out


async def test_signing_out_goes_on_to_the_provider(browser: Browser, provider: OidcProvider) -> None:
    await browser.sign_in()
    page = await browser.post("/logout/")
    assert await browser.user() is None
    found = re.search(r'content="0; url=([^"]*)"', page.text)
    assert found is not None
    over = urlsplit(found[1].replace("&amp;", "&"))
    assert f"{over.scheme}://{over.netloc}{over.path}" == f"{provider.url}/logout"
    assert parse_qs(over.query) == {
        "client_id": [CLIENT],
        "post_logout_redirect_uri": [f"{browser.service.url}/login/"],
        "logout_uri": [f"{browser.service.url}/login/"],
    }


async def test_signing_out_of_a_password_stays_here(browser: Browser) -> None:
    script = "from accounts.models import User; User.objects.create_user('frank', password='a long password')"
    manage(browser.service.env, "shell", "-c", script)
    await browser.get("/login/")
    await browser.post("/login/", username="frank", password="a long password", next="/")
    assert await browser.user() == "frank"
    page = await browser.post("/logout/")
    assert page.url.path == "/login/"
    assert await browser.user() is None


async def test_a_link_signs_nobody_out(browser: Browser) -> None:
    await browser.sign_in()
    assert (await browser.get("/logout/")).status == 405
    await browser.get("/login/callback/?error=access_denied&state=x")
    assert await browser.user() == "alice@x.edu"


# Lies. Each leaves the browser without a session of anybody, and says so.

Lie = Callable[[OidcProvider], None]


def _id(**changes: Any) -> Lie:
    def lie(provider: OidcProvider) -> None:
        provider.id_claims = lambda claims: {k: v for k, v in (claims | changes).items() if v is not ...}

    return lie


def _signed(sign: Callable[[Claims], str]) -> Lie:
    def lie(provider: OidcProvider) -> None:
        provider.sign = sign

    return lie


def _info(**changes: Any) -> Lie:
    def lie(provider: OidcProvider) -> None:
        provider.userinfo = lambda claims: {k: v for k, v in (claims | changes).items() if v is not ...}

    return lie


def _answers(endpoint: str, status: int, content: Any) -> Lie:
    def lie(provider: OidcProvider) -> None:
        provider.broken[endpoint] = (
            status,
            {},
            content if isinstance(content, bytes) else json.dumps(content).encode(),
        )

    return lie


def _plain(claims: Claims) -> str:
    return jwt.encode(claims, None, "none")


LIES: dict[str, Lie] = {
    "another audience": _id(aud="another"),
    "no audience": _id(aud=...),
    "an audience of no text": _id(aud=[7]),
    "several audiences and no azp": _id(aud=[CLIENT, "another"]),
    "several audiences, another's azp": _id(aud=[CLIENT, "another"], azp="another"),
    "another's azp": _id(azp="another"),
    "another issuer": _id(iss="https://mallory.example"),
    "no issuer": _id(iss=...),
    "expired": _id(exp=int(time.time()) - 1),
    "no exp": _id(exp=...),
    "exp of no number": _id(exp="9999999999"),
    "not yet valid": _id(nbf=int(time.time()) + 3600),
    "issued tomorrow": _id(iat=int(time.time()) + 86400),
    "another nonce": _id(nonce="x" * 32),
    "no nonce": _id(nonce=...),
    "a nonce of nothing": _id(nonce=None),
    "an empty nonce": _id(nonce=""),
    "a list of nonces": _id(nonce=["x"]),
    "another at_hash": _id(at_hash="x" * 22),
    "an at_hash of nothing": _id(at_hash=None),
    "no sub": _id(sub=...),
    "a list of subs": _id(sub=["s-1"]),
    "another sub over there": _info(sub="s-2"),
    "no sub over there": _info(sub=...),
    "another key": _signed(lambda claims: jwt.encode(claims, rsa_key("mallory"), "RS256", {"kid": "k1"})),
    "an unknown key": _signed(lambda claims: jwt.encode(claims, rsa_key("mallory"), "RS256", {"kid": "k9"})),
    "no key id": _signed(lambda claims: jwt.encode(claims, rsa_key("provider"), "RS256")),
    "RS512": _signed(lambda claims: jwt.encode(claims, rsa_key("provider"), "RS512", {"kid": "k1"})),
    "HS256 by the secret": _signed(lambda claims: jwt.encode(claims, SECRET.ljust(32), "HS256", {"kid": "k1"})),
    "alg none": _signed(_plain),
    "no token at all": _signed(lambda claims: ""),
    "a token of no text": _answers("token", 200, {"id_token": 7, "access_token": "a"}),
    "no access token": _answers("token", 200, {"id_token": "a.b.c"}),
    "an access token of no text": _answers("token", 200, {"id_token": "a.b.c", "access_token": ["a"]}),
    "invalid_grant": _answers("token", 400, {"error": "invalid_grant"}),
    "invalid_client": _answers("token", 401, {"error": "invalid_client", "error_description": "sk-canary-4f1d"}),
    "an error of its own": _answers("token", 400, {"error": "sk-canary-4f1d"}),
    "userinfo refused": _answers("userinfo", 401, {}),
}


@pytest.mark.parametrize("name", LIES)
async def test_a_lie(browser: Browser, provider: OidcProvider, name: str) -> None:
    LIES[name](provider)
    page = await browser.sign_in()
    assert (page.status, page.url.path) == (403, "/login/callback/")
    assert "try again" in page.text or "administrator" in page.text
    assert "/login/institution/" in page.text
    assert await browser.user() is None
    assert "sk-canary-4f1d" not in page.text
    assert "sk-canary-4f1d" not in browser.service.log


BROKEN: dict[str, Lie] = {
    "token 500": _answers("token", 500, {}),
    "token 302": lambda provider: provider.broken.update(token=(307, {"Location": f"{provider.url}/token2"}, b"{}")),
    "token no JSON": _answers("token", 200, b"<html>"),
    "token a list": _answers("token", 200, []),
    "userinfo 500": _answers("userinfo", 500, {}),
    "userinfo no JSON": _answers("userinfo", 200, b"eyJ.eyJ.x"),
    "userinfo a list": _answers("userinfo", 200, []),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_a_provider_that_breaks_down(browser: Browser, provider: OidcProvider, name: str) -> None:
    BROKEN[name](provider)
    page = await browser.sign_in()
    assert page.status == 503
    assert "cannot be reached" in page.text
    assert await browser.user() is None
    assert provider.asked["token2"] == 0, "the secret went elsewhere"
    provider.broken.clear()
    assert (await browser.sign_in()).status == 200


# The way back, walked by somebody else


async def test_a_way_back_that_was_begun_elsewhere(browser: Browser, provider: OidcProvider) -> None:
    """Mallory sends Alice the end of her own sign-in (login CSRF)."""
    async with browsing(browser.service) as mallory:
        back = await mallory.back_from_over_there()
    page = await browser.get(back)
    assert page.status == 400
    assert await browser.user() is None
    await browser.back_from_over_there()  # a sign-in of her own is under way
    assert (await browser.get(back)).status == 400
    assert provider.asked["token"] == 0


async def test_a_way_back_walked_twice(browser: Browser, provider: OidcProvider) -> None:
    back = await browser.back_from_over_there()
    assert (await browser.get(back)).status == 200
    assert (await browser.get(back)).status == 400
    assert provider.asked["token"] == 1


@pytest.mark.parametrize("change", [{"state": "x" * 32}, {"state": ""}, {"code": "made-up"}, {"code": ""}])
async def test_a_way_back_with_a_change(browser: Browser, provider: OidcProvider, change: dict[str, str]) -> None:
    parts = urlsplit(await browser.back_from_over_there())
    query = {name: values[0] for name, values in parse_qs(parts.query).items()} | change
    page = await browser.get(f"/login/callback/?{urlencode(query)}")
    assert page.status in (400, 403)
    assert await browser.user() is None


async def test_a_code_of_another_sign_in(browser: Browser, provider: OidcProvider) -> None:
    """Mallory's code put into Alice's way back: PKCE and the nonce are of another session."""
    async with browsing(browser.service) as mallory:
        stolen = parse_qs(urlsplit(await mallory.back_from_over_there()).query)["code"][0]
    state = parse_qs(urlsplit(await browser.back_from_over_there()).query)["state"][0]
    page = await browser.get(f"/login/callback/?{urlencode({'code': stolen, 'state': state})}")
    assert page.status == 403
    assert await browser.user() is None


async def test_a_password_form_is_no_way_back(browser: Browser, provider: OidcProvider) -> None:
    """The library would exchange any code that stands in the address of a password form, with no state to check."""
    async with browsing(browser.service) as mallory:
        back = await mallory.back_from_over_there()
    await browser.get("/login/")
    page = await browser.post(f"/login/?{urlsplit(back).query}", username="x", password="y")
    assert page.status == 200
    assert "do not go together" in page.text
    assert provider.asked["token"] == 0
    assert await browser.user() is None


async def test_what_the_provider_says_went_wrong(browser: Browser) -> None:
    page = await browser.get("/login/callback/?error=access_denied&error_description=<script>alert(1)</script>")
    assert page.status == 403
    assert "<script" not in page.text


# Setting it up


async def test_a_provider_that_is_down_at_first(tmp_path: Path, provider: OidcProvider) -> None:
    provider.broken["openid-configuration"] = (500, {}, b"{}")
    with running_service(tmp_path, **settings_of(provider)) as service:
        async with browsing(service) as browser:
            page = await browser.sign_in()
            assert page.status == 503
            assert "cannot be reached" in page.text
            assert (await browser.get("/login/")).status == 200
            for _ in range(5):
                await browser.sign_in()
            assert provider.asked["openid-configuration"] == 1, "not asked by each request"


async def test_only_through_the_institution(without_passwords: Service, provider: OidcProvider) -> None:
    manage(
        without_passwords.env, "shell", "-c",
        "from accounts.models import User; User.objects.create_superuser('root', password='a long password')",
    )  # fmt: skip
    async with browsing(without_passwords) as browser:
        page = await browser.get("/admin/")
        assert page.url.path == "/login/"
        assert "password" not in page.text.lower()
        assert "/login/institution/?next=/admin/" in page.text
        await browser.get("/")
        async with browser.session.post(f"{without_passwords.url}/login/", data={"username": "root"}) as answer:
            assert answer.status in (200, 403)
        assert await browser.user() is None
        provider.person |= {"preferred_username": "root"}
        assert (await browser.sign_in()).status == 200
        user = row(without_passwords, "root")
        assert user is not None
        assert not user["is_superuser"], "rank comes from groups alone"


@pytest.mark.parametrize(
    ("env", "named"),
    [
        ({"LOCAL_LOGIN": "off"}, "LOCAL_LOGIN"),
        ({"OIDC_CLIENT_ID": "x"}, "OIDC_ISSUER"),
        ({"OIDC_AUDIENCE": "x"}, "OIDC_ISSUER"),
        ({"COGNITO_USER_POOL_ID": POOL}, "COGNITO_CLIENT_ID"),
        ({"COGNITO_CLIENT_ID": "x"}, "COGNITO_USER_POOL_ID"),
        ({"OIDC_ALGORITHM": "HS256"}, "OIDC_ALGORITHM"),
        ({"OIDC_ALGORITHM": "none"}, "OIDC_ALGORITHM"),
    ],
)
def test_half_of_it_does_not_start(tmp_path: Path, env: dict[str, str], named: str) -> None:
    with pytest.raises(AssertionError) as error:
        manage(environment(tmp_path, **env), "serve")
    said = str(error.value)
    assert "Cannot start: " in said
    assert named in said
    assert "Traceback" not in said


# Cognito: a person is one user, by browser and by token


async def test_one_person_one_user(tmp_path: Path, provider: OidcProvider) -> None:
    provider.issuer = f"https://cognito-idp.us-east-1.amazonaws.com/{POOL}"
    provider.person = {
        "sub": "s-1",
        "cognito:username": "Vandy_alice",
        "token_use": "id",
        "cognito:groups": ["operators"],
    }
    now = int(time.time())
    claims = {"iss": provider.issuer, "sub": "s-1", "client_id": CLIENT, "token_use": "access", "exp": now + 300}
    claims |= {"iat": now, "username": "Vandy_alice"}
    token = jwt.encode(claims, rsa_key("provider"), "RS256", {"kid": "k1"})
    provider.access_token = lambda: token
    env = {
        "COGNITO_USER_POOL_ID": POOL,
        "COGNITO_CLIENT_ID": CLIENT,
        "AWS_ENDPOINT_URL": provider.url,
        "IDP_PREFIX": "vandy",
        "OIDC_CLIENT_ID": CLIENT,
        "OIDC_CLIENT_SECRET": SECRET,
        "ADMIN_GROUPS": "operators",
    }
    with running_service(tmp_path, **env) as service:
        async with browsing(service) as browser:
            await browser.sign_in()
            assert await browser.user() == "alice"
            user = row(service, "alice")
            assert user is not None
            assert user["is_superuser"]
            claims |= {"sub": "s-2", "username": "bob"}
            provider.access_token = lambda: jwt.encode(claims, rsa_key("provider"), "RS256", {"kid": "k1"})
            assert (await browser.sign_in()).status == 403, "an access token of somebody else"
            provider.access_token = lambda: "opaque"
            assert (await browser.sign_in()).status == 403
        assert await _status(service, token) == 200
        script = "from accounts.models import User; User.objects.create_superuser('root', password='a long password')"
        manage(service.env, "shell", "-c", script)
        roots = {**claims, "sub": "s-3", "username": "root"}
        assert await _status(service, jwt.encode(roots, rsa_key("provider"), "RS256", {"kid": "k1"})) == 403
        service.sql("UPDATE accounts_user SET is_active = 0")
        again = {**claims, "sub": "s-1", "username": "alice"}
        assert await _status(service, jwt.encode(again, rsa_key("provider"), "RS256", {"kid": "k1"})) == 403


async def _status(service: Service, token: str) -> int:
    headers = {"Authorization": f"Bearer {token}"}
    async with ClientSession() as session, session.get(f"{service.url}/v1/models", headers=headers) as answer:
        return answer.status
