"""Plays a script on a connection, on time: deadlines from the call's start, one timer a stream, back-pressure."""

import asyncio
import socket
import struct
from collections.abc import Callable, Iterator
from enum import Enum
from itertools import repeat

from bench.upstream.record import Outcome, Record


class End(Enum):
    """How a script that is not a whole answer ends."""

    HANG = "nothing more is sent; the caller has to leave"
    CLOSE = "the connection is closed cleanly"
    RESET = "the connection is reset"


Step = bytes | float | End
"""What a script yields: bytes to write now; seconds since the call's start to wait for; or an end.

Each `bytes` is one write. The loop may put writes of the same moment into one segment, as a vendor's server would.
"""

Script = Iterator[Step]


class Player:
    """One call being answered. `on_end` is called once, when the script is over and the connection is free again."""

    __slots__ = ("_loop", "_on_end", "_outcome", "_paused", "_script", "_start", "_timer", "_transport", "record")

    def __init__(
        self,
        script: Script,
        transport: asyncio.Transport,
        record: Record,
        *,
        outcome: Outcome,
        on_end: Callable[["Player", Outcome], None],
    ) -> None:
        self._script = script
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._start = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._paused = False
        self._outcome = outcome
        self._on_end = on_end
        self.record = record

    def play(self) -> None:
        """Send all that is due; then set the timer for the next deadline."""
        self._timer = None
        record, write = self.record, self._transport.write
        for step in self._script:
            if type(step) is bytes:
                write(step)
                record.bytes_sent += len(step)
                if self._paused:
                    return
            elif type(step) is float:
                due = self._start + step
                if due > self._loop.time():
                    self._timer = self._loop.call_at(due, self.play)
                    return
            else:
                assert isinstance(step, End)
                self._end_early(step)
                return
        self._on_end(self, self._outcome)

    def _end_early(self, end: End) -> None:
        if end is End.HANG:
            self._script = repeat(End.HANG)  # a socket that drains later calls `resume`, which must find nothing
            return
        self._on_end(self, Outcome.FAULT)
        if end is End.CLOSE:
            self._transport.close()
        else:
            _reset(self._transport)

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = False
        if self._timer is None:
            self.play()

    def hang_up(self) -> None:
        """The caller has gone: stop at once."""
        if self._timer is not None:
            self._timer.cancel()
        self._on_end(self, Outcome.HUNG_UP)


def _reset(transport: asyncio.Transport) -> None:
    """Close with a TCP reset: lingering for zero seconds throws the connection away (socket(7))."""
    sock = transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
