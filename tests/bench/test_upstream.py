"""The mock upstream, through its door: what other tests rely on when they ask for a fault by name."""

import asyncio
import http.client
import signal
import socket
import time
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import orjson
import pytest

from bench.upstream.plan import SPECIAL_FAULTS, Fault, PlanError, parse_plan
from bench.upstream.testing import Upstream, start_upstream, stop

SECRET = "sk-canary-0123456789abcdef"


def _body(model: str, **more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": "say it again"}]
    return {"model": model, "stream": True, "messages": messages, "stream_options": {"include_usage": True}} | more


async def _post(upstream: Upstream, body: dict[str, Any], key: str) -> tuple[int, dict[str, str], list[bytes]]:
    """Status, lower-case headers, and the chunks as the server cut them."""
    async with aiohttp.ClientSession() as session:
        headers = {"Authorization": f"Bearer {key}"}
        async with session.post(f"{upstream.url}/chat/completions", json=body, headers=headers) as answer:
            chunks: list[bytes] = []
            rest = b""
            async for data, ends_chunk in answer.content.iter_chunks():
                rest += data
                # The last chunk, of length zero, is told only where it comes by itself.
                if ends_chunk and rest:
                    chunks, rest = [*chunks, rest], b""
            found = {name.lower(): value for name, value in answer.headers.items()}
            return answer.status, found, [*chunks, rest] if rest else chunks


def ask(upstream: Upstream, model: str, *, key: str = SECRET, **more: Any) -> tuple[int, dict[str, str], list[bytes]]:
    return asyncio.run(_post(upstream, _body(model, **more), key))


def events(chunks: list[bytes]) -> list[Any]:
    """The JSON events of a stream; the end mark stays a string."""
    lines = [line.removeprefix(b"data: ") for line in b"".join(chunks).split(b"\n\n") if line]
    return [line.decode() if line == b"[DONE]" else orjson.loads(line) for line in lines]


def text(found: list[Any]) -> str:
    choices = [event["choices"][0] for event in found if event != "[DONE]" and event["choices"]]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


def finish(found: list[Any]) -> list[str]:
    choices = [event["choices"][0] for event in found if event != "[DONE]" and event.get("choices")]
    return [choice["finish_reason"] for choice in choices if choice["finish_reason"]]


def usages(found: list[Any]) -> list[dict[str, Any]]:
    return [event["usage"] for event in found if event != "[DONE]" and event.get("usage")]


def test_a_stream_has_its_tokens_its_finish_its_usage_and_its_end(upstream: Upstream) -> None:
    status, headers, chunks = ask(upstream, "mock+tokens=5+text=plain")
    found = events(chunks)
    assert (status, headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert text(found) == "w0 w1 w2 w3 w4 "
    assert finish(found) == ["stop"]
    assert found[-1] == "[DONE]"
    assert len(chunks) == len(found)


def test_stamps_are_the_clock_of_this_machine(upstream: Upstream) -> None:
    before = time.monotonic_ns() // 1000
    _, _, chunks = ask(upstream, "mock+tokens=3")
    words = [word.split(":") for word in text(events(chunks)).split()]
    assert [int(number) for number, _ in words] == [0, 1, 2]
    assert all(before <= int(stamp) <= time.monotonic_ns() // 1000 for _, stamp in words)


def test_tokens_leave_at_their_deadlines_without_drift(upstream: Upstream) -> None:
    _, _, chunks = ask(upstream, "mock+tokens=40+ttft=50+gap=10")
    stamps = [int(word.split(":")[1]) for word in text(events(chunks)).split()]
    started = upstream.calls()[0]["started"] * 1e6
    late = [stamp - (started + 50_000 + n * 10_000) for n, stamp in enumerate(stamps)]
    assert min(late) > -2_000  # the loop's timers count whole milliseconds
    assert min(late[20:]) < 10_000  # a drift of half a millisecond a frame would have added up to more


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("in=1000+out=7+cached=900+reasoning=3", (1000, 7, 900, 3)),
        ("tokens=4", (10, 4, 0, 0)),
    ],
)
def test_usage_is_pinned_by_the_request(upstream: Upstream, settings: str, expected: tuple[int, ...]) -> None:
    _, _, chunks = ask(upstream, f"mock+{settings}")
    _, _, whole = ask(upstream, f"mock+{settings}", stream=False)
    for usage in (*usages(events(chunks)), orjson.loads(whole[0])["usage"]):
        details = (
            usage["prompt_tokens_details"]["cached_tokens"],
            usage["completion_tokens_details"]["reasoning_tokens"],
        )
        assert (usage["prompt_tokens"], usage["completion_tokens"], *details) == expected
        assert usage["total_tokens"] == expected[0] + expected[1]


@pytest.mark.parametrize(("style", "count"), [("end", 1), ("never", 0), ("twice", 2), ("late+late=30", 1)])
def test_usage_styles(upstream: Upstream, style: str, count: int) -> None:
    _, _, chunks = ask(upstream, f"mock+usage={style}")
    assert len(usages(events(chunks))) == count


def test_usage_only_for_those_who_ask(upstream: Upstream) -> None:
    _, _, chunks = ask(upstream, "mock", stream_options=None)
    assert usages(events(chunks)) == []


def test_the_key_gives_defaults_and_the_model_overrides_them(upstream: Upstream) -> None:
    _, _, chunks = ask(upstream, "mock+tokens=2", key="mock+tokens=9+text=plain")
    assert text(events(chunks)) == "w0 w1 "


def test_an_unknown_setting_is_refused(upstream: Upstream) -> None:
    status, _, chunks = ask(upstream, "mock+tokens=2+fualt=cut")
    assert status == 404
    assert b"fualt" in chunks[0]
    with pytest.raises(PlanError, match="at most 25000"):
        parse_plan("mock+tokens=25001")
    with pytest.raises(PlanError, match="includes both"):
        parse_plan("mock+in=10+cached=6+cache_write=5")
    with pytest.raises(PlanError, match="includes it"):
        parse_plan("mock+out=5+reasoning=6")


@pytest.mark.parametrize("status", [400, 401, 404, 413, 429, 500, 503, 529])
def test_refusals(upstream: Upstream, status: int) -> None:
    found, headers, chunks = ask(upstream, f"mock+fault={status}+retry_after=7")
    assert found == status
    assert headers.get("retry-after") == ("7" if status in (429, 503) else None)
    assert (SECRET in b"".join(chunks).decode()) == (status == 401)
    assert upstream.calls()[0]["outcome"] == "fault"


def test_a_share_of_calls_is_struck_evenly_and_repeatably(upstream: Upstream) -> None:
    for _ in range(2):
        upstream.clear()
        statuses = [ask(upstream, "mock+fault=500+share=0.25")[0] for _ in range(8)]
        assert statuses == [200, 200, 200, 500, 200, 200, 200, 500]


def test_first_strikes_only_the_first_calls(upstream: Upstream) -> None:
    assert [ask(upstream, "mock+fault=503+first=2")[0] for _ in range(4)] == [503, 503, 200, 200]


@pytest.mark.parametrize("fault", ["mute", "silent", "half-silent+at=3"])
def test_silence_lasts_until_the_caller_leaves(upstream: Upstream, fault: str) -> None:
    with _connected(upstream, f"mock+fault={fault}") as sock:
        wanted = 3 if "at" in fault else 0
        upstream.wait_for_calls(lambda calls: len(calls) == 1 and calls[0]["frames_sent"] == wanted)
        sock.settimeout(0.2)
        received = _read_until_quiet(sock)
    assert (received == b"") == (fault == "mute")
    assert received.count(b'"content":"') == (4 if "at" in fault else 0)  # the opening's is empty
    call = upstream.wait_until_ended()[0]
    assert (call["outcome"], call["hung_up_at_frame"]) == ("hung_up", wanted)


def _connected(upstream: Upstream, model: str) -> socket.socket:
    """A bare connection that has sent a request."""
    address = urlsplit(upstream.url)
    sock = socket.create_connection((address.hostname or "", address.port or 0), timeout=5)
    body = orjson.dumps(_body(model))
    sock.sendall(b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
    return sock


def _read_until_quiet(sock: socket.socket) -> bytes:
    received = b""
    try:
        while data := sock.recv(65_536):
            received += data
    except TimeoutError:
        pass
    return received


def test_a_hang_up_is_recorded_with_its_frame_and_time(upstream: Upstream) -> None:
    with _connected(upstream, "mock+tokens=1000+gap=5"):
        upstream.wait_for_calls(lambda calls: bool(calls) and calls[0]["frames_sent"] >= 3)
        assert upstream.stats()["live"] == 1
        left = time.monotonic()
    call = upstream.wait_until_ended()[0]
    assert call["outcome"] == "hung_up"
    assert 3 <= call["hung_up_at_frame"] < 1000
    assert left <= call["hung_up_at"] <= time.monotonic()


def test_cut_resets_in_the_middle_of_a_frame(upstream: Upstream) -> None:
    received = b""
    with _connected(upstream, "mock+fault=cut+at=2+gap=5") as sock, pytest.raises(ConnectionResetError):
        while data := sock.recv(65_536):
            received += data
    assert received.count(b"\n\n") == 3  # the opening and two tokens
    assert not received.endswith(b"\n\n\r\n")
    assert b"[DONE]" not in received
    assert upstream.wait_until_ended()[0]["outcome"] == "fault"


def test_close_ends_the_body_cleanly_but_not_the_stream(upstream: Upstream) -> None:
    status, headers, chunks = ask(upstream, "mock+fault=close+at=2+text=plain")
    found = events(chunks)
    assert (status, headers["connection"]) == (200, "close")
    assert (text(found), finish(found), found[-1] == "[DONE]") == ("w0 w1 ", [], False)


def test_no_done_leaves_only_the_mark_out(upstream: Upstream) -> None:
    found = events(ask(upstream, "mock+fault=no-done")[2])
    assert finish(found) == ["stop"]
    assert "[DONE]" not in found


def test_garbage_is_one_line_that_is_not_json(upstream: Upstream) -> None:
    chunks = ask(upstream, "mock+fault=garbage+tokens=4+text=plain+at=2")[2]
    with pytest.raises(orjson.JSONDecodeError):
        events([chunks[3]])
    assert text(events(chunks[:3] + chunks[4:])) == "w0 w1 w2 w3 "


def test_error_event_comes_after_good_frames(upstream: Upstream) -> None:
    found = events(ask(upstream, "mock+fault=error-event+at=2+text=plain")[2])
    assert text(found[:-1]) == "w0 w1 "
    assert found[-1]["error"]["type"] == "server_error"


def test_html_instead_of_an_answer(upstream: Upstream) -> None:
    status, headers, chunks = ask(upstream, "mock+fault=html")
    assert (status, headers["content-type"]) == (200, "text/html")
    assert b"<html>" in chunks[0]


def test_characters_are_split_across_writes(upstream: Upstream) -> None:
    chunks = ask(upstream, "mock+fault=utf8+tokens=4")[2]
    split = [chunk for chunk in chunks if not _is_utf8(chunk)]
    assert len(split) >= 4
    whole = text(events(ask(upstream, "mock+text=emoji+tokens=4")[2]))
    assert text(events(chunks)) == whole


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def test_two_events_in_a_segment_and_one_event_in_ten(upstream: Upstream) -> None:
    pairs = ask(upstream, "mock+fault=two-in-one+tokens=5+text=plain")[2]
    pieces = ask(upstream, "mock+fault=split+tokens=5+text=plain")[2]
    assert [chunk.count(b"\n\n") for chunk in pairs[1:4]] == [2, 2, 1]
    assert len(pieces) >= 5 * 10
    assert text(events(pairs)) == text(events(pieces)) == "w0 w1 w2 w3 w4 "


def test_huge_line(upstream: Upstream) -> None:
    found = events(ask(upstream, "mock+fault=huge-line+size=500000+tokens=2")[2])
    assert max(len(text([event])) for event in found if event != "[DONE]") == 500_000
    assert found[-1] == "[DONE]"


def test_slow_headers(upstream: Upstream) -> None:
    began = time.monotonic()
    ask(upstream, "mock+fault=slow-headers+headers=100")
    assert time.monotonic() - began >= 0.095


@pytest.mark.parametrize(
    ("fault", "reason"), [("empty", "stop"), ("length", "length"), ("content-filter", "content_filter")]
)
@pytest.mark.parametrize("stream", [True, False])
def test_odd_ends(upstream: Upstream, fault: str, reason: str, stream: bool) -> None:
    chunks = ask(upstream, f"mock+fault={fault}", stream=stream)[2]
    if stream:
        assert finish(events(chunks)) == [reason]
        assert bool(text(events(chunks))) == (fault != "empty")
    else:
        assert orjson.loads(chunks[0])["choices"][0]["finish_reason"] == reason
    assert upstream.calls()[0]["outcome"] == "complete"


def test_a_tool_call_comes_in_fragments_and_ends_with_its_result(upstream: Upstream) -> None:
    tools = [{"type": "function", "function": {"name": "weather"}}]
    found = events(ask(upstream, "mock+fault=tools", tools=tools)[2])
    deltas = [event["choices"][0]["delta"] for event in found if event != "[DONE]" and event["choices"]]
    functions = [delta["tool_calls"][0]["function"] for delta in deltas if "tool_calls" in delta]
    assert functions[0]["name"] == "weather"
    assert orjson.loads("".join(function["arguments"] for function in functions)) == {"query": "mock"}
    assert finish(found) == ["tool_calls"]
    result = [{"role": "user", "content": "hi"}, {"role": "tool", "content": "42"}]
    assert finish(events(ask(upstream, "mock+fault=tools", tools=tools, messages=result)[2])) == ["stop"]


def test_echo_repeats_the_prompt(upstream: Upstream) -> None:
    assert text(events(ask(upstream, "mock+text=echo")[2])) == "say it again "


@pytest.mark.parametrize("fault", [fault for fault in Fault if fault.harmless and fault not in SPECIAL_FAULTS])
def test_a_harmless_fault_is_a_whole_answer(upstream: Upstream, fault: Fault) -> None:
    found = events(ask(upstream, f"mock+fault={fault}+headers=1")[2])
    assert len(finish(found)) == 1
    assert found[-1] == "[DONE]"
    assert upstream.wait_until_ended()[0]["outcome"] == "complete"


def test_the_book_shows_the_body_but_not_the_key(upstream: Upstream) -> None:
    ask(upstream, "mock+tokens=3")
    ask(upstream, "mock", padding="x" * 65_536)
    small, large = upstream.calls()
    assert (small["outcome"], small["frames_sent"], small["body"]["model"]) == ("complete", 3, "mock+tokens=3")
    assert large["body"] is None
    assert small["key_tail"] == SECRET[-4:]
    assert SECRET not in str(small)


def test_bodies_in_chunks_and_requests_in_one_segment(upstream: Upstream) -> None:
    body = orjson.dumps(_body("mock+tokens=1+text=plain", stream=False))
    chunked = b"%x\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (10, body[:10], len(body) - 10, body[10:])
    request = b"POST /v1/chat/completions HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n" + chunked
    address = urlsplit(upstream.url)
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=5) as sock:
        sock.sendall(request * 3)
        received = b""
        while received.count(b'"w0 "') < 3:
            data = sock.recv(65_536)
            assert data, received
            received += data


def test_models_are_listed(upstream: Upstream) -> None:
    address = urlsplit(upstream.url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port)
    connection.request("GET", "/v1/models")
    listed = orjson.loads(connection.getresponse().read())
    connection.close()
    assert [model["id"] for model in listed["data"]] == ["mock", "other"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_at_a_signal_with_streams_open(number: signal.Signals) -> None:
    process, url = start_upstream()
    try:
        with _connected(Upstream(url, process.pid), "mock+fault=silent"):
            process.send_signal(number)
            assert process.wait(5) == 0
    finally:
        stop(process)
