"""When each key was used last, without a write for each request."""

import asyncio
from asyncio import sleep
from datetime import datetime

from accounts.stores import Stores
from core.aio import TaskSet
from core.errors import Unavailable

FLUSH_SECONDS = 60.0


class LastUse:
    """Gathers in memory and writes all of it at once, a minute after the first of it."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self._used: dict[str, datetime] = {}
        self._tasks = TaskSet()
        self._writing: asyncio.Task[None] | None = None

    def note(self, key_id: str, moment: datetime) -> None:
        """On the loop; costs next to nothing."""
        self._used[key_id] = moment
        writing = self._writing
        if writing is None or writing.done() or writing.get_loop() is not asyncio.get_running_loop():
            self._writing = self._tasks.spawn(self._write(), name="last use of keys")

    async def flush(self) -> None:
        """Write down what has been gathered; what cannot be written stays for the next time."""
        used, self._used = self._used, {}
        try:
            if used:
                await self._stores.ask(self._stores.keys.touch, used)
        except Unavailable:  # the store has logged it
            self._used = {**used, **self._used}

    async def _write(self) -> None:
        while self._used:
            await sleep(FLUSH_SECONDS)
            await self.flush()

    async def aclose(self) -> None:
        await self._tasks.aclose()
        await self.flush()
