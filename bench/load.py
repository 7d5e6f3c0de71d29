"""The load generator: many streams on one loop, each checked token by token. It wants uvloop and its own core."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlsplit

import orjson

from bench.watch import LoadResult, Spread, Tally, Watch, Window
from bench.wire import AnswerReader

__all__ = [
    "LoadResult",
    "Spread",
    "Target",
    "Window",
    "answers",
    "closed_loop",
    "hold",
    "stream_seconds",
    "streams",
    "times",
]

START_GRACE = 1.0  # seconds that the last stream has for its first token
END_GRACE = 5.0  # seconds that answers have to end by themselves after the last measurement
CONNECT_SECONDS = 10.0
POLL_SECONDS = 0.02

Probe = Callable[[], float]
"""The CPU seconds that the subject has used so far."""

Again = Callable[[], bool]
"""Whether a client asks once more."""


def no_probe() -> float:
    return 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A request to repeat. `tokens` is how many tokens each answer must hold; None when they cannot be counted."""

    host: str
    port: int
    request: bytes
    tokens: int | None = None

    @classmethod
    def post(cls, url: str, body: Mapping[str, Any], *, key: str, tokens: int | None = None) -> "Target":
        """A JSON request with a bearer key, encoded once."""
        address = urlsplit(url)
        payload = orjson.dumps(body)
        head = (
            f"POST {address.path} HTTP/1.1\r\nhost: {address.netloc}\r\nauthorization: Bearer {key}\r\n"
            f"content-type: application/json\r\naccept: text/event-stream\r\ncontent-length: {len(payload)}\r\n\r\n"
        )
        port = address.port or 80
        return cls(host=address.hostname or "", port=port, request=head.encode() + payload, tokens=tokens)


class Client(asyncio.Protocol):
    """One connection: asks, checks the answer, and asks again on the same connection while `again` says so."""

    __slots__ = ("_again", "_reader", "_tally", "_target", "_transport", "closed", "watch")
    _transport: asyncio.Transport

    def __init__(self, target: Target, tally: Tally, again: Again) -> None:
        self._target = target
        self._tally = tally
        self._again = again
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's transports do not inherit from it
        self._ask()

    def _ask(self) -> None:
        self._reader: AnswerReader | None = AnswerReader()
        self.watch = Watch(self._tally)
        self._transport.write(self._target.request)

    def data_received(self, data: bytes) -> None:
        self._tally.bytes_in += len(data)
        if self._reader is None:
            return
        text = self._reader.feed(data)
        if text:
            self.watch.receive(text)
        if self._reader.ended:
            self._end_answer(self._reader, whole=True)

    def _end_answer(self, reader: AnswerReader, *, whole: bool) -> None:
        tally = self._tally
        self._reader = None
        self.watch.finish(self._target.tokens)
        tally.answers += 1
        tally.statuses[reader.status] += 1
        tally.error_events += reader.errors
        tally.failed += not (whole and reader.status == 200)
        if whole and reader.keep_alive and self._again():
            self._ask()
        else:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._reader is not None:
            self._end_answer(self._reader, whole=False)
        if not self.closed.done():
            self.closed.set_result(None)

    def abort(self) -> None:
        self._transport.abort()


class Crowd:
    """The clients of one run."""

    def __init__(self, target: Target, tally: Tally) -> None:
        self._target = target
        self._tally = tally
        self.clients: list[Client] = []

    async def work(self, again: Again, *, after: float = 0.0) -> None:
        """One client's life: connections one after another, while `again` says so."""
        await asyncio.sleep(after)
        while again():
            client = await self._connect(again)
            if client is None:
                return
            await client.closed

    async def _connect(self, again: Again) -> Client | None:
        client = Client(self._target, self._tally, again)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                loop = asyncio.get_running_loop()
                await loop.create_connection(lambda: client, self._target.host, self._target.port)
        except OSError:  # TimeoutError is one
            self._tally.failed += 1
            return None
        self.clients.append(client)
        return client

    def live(self) -> list[Client]:
        return [client for client in self.clients if not client.closed.done()]

    def abort(self) -> None:
        for client in self.live():
            client.abort()


