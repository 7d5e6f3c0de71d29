"""What every address below `/api/` has in common: who is let in, what of, and how it says no."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from urllib.parse import urlsplit
from uuid import UUID

import pytest

from accounts.api.urls import urlpatterns
from core.errors import AmplifyError
from tests.accounts.rest import Reply, Visitor, signed_in, with_key
from tests.harness import Service
from usage.api.urls import urlpatterns as usage_patterns

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
PUBLIC = ("schema/", "docs/")
NOTHING = "no/such/address/"


def addresses() -> list[str]:
    """Every address of the API, with ids that nothing has; and one that is none."""
    converters = {"uuid:key_id": str(UUID(int=7, version=4)), "str:group_id": "no-group", "str:user_id": "nobody"}
    routes = [str(pattern.pattern) for pattern in (*usage_patterns, *urlpatterns)]
    filled = [re.sub(r"<([^>]+)>", lambda match: converters[match[1]], route) for route in routes]
    return [address or NOTHING for address in filled]


PRIVATE = [address for address in addresses() if address not in (*PUBLIC, NOTHING)]


def codes(kind: type[AmplifyError] = AmplifyError) -> dict[str, int]:
    return {kind.code: kind.status} | {
        code: status for below in kind.__subclasses__() for code, status in codes(below).items()
    }


def assert_our_error(reply: Reply, *statuses: int) -> None:
    """The one shape of errors."""
    assert reply.status in statuses, reply.raw
    assert reply.headers["Content-Type"] == "application/json"
    said = reply.json
    assert set(said) - {"message", "fields"} == {"error", "code", "requestId"}
    assert ("message" in said) == (reply.status in (401, 403, 404))
    assert codes()[said["code"]] == reply.status
    assert said["requestId"] == reply.headers["X-Request-ID"]
    assert said["error"].strip() == said["error"] != ""


@pytest.mark.parametrize("address", addresses())
async def test_errors_have_one_shape_everywhere(alice: Visitor, address: str) -> None:
    for method in METHODS:
        if method == "GET" and "no" not in address:
            continue  # there is nothing wrong with that one
        reply = await alice.ask(method, address, {"no such field": 1})
        assert_our_error(reply, 400, 404, 405) if reply.status != 200 else pytest.fail(f"{method} {address}")
        if address == NOTHING:
            assert reply.status == 404
    assert_our_error(await alice.ask("PROPFIND", address), 404, 405)


@pytest.mark.parametrize("address", PRIVATE)
async def test_nobody_gets_in_without_saying_who(service: Service, alice: Visitor, address: str) -> None:
    session = {"Cookie": alice.headers["Cookie"]}
    strangers: list[dict[str, str]] = [
        {},
        {"Authorization": "Basic YWxpY2U6c2VjcmV0"},
        {"Authorization": "Bearer nothing-we-know"},
        {"Cookie": "sessionid=no-such-session", "Origin": service.url},
        # Another site's page sends the cookie along, or an old browser tells nothing of where from.
        session,
        session | {"Origin": "https://evil.example"},
        session | {"Origin": "null"},
        session | {"Sec-Fetch-Site": "cross-site"},
    ]
    for headers in strangers:
        for method in METHODS:
            reply = await Visitor(service, headers).ask(method, address, {})
            assert_our_error(reply, 401, 405)
            assert reply.status == 405 or reply.headers["WWW-Authenticate"] == "Bearer"


async def test_a_key_that_is_none_is_told_so(service: Service) -> None:
    assert_our_error(await with_key(service, "amp-v1-" + "x" * 43).get("me"), 404)


async def test_schema_and_docs_are_for_everybody(service: Service) -> None:
    nobody = Visitor(service)
    assert b"openapi: 3" in (await nobody.get("schema/")).raw
    page = (await nobody.get("docs/")).raw.decode()
    links = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert links and all(link.startswith("/static/") for link in links), links
    for link in links:
        assert (await nobody.get("../" + link.removeprefix("/"))).status == 200, link


@pytest.mark.parametrize("address", ["me", "me/", "keys?limit=1", "keys/?limit=1"])
async def test_the_last_slash_may_be_left_out(alice: Visitor, address: str) -> None:
    assert (await alice.get(address)).status == 200


async def test_a_request_keeps_its_id(alice: Visitor) -> None:
    assert (await alice.get("me", headers={"X-Request-ID": "mine-7"})).headers["X-Request-ID"] == "mine-7"
    made_up = await alice.get("me", headers={"X-Request-ID": "not presentable"})
    assert made_up.headers["X-Request-ID"].startswith("req-")


async def test_pages_of_other_origins_are_answered_as_on_the_hot_routes(service: Service) -> None:
    preflight = await Visitor(service).ask("OPTIONS", "keys/", headers={"Origin": "https://app.example"})
    assert preflight.status == 204 and preflight.headers["Access-Control-Allow-Origin"] == "*"
    assert "PATCH" in preflight.headers["Access-Control-Allow-Methods"]
    assert "If-Match" in preflight.headers["Access-Control-Allow-Headers"]
    refused = await Visitor(service).get("me", headers={"Origin": "https://app.example"})
    assert refused.headers["Access-Control-Allow-Origin"] == "*"
    assert "Access-Control-Allow-Credentials" not in refused.headers


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"",
        b"\xff",
        b"[" * 200_000,
        b'{"name": "\\ud800", "accessTypes": ["chat"]}',
        b'{"name": NaN}',
        b"null",
        b'"text"',
    ],
)
async def test_a_body_that_is_no_json_object(alice: Visitor, body: bytes) -> None:
    reply = await alice.ask("POST", "keys/", data=body, headers={"Content-Type": "application/json"})
    assert_our_error(reply, 400)


async def test_a_body_in_pieces(alice: Visitor) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b'{"name": "in pieces", '
        yield b'"accessTypes": ["chat"]}'

    made = await alice.ask("POST", "keys/", data=pieces(), headers={"Content-Type": "application/json"})
    assert made.status == 201 and made.json["record"]["name"] == "in pieces"


async def test_a_body_of_another_kind(alice: Visitor) -> None:
    for kind in ("application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain"):
        assert_our_error(await alice.ask("POST", "keys/", data=b"name=x", headers={"Content-Type": kind}), 415)


async def test_every_accept_is_answered_with_json(alice: Visitor) -> None:
    for accept in ("text/html", "application/xml", "nonsense"):
        reply = await alice.get("me", headers={"Accept": accept})
        assert reply.status == 200 and reply.headers["Content-Type"] == "application/json"


async def _raw(service: Service, head: str, body: bytes, *, session: str) -> tuple[bytes, bytes]:
    """Status line and body of the answer to a request sent as it is."""
    address = urlsplit(service.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        lines = f"{head}Host: {address.netloc}\r\nOrigin: {service.url}\r\nCookie: {session}\r\n"
        writer.write((lines + "Content-Type: application/json\r\n\r\n").encode() + body)
        async with asyncio.timeout(10):
            answer = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", answer.lower())
            return answer.split(b"\r\n")[0], await reader.readexactly(int(length[1])) if length else b""
    finally:
        writer.close()


@pytest.mark.parametrize("chunked", [False, True])
async def test_more_than_a_megabyte_is_refused(service: Service, alice: Visitor, chunked: bool) -> None:
    much = b" " * (1024 * 1024) + b"{}"
    length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(much)}"
    body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(much), much) if chunked else much
    status, answer = await _raw(
        service, f"POST /api/keys/ HTTP/1.1\r\n{length}\r\n", body, session=alice.headers["Cookie"]
    )
    assert b" 413 " in status and b'"too_large"' in answer


async def test_a_body_that_does_not_come_is_not_waited_for(service: Service, alice: Visitor) -> None:
    head = "POST /api/keys/ HTTP/1.1\r\nContent-Length: 100\r\n"
    status, answer = await _raw(service, head, b'{"name"', session=alice.headers["Cookie"])
    assert b" 408 " in status and b'"request_timeout"' in answer


async def test_addresses_that_are_no_text(service: Service, alice: Visitor) -> None:
    for path in ("groups/%00/", "groups/a%0Ab/", "groups/" + "x" * 300 + "/", "groups/%ff/", "groups/%ed%a0%80/"):
        reply = await alice.get(path)
        assert_our_error(reply, 400, 404)
    head = "GET /api/me/?limit=\u00e4 HTTP/1.1\r\n"
    status, _ = await _raw(service, head, b"", session=alice.headers["Cookie"])
    assert b" 400 " in status


async def test_a_host_that_cannot_be_is_refused_in_the_same_shape(service: Service) -> None:
    address = urlsplit(service.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(b"GET /api/schema/ HTTP/1.1\r\nHost: a_b/c\r\nConnection: close\r\n\r\n")
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    said = json.loads(answer[answer.index(b"{") : answer.rindex(b"}") + 1])
    assert b" 400 " in answer.split(b"\r\n")[0] and said["code"] == "invalid_request"
    assert f"x-request-id: {said['requestId']}".encode() in answer.lower()


async def test_who_runs_wild_is_slowed_down(service: Service) -> None:
    runner = signed_in(service, "runner")["runner"]
    for _ in range(30):  # the pace is 600 a minute; how exactly it is kept is of no matter
        replies = await asyncio.gather(*(runner.get("me") for _ in range(50)))
        if refused := [reply for reply in replies if reply.status != 200]:
            break
    assert_our_error(refused[0], 429)
    assert 1 <= int(refused[0].headers["Retry-After"]) <= 60
