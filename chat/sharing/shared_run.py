"""A run that another process conducts, as it is read from here."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass

import orjson

from chat.runlog import Batch
from chat.runs import Run, RunLimits
from chat.sharing.logs import AGAIN_SECONDS, frames_of, number_of, stream_of
from core.errors import Unavailable
from core.shared_store import Entry, SharedStore, StoreAway
from llm.events import Usage

# How often somebody who hears nothing asks whether the process that should say something lives.
CHECK_SECONDS = 5.0
# For so long it may seem dead: after an outage of the store, every process does until it has said otherwise.
LOST_SECONDS = 5.0

Following = Callable[[str], AbstractAsyncContextManager[None]]
"""Lets the process that conducts a run know that somebody reads it, for as long as the block lasts."""


def process_key(process_id: str) -> str:
    """Is in the store for as long as the process lives."""
    return f"amplify-chat:process:{process_id}"


@dataclass(frozen=True, slots=True)
class Head:
    """What the first entry of a log says: whose run it is, who conducts it, and what to tell if that one dies."""

    owner: str
    process: str
    if_lost: list[str]


class SharedRun(Run):
    def __init__(self, store: SharedStore, run_id: str, head: Head, *, limits: RunLimits, following: Following) -> None:
        super().__init__(run_id=run_id, owner=head.owner)
        self._store = store
        self._head = head
        self._limits = limits
        self._following = following
        self._stream = stream_of(run_id)
        self._position = 0
        """The number of the last frame that the reader has."""
        self._missing_since: float | None = None

    @classmethod
    async def find(
        cls, store: SharedStore, run_id: str, *, limits: RunLimits, following: Following
    ) -> "SharedRun | None":
        """None if no process has it. Raises StoreAway."""
        entry = await store.first(stream_of(run_id))
        if entry is None:
            return None
        return cls(store, run_id, Head(**orjson.loads(entry[1][b"head"])), limits=limits, following=following)

    @asynccontextmanager
    async def reading(self, after: int = 0) -> AsyncIterator[AsyncGenerator[Batch, None]]:
        async with self._following(self.id), aclosing(self._read(after)) as batches:
            yield batches

    async def _read(self, after: int) -> AsyncGenerator[Batch, None]:
        """As `RunLog.read`. Raises StoreAway when the store is away for longer than a run waits for its readers."""
        heartbeat = self._limits.heartbeat
        last = await self._store.last(self._stream)
        # A reader may be ahead of the store, which is written a little later than they are answered.
        self._position = max(after, 0)
        cursor = f"{min(self._position, number_of(last[0]) if last else 0)}-0"
        heard = time.monotonic()
        said = heard
        while self.reason is None:
            entries: list[Entry] = []
            try:
                entries = await self._store.read(self._stream, cursor, within=min(heartbeat, CHECK_SECONDS))
                if not entries and await self._is_lost():
                    yield self._lost()
                    return
                heard = time.monotonic()
            except StoreAway:
                if time.monotonic() - heard > self._limits.grace:
                    raise
                await asyncio.sleep(min(AGAIN_SECONDS, heartbeat))
            first, frames = self._position + 1, [frame for entry in entries for frame in self._take(entry)]
            if entries:
                cursor = entries[-1][0]
            if frames or time.monotonic() - said >= heartbeat:
                yield Batch(first, frames)
                said = time.monotonic()

    def _take(self, entry: Entry) -> list[bytes]:
        """The entry's frames that are new here: one that was written again holds earlier ones too."""
        entry_id, fields = entry
        frames, last = frames_of(fields), number_of(entry_id)
        new = last - self._position
        if new > len(frames):  # a store that has lost its latest entries, in a failover say
            raise Unavailable("A part of the answer is missing on this server. Please ask again.")
        self._position = max(last, self._position)
        if b"end" in fields:
            end = orjson.loads(fields[b"end"])
            self.reason, self.usage = end["reason"], Usage(**end["usage"])
        return frames[-new:] if new > 0 else []

    async def _is_lost(self) -> bool:
        if await self._store.exist(self._stream, process_key(self._head.process)):
            self._missing_since = None
            return False
        self._missing_since = self._missing_since or time.monotonic()
        return time.monotonic() - self._missing_since > LOST_SECONDS

    def _lost(self) -> Batch:
        self.reason = "shut_down"
        self.error = Unavailable("The server was restarted in the middle of the answer. Please ask again.")
        return Batch(self._position + 1, [frame.encode() for frame in self._head.if_lost])
