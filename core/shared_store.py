"""The Valkey or Redis that processes share: the few commands that are used, each with a bound, and one error."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.commands.core import AsyncScript
from redis.exceptions import RedisError

from core.errors import Unavailable

# Seconds for an ordinary command; beside it, a command that waits may take as long as it is told to.
ANSWER_SECONDS = 2.0
# Connections. Ordinary commands take turns on a few; one that waits, for each reader of a run, is busy for that long.
MAX_QUICK = 64
MAX_WAITING = 10_000
# What is read of a stream at once: bounds the memory of a reader that is far behind.
MAX_ENTRIES = 256
_WRITTEN_ALREADY = "equal or smaller"

Fields = Mapping[bytes, bytes]
Entry = tuple[str, Fields]
"""An entry of a stream: its id, `<number>-<number>`, and its fields."""


class StoreAway(Unavailable):
    """The store does not answer, or refuses to write: nobody knows what other processes do."""

    default = "This server cannot reach the others at the moment. Please try again in a few seconds."


@dataclass(frozen=True, slots=True)
class Addition:
    """An entry for the end of a stream. `begins`: there may be no stream yet; `expires`: it goes in so many seconds."""

    stream: str
    entry_id: str
    fields: Mapping[Any, Any]
    begins: bool
    expires: int | None


Written = Literal["written", "refused", "gone"]
"""`gone`: the entry is none that begins a stream, and there is no stream."""


class SharedStore:
    """Opens connections at first use. Errors of the network and of the store are StoreAway."""

    def __init__(self, url: str) -> None:
        """`url`: `redis://[user:password@]host:port/db`, `rediss://` with TLS. Raises ValueError."""
        self._quick = _client(url, connections=MAX_QUICK, within=ANSWER_SECONDS)
        # The client has a pool that lets callers wait, for a time that many of them at once use up.
        self._turn = asyncio.Semaphore(MAX_QUICK)
        self._waiting = _client(url, connections=MAX_WAITING, within=None)
        self._scripts: dict[str, AsyncScript] = {}

    @asynccontextmanager
    async def _quickly(self) -> AsyncIterator[None]:
        async with self._turn:
            with _reaching():
                yield

    async def now(self) -> float:
        """The store's clock, which entry ids are made from: seconds since 1970."""
        async with self._quickly():
            answer: Any = await self._quick.time()
        seconds, micros = answer
        return int(seconds) + int(micros) / 1e6

    async def add(self, stream: str, fields: Mapping[Any, Any], *, longest: int) -> None:
        """An entry with the next id; of more than about `longest` the oldest go."""
        async with self._quickly():
            await self._quick.xadd(stream, dict(fields), maxlen=longest, approximate=True)

    async def add_all(self, additions: Sequence[Addition]) -> list[Written]:
        """Write in one round trip. What an earlier attempt has written counts as written."""
        async with self._quickly(), self._quick.pipeline(transaction=False) as pipeline:
            for addition in additions:
                pipeline.xadd(
                    addition.stream,
                    dict(addition.fields),
                    id=addition.entry_id,
                    nomkstream=not addition.begins,
                )
                if addition.expires is not None:
                    pipeline.expire(addition.stream, addition.expires)
            answers = iter(await pipeline.execute(raise_on_error=False))
        return [_written(next(answers), addition.expires is None or next(answers)) for addition in additions]

    async def first(self, stream: str) -> Entry | None:
        async with self._quickly():
            return next(_entries(await self._quick.xrange(stream, count=1)), None)

    async def last(self, stream: str) -> Entry | None:
        async with self._quickly():
            return next(_entries(await self._quick.xrevrange(stream, count=1)), None)

    async def read(self, stream: str, after: str, *, within: float) -> list[Entry]:
        """The next entries after that id, waiting up to so many seconds for the first."""
        with _reaching():
            async with asyncio.timeout(within + ANSWER_SECONDS):
                found: Any = await self._waiting.xread(
                    {stream: after}, count=MAX_ENTRIES, block=max(1, int(within * 1000))
                )
        return [entry for _, entries in found for entry in _entries(entries)]

    async def set(self, name: str, value: str, *, expires: int) -> None:
        async with self._quickly():
            await self._quick.set(name, value, ex=expires)

    async def exist(self, *names: str) -> bool:
        """Whether all of them do."""
        async with self._quickly():
            return int(await self._quick.exists(*names)) == len(names)

    async def run(self, script: str, keys: Sequence[str], arguments: Sequence[str | float], *, within: float) -> Any:
        """What a script in Lua returns, which nothing else comes between; it is waited for so many seconds."""
        if script not in self._scripts:
            self._scripts[script] = self._quick.register_script(script)
        with _reaching():
            async with asyncio.timeout(within), self._turn:
                return await self._scripts[script](keys=keys, args=arguments)

    async def aclose(self) -> None:
        await self._quick.aclose()
        await self._waiting.aclose()


def _client(url: str, *, connections: int, within: float | None) -> Redis:
    """`within`: seconds for each answer; None where the caller bounds it."""
    return Redis.from_pool(
        ConnectionPool.from_url(
            url,
            max_connections=connections,
            protocol=2,
            retry=Retry(NoBackoff(), 0),  # who calls knows better when to try again
            socket_timeout=within,
            socket_connect_timeout=ANSWER_SECONDS,
            socket_keepalive=True,
        )
    )


@contextmanager
def _reaching() -> Iterator[None]:
    try:
        yield
    except (RedisError, OSError, TimeoutError) as error:
        _heed_cancellation()
        raise StoreAway from error
    _heed_cancellation()


def _heed_cancellation() -> None:
    """The client sends by `asyncio.wait_for`, which in Python 3.11 may swallow that its task was cancelled."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _entries(found: Any) -> Iterator[Entry]:
    for entry_id, fields in found:
        yield entry_id.decode(), fields


def _written(added: Any, expires: Any) -> Written:
    if added is None:
        return "gone"
    # Its id is not larger than the largest any more.
    there = not isinstance(added, Exception) or _WRITTEN_ALREADY in str(added)
    return "written" if there and not isinstance(expires, Exception) else "refused"
