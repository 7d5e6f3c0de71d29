"""HTTP around the chat: bodies of every size and pace, keys, origins, health, addresses that are nothing."""

import asyncio
import json
import re
from urllib.parse import urlsplit

import pytest

from tests.e2e.conftest import SHORT
from tests.harness import Service, manage, question


async def _raw(service: Service, *pieces: bytes, then_close: bool = False) -> bytes:
    """What comes back for bytes sent as they are."""
    address = urlsplit(service.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        if then_close:
            return b""
        async with asyncio.timeout(10):
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head.lower())
            return head + await reader.readexactly(int(length.group(1)) if length else 0)
    finally:
        writer.close()


def _head(service: Service, **headers: str) -> bytes:
    lines = {
        "Host": "x",
        "Authorization": f"Bearer {service.key}",
        **{k.replace("_", "-"): v for k, v in headers.items()},
    }
    return ("POST /chat HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in lines.items()) + "\r\n").encode()


async def test_a_60_mb_body_is_refused_and_not_kept(service: Service) -> None:
    before = json.loads((await service.ask(path="/health", method="GET")).raw)["memory"]["peak"]
    answer = await _raw(service, _head(service, Content_Length=str(60 * 2**20)), b"x" * 65536)
    assert b" 413 " in answer.split(b"\r\n")[0]
    said = json.loads(answer.rpartition(b"\r\n\r\n")[2])
    assert said["code"] == "too_large" and said["requestId"].startswith("req-")
    # A page must be able to read it: without these headers its browser shows a network error.
    assert b"access-control-allow-origin: *" in answer.lower() and b"x-request-id: req-" in answer.lower()
    after = json.loads((await service.ask(path="/health", method="GET")).raw)["memory"]["peak"]
    assert after - before < 30 * 2**20


async def test_a_60_mb_body_without_a_length_is_refused(service: Service) -> None:
    chunk = b"100000\r\n" + b"x" * 2**20 + b"\r\n"
    address = urlsplit(service.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(_head(service, Transfer_Encoding="chunked"))
    answered = asyncio.create_task(reader.read(65536))
    for _ in range(60):
        if answered.done():
            break
        writer.write(chunk)
        await writer.drain()
    async with asyncio.timeout(10):
        assert b" 413 " in (await answered).split(b"\r\n")[0]
    writer.close()


async def test_a_large_body_within_the_limit_is_taken(service: Service) -> None:
    answer = await service.chat(SHORT, "word " * 1_000_000)
    assert answer.text == "w0 w1 w2 "


async def test_a_slow_body_is_timed_out(service: Service) -> None:
    answer = await _raw(service, _head(service, Content_Length="100"), b'{"messages"')
    assert b" 408 " in answer.split(b"\r\n")[0]
    assert json.loads(answer.rpartition(b"\r\n\r\n")[2])["code"] == "request_timeout"


async def test_half_a_body_hurts_nobody(service: Service) -> None:
    await _raw(service, _head(service, Content_Length="100"), b'{"messages"', then_close=True)
    assert (await service.chat(SHORT)).text == "w0 w1 w2 "


@pytest.mark.parametrize(
    ("authorization", "status", "says"),
    [
        (None, 401, "Unauthorized"),
        ("Basic abc", 401, "Bearer token not found"),
        ("Bearer ", 401, "Bearer token not found"),
        ("Bearer eyJhbGciOiJub25lIn0.e30.", 401, "Invalid token"),
        ("Bearer amp-v1-wrong", 404, "API key not found."),
        (f"Bearer amp-v1-{'x' * 43}", 404, "API key not found."),
    ],
)
async def test_bad_credentials(service: Service, authorization: str | None, status: int, says: str) -> None:
    headers = {"Authorization": authorization} if authorization else {"Authorization": ""}
    answer = await service.ask(question(SHORT), headers=headers)
    assert answer.status == status
    assert says in answer.json["error"] == answer.json["message"]


async def test_an_expired_key(service: Service) -> None:
    key = service.create_key("alice", "--expires", "2020-01-01")
    answer = await service.chat(SHORT, key=key)
    assert (answer.status, answer.json["error"].split(".")[0]) == (403, "API key has expired")


async def test_a_revoked_key_is_refused_within_a_second(service: Service) -> None:
    key = service.create_key("bob", "--name", "to-revoke")
    assert (await service.chat(SHORT, key=key)).status == 200
    service.sql("UPDATE accounts_apikey SET active = 0 WHERE name = 'to-revoke'")
    await asyncio.sleep(1.1)  # the promised time, in which a key is remembered
    answer = await service.chat(SHORT, key=key)
    assert (answer.status, answer.json["error"].split(".")[0]) == (403, "API key is inactive")


async def test_a_key_without_chat_is_refused(service: Service) -> None:
    key = service.create_key("bob", "--name", "uploads")
    service.sql("""UPDATE accounts_apikey SET access_types = '["file_upload"]' WHERE name = 'uploads'""")
    assert (await service.chat(SHORT, key=key)).status == 403


def test_the_command_prints_the_key_and_nothing_else(service: Service) -> None:
    printed = manage(service.env, "create_api_key", "--user", "carol", "--name", "n", "--account", "a")
    assert printed.count("\n") == 1 and printed.startswith("amp-v1-") and len(printed.strip()) == 50
    stored = service.sql("SELECT key_hash FROM accounts_apikey")
    assert all(len(row["key_hash"]) == 128 and printed.strip() not in row["key_hash"] for row in stored)


async def test_preflight(service: Service) -> None:
    answer = await service.ask(method="OPTIONS", headers={"Origin": "https://chat.example.edu", "Authorization": ""})
    assert answer.status == 204
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.headers["Access-Control-Allow-Methods"] == "GET,POST,OPTIONS"
    assert "X-Request-ID" in answer.headers["Access-Control-Allow-Headers"]


@pytest.mark.parametrize(
    ("path", "status"), [("/health", "healthy"), ("/ready", "ready"), ("/readyz", "ready"), ("/livez", "live")]
)
async def test_health(service: Service, path: str, status: str) -> None:
    answer = await service.ask(path=path, method="GET")
    assert (answer.status, answer.json["status"]) == (200, status)


async def test_other_methods_and_addresses(service: Service) -> None:
    assert (await service.ask(method="GET", path="/chat")).status == 405
    nothing = await service.ask(method="GET", path="/nothing/here")
    assert (nothing.status, nothing.json["path"]) == (404, "/nothing/here")


async def test_headers_without_end_are_refused(service: Service) -> None:
    flood = b"POST /chat HTTP/1.1\r\nHost: x\r\n" + b"X-A: b\r\n" * 200_000
    try:
        answer = await _raw(service, flood, b"\r\n")
    except (ConnectionError, asyncio.IncompleteReadError):
        answer = b""
    assert b" 200 " not in answer[:64]
    assert (await service.chat(SHORT)).text == "w0 w1 w2 "
