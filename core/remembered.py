"""A value read from the database now and then and remembered in between."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import structlog
from django.db import Error, models, transaction
from django.db.models.signals import post_delete, post_save

from core.aio import TaskSet, run_blocking

T = TypeVar("T")

log = structlog.get_logger(__name__)

REMEMBERED_SECONDS = 5.0
RETRY_SECONDS = 1.0
# A database that hangs holds nobody up for longer than this; what was known last is good enough.
WAIT_SECONDS = 2.0


class Remembered(Generic[T]):
    """What `read` gives, at most `seconds` old; saving a row of `tables` in this process makes it old at once.

    Callers share one read. When it fails the last value stays; there is none (None) until a read has succeeded.
    """

    def __init__(
        self,
        read: Callable[[], T],
        *,
        name: str,
        tables: Sequence[type[models.Model]] = (),
        seconds: float = REMEMBERED_SECONDS,
    ) -> None:
        self.value: T | None = None
        self._read = read
        self._name = name
        self._seconds = seconds
        self._good_until = float("-inf")
        self._changes = 0
        self._changes_read = 0
        self._reading: asyncio.Task[None] | None = None
        self._wait_until = float("-inf")
        self._tasks = TaskSet()
        for table in tables:
            post_save.connect(self._on_change, sender=table)
            post_delete.connect(self._on_change, sender=table)

    async def get(self) -> T | None:
        """The value; from memory as long as it is young."""
        if self._changes != self._changes_read or time.monotonic() >= self._good_until:
            await self._share_read()
        return self.value

    def forget(self) -> None:
        """Read again before the next answer. May be called from any thread."""
        self._changes += 1

    async def aclose(self) -> None:
        await self._tasks.aclose()

    def _on_change(self, **_signal: Any) -> None:
        transaction.on_commit(self.forget)

    async def _share_read(self) -> None:
        reading = self._reading
        if reading is None or reading.done() or reading.get_loop() is not asyncio.get_running_loop():
            self._wait_until = time.monotonic() + WAIT_SECONDS
            reading = self._reading = self._tasks.spawn(self._read_again(), name=f"read {self._name}")
        # Not awaited itself: a caller that is cancelled does not take the others' read along.
        await asyncio.wait([reading], timeout=max(0.0, self._wait_until - time.monotonic()))

    async def _read_again(self) -> None:
        changes = self._changes  # one that comes while we read may not be in what we read
        good_for = RETRY_SECONDS
        try:
            self.value = await run_blocking(self._read)
            good_for = self._seconds
        except (Error, OSError) as error:
            log.warning("not_read", what=self._name, reason=type(error).__name__, known=self.value is not None)
        finally:
            self._changes_read = changes
            self._good_until = time.monotonic() + good_for