@asynccontextmanager
async def _crowd(target: Target, tally: Tally, rules: Sequence[Again], ramp: float) -> AsyncIterator[Crowd]:
    """Start one worker for each rule, spread over `ramp` seconds; at the end wait for them, then abort."""
    crowd = Crowd(target, tally)
    tasks = [asyncio.create_task(crowd.work(rule, after=ramp * i / len(rules))) for i, rule in enumerate(rules)]
    try:
        yield crowd
        await asyncio.wait(tasks, timeout=ramp + END_GRACE)
    finally:
        crowd.abort()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def times(count: int) -> Again:
    """True `count` times, then False. A client asks it once for its first request and once before each further one."""
    left = iter(range(count))
    return lambda: next(left, None) is not None


async def _measure(tally: Tally, seconds: float, probe: Probe) -> Window:
    loop = asyncio.get_running_loop()
    began, cpu, answered, tokens = loop.time(), probe(), tally.answers, tally.tokens
    await asyncio.sleep(seconds)
    return Window(
        seconds=loop.time() - began,
        cpu_seconds=probe() - cpu,
        answers=tally.answers - answered,
        tokens=tally.tokens - tokens,
    )


async def closed_loop(
    target: Target, *, concurrency: int, warm_up: float, seconds: float, windows: int = 1, probe: Probe = no_probe
) -> LoadResult:
    """Keep `concurrency` clients asking, each anew as soon as it is answered, for `windows` stretches of `seconds`."""
    tally = Tally()
    asking = True
    async with _crowd(target, tally, [lambda: asking] * concurrency, ramp=0.0):
        await asyncio.sleep(warm_up)
        tally.begin_timing()
        measured = [await _measure(tally, seconds, probe) for _ in range(windows)]
        asking = False
    return tally.result(measured)


async def answers(target: Target, count: int) -> LoadResult:
    """Ask `count` times, one after another, on one connection."""
    tally = Tally()
    crowd = Crowd(target, tally)
    again = times(count)
    try:
        await crowd.work(again)
    finally:
        crowd.abort()
    return tally.result()


async def streams(
    target: Target, count: int, *, ramp: float, seconds: float, windows: int = 1, probe: Probe = no_probe
) -> LoadResult:
    """Run `count` streams at once, measured for `windows` stretches of `seconds` after the last one has begun.

    The answers must be long enough for that: see `stream_seconds`. Loss is judged when they have ended by themselves.
    """
    tally = Tally(timing=False)
    async with _crowd(target, tally, [times(1) for _ in range(count)], ramp) as crowd:
        await asyncio.sleep(ramp)
        silent = await _await_starts(crowd, count)
        tally.begin_timing()
        tally.stalls = silent
        measured = [await _measure(tally, seconds, probe) for _ in range(windows)]
        for client in crowd.live():
            client.watch.still_waiting()
        tally.timing = False
    return tally.result(measured)


def stream_seconds(*, ramp: float, seconds: float, windows: int = 1) -> float:
    """How long an answer must be for `streams`, so that the first stream still runs when the last window ends."""
    return ramp + START_GRACE + windows * seconds


async def _await_starts(crowd: Crowd, count: int) -> int:
    """Wait for every stream's first token; returns how many have none when the grace is over."""
    silent = count
    for _ in range(round(START_GRACE / POLL_SECONDS)):
        silent = count - sum(client.watch.started for client in crowd.clients)
        if not silent:
            break
        await asyncio.sleep(POLL_SECONDS)
    return silent


@asynccontextmanager
async def hold(target: Target, count: int, *, ramp: float, settle: float) -> AsyncIterator[Callable[[], int]]:
    """Hold `count` open requests that are not answered yet; yields a function that counts those still open."""
    crowd = Crowd(target, Tally(timing=False))
    tasks = [asyncio.create_task(crowd.work(times(1), after=ramp * i / count)) for i in range(count)]
    try:
        await asyncio.sleep(ramp + settle)
        yield lambda: len(crowd.live())
    finally:
        crowd.abort()
        await asyncio.gather(*tasks, return_exceptions=True)
