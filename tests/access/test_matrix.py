"""The access matrix, asked of a running service: every route, every actor."""

import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from bench.upstream.testing import running_upstream
from tests.access.matrix import ACTORS, ASK, MATRIX, NEW_KEY, NOT_ONLY_STAFF, SOCKETS, STAFF_ONLY
from tests.access.routes import all_routes
from tests.harness import Service, create_keys, running_service

MODEL = "mock+tokens=3+text=plain"
ROUTES = sorted(all_routes())
STAFF = [r.pattern for r in ROUTES if r.pattern.startswith(STAFF_ONLY) and r.pattern not in NOT_ONLY_STAFF]
PASSWORD = "correct-horse-battery"
JSON = {"Content-Type": "application/json"}
TIMEOUT = aiohttp.ClientTimeout(total=20)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with (
        running_upstream([MODEL]) as upstream,
        running_service(tmp_path_factory.mktemp("access"), upstream=upstream.url, models=[MODEL]) as running,
    ):
        yield running


@pytest.fixture(scope="module")
def world(service: Service) -> "World":
    people = ("owner", "peer", "stranger")
    keys = create_keys(
        service.env,
        *({"user": name, "access": ["full_access"]} for name in people),
        {"user": "owner", "access": ["file_upload"]},
        {"user": "owner", "access": ["full_access"], "name": "revoked"},
    )
    service.sql("UPDATE accounts_apikey SET active = 0 WHERE name = 'revoked'")
    return World(service, {**dict(zip((*people, "scoped", "revoked"), keys, strict=True)), "anonymous": None})


@dataclass(frozen=True)
class World:
    """A service, and each actor's key."""

    service: Service
    keys: Mapping[str, str | None]

    def headers(self, actor: str) -> dict[str, str]:
        key = self.keys[actor]
        return {"Authorization": f"Bearer {key}"} if key else {}

    async def filled(self, path: str, body: Any) -> tuple[str, Any]:
        """Them with the things of the owner's that they name; made anew each time, as some requests take them away."""
        text = json.dumps([path, body])
        for name in set(re.findall(r"{(\w+)}", text)):
            text = text.replace("{" + name + "}", await self._thing(name))
        path, body = json.loads(text)
        return path, body

    async def _thing(self, name: str) -> str:
        match name:
            case "model":
                return MODEL
            case "run":
                ask = {"messages": ASK["messages"], "model": MODEL, "stream": False}
                return (await self.service.ask(ask, key=self.keys["owner"])).headers["X-Run-Id"]
            case "key":
                return str((await self._post("/api/keys/", NEW_KEY))["record"]["id"])
            case "publicName":
                return str((await self._post("/api/keys/", NEW_KEY))["record"]["publicName"])
            case "group":
                members = {"peer": "read", "dave": "read"}
                return str((await self._post("/api/groups/", {"name": "Physics", "members": members}))["id"])
        raise KeyError(name)

    async def _post(self, path: str, body: Any) -> dict[str, Any]:
        answer = await self.service.ask(body, path=path, key=self.keys["owner"], headers=JSON)
        assert answer.status == 201, answer.raw
        return answer.json


def test_every_route_has_a_row_and_every_row_a_route() -> None:
    named = {(r.method, r.pattern) for r in ROUTES if r.method != "WS" and r.pattern not in STAFF}
    assert named - set(MATRIX) == set(), "new routes: say in tests/access/matrix.py who gets what from them"
    assert {key for key in MATRIX if key not in named} == set(), "rows without a route"
    assert {r.pattern for r in ROUTES if r.method == "WS"} == set(SOCKETS)


CASES = [
    pytest.param(method, pattern, actor, id=f"{method} {pattern} {actor}")
    for method, pattern in MATRIX
    for actor in ACTORS
]


