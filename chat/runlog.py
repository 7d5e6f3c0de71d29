"""The run log: what a run has said so far, numbered, append-only, for any number of readers.

Frame n is the n-th event of the answer, counted from 1, on every transport. So a client that lost its connection
after n events asks for those after n.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass

from chat.wire import Frame


@dataclass(frozen=True, slots=True)
class Batch:
    """Frames that follow each other; none at all means that it is time for a heartbeat."""

    first: int
    """The number of the first frame."""
    frames: list[Frame]


class RunLog:
    """One run's log, in the process that conducts it. The writer never waits for a reader."""

    __slots__ = ("_frames", "_readers", "_watcher", "closed", "size")

    def __init__(self) -> None:
        self._frames: list[Frame] = []
        self._readers: set[_Waiter] = set()
        self._watcher: Callable[[], None] | None = None
        self.closed = False
        self.size = 0
        """Bytes kept."""

    def append(self, *frames: Frame) -> None:
        """Add frames. Frames that come after `close` are not taken: a stopped run is silent."""
        if self.closed or not frames:
            return
        for frame in frames:
            self._frames.append(frame)
            self.size += len(frame)
        self._tell()

    def close(self) -> None:
        """Nothing follows; readers end after the last frame."""
        self.closed = True
        self._tell()

    def _tell(self) -> None:
        for reader in self._readers:
            reader.wake()
        if self._watcher is not None:
            self._watcher()

    def watch(self, watcher: Callable[[], None]) -> None:
        """Call it whenever there is something new, the end included; it must return at once."""
        self._watcher = watcher

    def since(self, after: int) -> list[Frame]:
        """What has come after frame number `after` up to now."""
        return self._frames[after:]

    async def read(self, after: int, *, heartbeat: float) -> AsyncGenerator[Batch, None]:
        """Everything after frame number `after` (0: from the start) until the log is closed.

        Each batch holds all that is new, so a reader that is slow gets fewer and larger ones. After `heartbeat`
        seconds of silence an empty batch is given. Consume inside `aclosing()`.
        """
        position = min(max(after, 0), len(self._frames))
        waiter = _Waiter(heartbeat)
        self._readers.add(waiter)
        try:
            while True:
                if new := self._frames[position:]:
                    yield Batch(position + 1, new)
                    position += len(new)
                elif self.closed:
                    return
                elif not await waiter.woken():
                    yield Batch(position + 1, [])
        finally:
            self._readers.discard(waiter)
            waiter.close()


class _Waiter:
    """Wakes one reader: when there is something new, or after a silence.

    One timer for the whole reading, moved on when it fires: a timer for each wait would cost as much as a frame.
    """

    __slots__ = ("_future", "_loop", "_quiet", "_since", "_timer")

    def __init__(self, quiet: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._quiet = quiet
        self._since = self._loop.time()
        self._future: asyncio.Future[bool] | None = None
        self._timer = self._loop.call_later(quiet, self._silent)

    async def woken(self) -> bool:
        """Wait for the next `wake`; False if the silence came first."""
        self._since = self._loop.time()
        self._future = self._loop.create_future()
        return await self._future

    def wake(self) -> None:
        if self._future is not None and not self._future.done():
            self._future.set_result(True)

    def _silent(self) -> None:
        left = self._since + self._quiet - self._loop.time()
        if left > 0:
            self._timer = self._loop.call_later(left, self._silent)
            return
        self._timer = self._loop.call_later(self._quiet, self._silent)
        if self._future is not None and not self._future.done():
            self._future.set_result(False)

    def close(self) -> None:
        self._timer.cancel()
