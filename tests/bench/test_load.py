"""The load generator notices what goes wrong: a small server misbehaves, and the result says so."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from bench import load
from bench.upstream.testing import running_upstream
from bench.watch import Spread, now_us
from bench.wire import AnswerReader

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"

Write = Callable[[bytes], Awaitable[None]]


def ours(n: int, *, late_us: int = 0) -> bytes:
    """Token `n` as the chat service sends it, stamped now or earlier."""
    return b'data: {"d":"%d:%d ","s":0}\n\n' % (n, now_us() - late_us)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@dataclass(frozen=True, slots=True)
class Pause:
    seconds: float


Piece = bytes | Pause


@asynccontextmanager
async def _server(script: Callable[[], Sequence[Piece]], port_file: list[int]) -> AsyncIterator[None]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for piece in script():
            if isinstance(piece, Pause):
                await asyncio.sleep(piece.seconds)
            else:
                writer.write(piece)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port_file.append(server.sockets[0].getsockname()[1])
    async with server:
        yield


def judge(script: Callable[[], Sequence[Piece]], tokens: int) -> load.LoadResult:
    """What the load generator says of one answer."""

    async def run() -> load.LoadResult:
        port: list[int] = []
        async with _server(script, port):
            target = load.Target.post(f"http://127.0.0.1:{port[0]}/chat", {}, key="k", tokens=tokens)
            return await load.answers(target, 1)

    return asyncio.run(run())


def test_a_good_answer_is_intact() -> None:
    result = judge(lambda: [HEAD, *(chunk(ours(n)) for n in range(5)), END], 5)
    assert result.smooth
    assert (result.answers, result.statuses, result.lateness.count) == (1, {200: 1}, 5)


def test_several_tokens_in_one_event_and_in_one_read() -> None:
    joined = b'data: {"d":"0:1 1:1 2:1 ","s":0}\n\ndata: {"d":"3:","s":0}\n\n'
    result = judge(lambda: [HEAD + chunk(joined) + chunk(b'data: {"d":"1 ","s":0}\n\n') + END], 4)
    assert (result.intact, result.lateness.count) == (True, 4)


@pytest.mark.parametrize(
    ("numbers", "lost", "duplicated", "reordered"),
    [
        ([0, 1, 3, 4], 1, 0, 0),
        ([0, 1, 2, 3], 1, 0, 0),
        ([], 5, 0, 0),
        ([0, 1, 1, 2, 3, 4], 0, 1, 0),
        ([0, 2, 1, 3, 4], 0, 0, 1),
        ([0, 1, 2, 3, 4, 0], 0, 1, 0),
    ],
)
def test_losses_doubles_and_disorder(numbers: list[int], lost: int, duplicated: int, reordered: int) -> None:
    result = judge(lambda: [HEAD, *(chunk(ours(n)) for n in numbers), END], 5)
    assert (result.lost, result.duplicated, result.reordered) == (lost, duplicated, reordered)
    assert not result.intact


def test_a_stall_is_a_gap_above_200_ms() -> None:
    def stalled() -> list[Piece]:
        stamps = [ours(0), ours(1), ours(2)]  # the source had no gap: the stall is the subject's
        return [HEAD, chunk(stamps[0]), Pause(0.25), chunk(stamps[1]), Pause(0.05), chunk(stamps[2]), END]

    result = judge(stalled, 3)
    assert (result.stalls, result.source_stalls, result.intact, result.smooth) == (1, 0, True, False)
    assert 250 <= result.worst_gap < 1000


def test_a_stall_of_the_source_is_told_apart() -> None:
    result = judge(lambda: [HEAD, chunk(ours(0, late_us=300_000)), Pause(0.25), chunk(ours(1)), END], 2)
    assert (result.stalls, result.source_stalls) == (1, 1)


def test_lateness_is_receipt_less_stamp() -> None:
    result = judge(lambda: [HEAD, chunk(ours(0, late_us=40_000)), END], 1)
    assert 40 <= result.lateness.p50 < 1000


@pytest.mark.parametrize(
    "pieces",
    [
        [HEAD, b"20\r\ndata: cut"],
        [HEAD, chunk(b'data: {"d":"0:1 ","s":0}\n\n')],
        [b"HTTP/1.1 503 Busy\r\ncontent-length: 2\r\n\r\n{}"],
        [],
    ],
)
def test_an_answer_without_a_proper_end_has_failed(pieces: list[Piece]) -> None:
    result = judge(lambda: pieces, 1)
    assert (result.answers, result.failed) == (1, 1)


@pytest.mark.parametrize("line", [b'data: {"error":"no"}\n\n', b"data: {oops\n\n"])
def test_error_events_are_counted(line: bytes) -> None:
    result = judge(lambda: [HEAD, chunk(ours(0)), chunk(line), END], 1)
    assert (result.error_events, result.intact) == (1, False)


def test_text_that_is_no_token_is_counted() -> None:
    assert judge(lambda: [HEAD, chunk(b'data: {"d":"hello ","s":0}\n\n'), END], 0).unreadable == 1


def test_a_stream_that_never_starts_or_falls_silent_stalls() -> None:
    async def run(*pieces: Piece) -> load.LoadResult:
        port: list[int] = []
        pause = Pause(1.6)  # longer than the grace for a start and the window
        async with _server(lambda: [*pieces, pause], port):
            target = load.Target.post(f"http://127.0.0.1:{port[0]}/chat", {}, key="k")
            return await load.streams(target, 2, ramp=0.0, seconds=0.3)

    assert asyncio.run(run(HEAD)).stalls == 2
    assert asyncio.run(run(HEAD, chunk(ours(0)))).stalls == 2


EVENTS = (
    b'data: {"s":"meta","st":{"message":"a \\"content\\":\\"b\\""}}\n\n: ping\n\n'
    b'data: {"d":"one ","s":0}\n\n'
    b'data: {"s":"answer","d":"two "}\n\n'
    b'data: {"d":"quo\\"ted ","s":0}\n\n'
    b'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}\n\n'
    b'data: {"choices":[{"delta":{"content":"three \xf0\x9f\x98\x80 "}}]}\n\n'
    b'data: {"choices":[],"usage":{}}\n\n'
    b"data: [DONE]\n\n"
)
WHOLE = HEAD + b"".join(chunk(EVENTS[start : start + 37]) for start in range(0, len(EVENTS), 37)) + END


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, len(WHOLE)])
def test_the_reader_takes_any_cut_and_both_dialects(size: int) -> None:
    reader = AnswerReader()
    text = b"".join(reader.feed(WHOLE[start : start + size]) for start in range(0, len(WHOLE), size))
    assert text.decode() == 'one two quo"ted three \N{GRINNING FACE} '
    assert (reader.status, reader.ended, reader.errors) == (200, True, 0)


def test_percentiles() -> None:
    assert Spread.of([1000 * n for n in range(101)]) == Spread(101, 50, 99, 100)
    assert Spread.of([]) == Spread()


def test_loops_and_streams_against_the_mock() -> None:
    async def run(url: str) -> tuple[load.LoadResult, load.LoadResult, int]:
        def target(model: str, tokens: int) -> load.Target:
            body = {"model": model, "stream": True, "messages": []}
            return load.Target.post(f"{url}/chat/completions", body, key="mock", tokens=tokens)

        loop = await load.closed_loop(target("mock", 8), concurrency=4, warm_up=0.1, seconds=0.2, windows=2)
        many = await load.streams(target("mock+tokens=80+gap=20", 80), 10, ramp=0.1, seconds=0.4)
        async with load.hold(target("mock+fault=silent", 0), 20, ramp=0.1, settle=0.1) as alive:
            held = alive()
        return loop, many, held

    with running_upstream() as upstream:
        loop, many, held = asyncio.run(run(upstream.url))
        calls = upstream.wait_for_calls(lambda calls: all(call["outcome"] for call in calls))
    assert loop.intact
    assert [window.answers > 0 for window in loop.windows] == [True, True]
    assert many.intact
    assert many.answers == 10
    assert 10 * 50 * 0.4 * 0.7 < many.windows[0].tokens < 10 * 50 * 0.4 * 1.3
    assert held == 20
    assert sum(call["outcome"] == "hung_up" for call in calls) == 20