@pytest.mark.parametrize(("method", "pattern", "actor"), CASES)
async def test_a_row(world: World, method: str, pattern: str, actor: str) -> None:
    row = MATRIX[method, pattern]
    path, body = await world.filled(row.path, row.body)
    async with (
        aiohttp.ClientSession(timeout=TIMEOUT, headers=world.headers(actor) | JSON) as session,
        session.request(method, world.service.url + path, json=body, allow_redirects=False) as response,
    ):
        assert response.status == row.statuses[ACTORS.index(actor)], await response.text()


@asynccontextmanager
async def _browser(service: Service, user: str) -> AsyncIterator[aiohttp.ClientSession]:
    """A person who has signed in with a password, and is no staff."""
    jar = aiohttp.CookieJar(unsafe=True)  # keeps cookies of addresses without a name
    async with aiohttp.ClientSession(timeout=TIMEOUT, cookie_jar=jar) as session:
        async with session.get(f"{service.url}/login/") as page:
            token = re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', await page.text())[0]
        form = {"username": user, "password": PASSWORD, "csrfmiddlewaretoken": token}
        headers = {"Origin": service.url, "Referer": f"{service.url}/login/"}
        async with session.post(f"{service.url}/login/", data=form, headers=headers) as answer:
            assert answer.status == 200 and "sessionid" in {cookie.key for cookie in session.cookie_jar}
        yield session


@pytest.mark.parametrize("pattern", STAFF)
@pytest.mark.parametrize("who", ["anonymous", "signed in"])
@pytest.mark.usefixtures("people")
async def test_the_admin_is_for_staff(service: Service, pattern: str, who: str) -> None:
    path = _a_path(pattern)
    visit = _browser(service, "plain") if who == "signed in" else aiohttp.ClientSession(timeout=TIMEOUT)
    async with visit as session, session.get(f"{service.url}/{path}", allow_redirects=False) as response:
        assert response.status in (302, 403), f"{path}: {response.status}"
        assert response.status == 403 or "/login/" in response.headers["Location"]


def _a_path(pattern: str) -> str:
    """One that the pattern fits."""
    pattern = re.sub(r"\(\?P<app_label>(\w+)[^)]*\)", r"\1", pattern).replace("(?P<url>.*)", "nowhere/")
    return re.sub(r"<[^>]*>", "1", pattern).replace("^", "").replace("$", "")


@pytest.fixture(scope="module")
def people(service: Service) -> None:
    """A user with a password who is no staff."""
    from django.contrib.auth.hashers import make_password

    service.create_key("plain")
    service.sql("UPDATE accounts_user SET password = ? WHERE username = 'plain'", make_password(PASSWORD))


SOCKET_CASES = [
    pytest.param(path, kind, actor, id=f"{path} {kind} {actor}")
    for path, kinds in SOCKETS.items()
    for kind in kinds
    for actor in ACTORS
]


@pytest.mark.parametrize(("path", "kind", "actor"), SOCKET_CASES)
async def test_a_socket(world: World, path: str, kind: str, actor: str) -> None:
    expected = SOCKETS[path][kind][ACTORS.index(actor)]
    about = {"id": "1", "body": ASK} if kind == "chat.start" else {"run": "{run}"}
    _, message = await world.filled("", {"type": kind, **about})
    async with (
        aiohttp.ClientSession(timeout=TIMEOUT, headers=world.headers(actor)) as session,
        session.ws_connect(f"{world.service.url}/{path}") as socket,
    ):
        await socket.send_json(message)
        await socket.send_json({"type": "ping"})
        heard = await _heard(socket)
    if expected:
        assert expected in heard, heard
    else:
        assert set(heard) <= {"auth.ok", "pong"}, heard


async def _heard(socket: aiohttp.ClientWebSocketResponse) -> list[str]:
    """The kinds of messages, and the codes of errors, up to the answer to our ping or the end."""
    heard: list[str] = []
    async for message in socket:
        if message.type is not aiohttp.WSMsgType.TEXT:
            break
        content = json.loads(message.data)
        heard.append(content.get("code") or content["type"])
        if content["type"] == "pong":
            break
    return heard
