"""The run log: what a run has said so far, numbered, append-only, for any number of readers.

Frame n is the n-th event of the answer, counted from 1, on every transport. So a client that lost its connection
after n events asks for those after n.
"""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

from chat.wire import Frame


@dataclass(frozen=True, slots=True)
class Batch:
    """Frames that follow each other; none at all means that it is time for a heartbeat."""

    first: int
    """The number of the first frame."""
    frames: list[Frame]


class RunLog(Protocol):
    """One run's log. The writer never waits for a reader, so appending is not async: a log that other processes read
    keeps a copy here and sends it on behind the writer's back."""

    @property
    def closed(self) -> bool: ...

    @property
    def size(self) -> int:
        """Bytes kept."""

    def append(self, *frames: Frame) -> None:
        """Add frames. Frames that come after `close` are not taken: a stopped run is silent."""

    def close(self) -> None:
        """Nothing follows; readers end after the last frame."""

    def read(self, after: int, *, heartbeat: float) -> AsyncGenerator[Batch, None]:
        """Everything after frame number `after` (0: from the start) until the log is closed.

        Each batch holds all that is new, so a reader that is slow gets fewer and larger ones. After `heartbeat`
        seconds of silence an empty batch is given. Consume inside `aclosing()`.
        """


class MemoryRunLog:
    """A log in this process."""

    __slots__ = ("_frames", "_waiting", "closed", "size")

    def __init__(self) -> None:
        self._frames: list[Frame] = []
        self._waiting: list[asyncio.Future[bool]] = []
        self.closed = False
        self.size = 0

    def append(self, *frames: Frame) -> None:
        if self.closed:
            return
        self._frames.extend(frames)
        self.size += sum(map(len, frames))
        self._wake()

    def close(self) -> None:
        self.closed = True
        self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            _resolve(future, True)

    async def read(self, after: int, *, heartbeat: float) -> AsyncGenerator[Batch, None]:
        position = min(max(after, 0), len(self._frames))
        while True:
            if new := self._frames[position:]:
                yield Batch(position + 1, new)
                position += len(new)
            elif self.closed:
                return
            elif not await self._changed(heartbeat):
                yield Batch(position + 1, [])

    async def _changed(self, within: float) -> bool:
        """Wait for the next append or close; False if it did not come in time."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bool] = loop.create_future()
        self._waiting.append(future)
        # A bare timer: asyncio.timeout costs three times as much, and this runs once a frame.
        timer = loop.call_later(within, _resolve, future, False)
        try:
            return await future
        finally:
            timer.cancel()


def _resolve(future: asyncio.Future[bool], changed: bool) -> None:
    if not future.done():
        future.set_result(changed)
