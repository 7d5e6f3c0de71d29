"""Brings the outbox to the platform, beside the answers: the platform being away costs nobody anything but patience."""

import asyncio
import random
from collections.abc import Callable
from datetime import datetime, timedelta
from time import monotonic
from weakref import WeakSet

import structlog
from django.db import close_old_connections
from django.utils import timezone

from core.aio import BlockingPool, TaskSet
from usage.platform import outbox
from usage.platform.delivery import Deliverer
from usage.platform.outbox import Waiting
from usage.platform.tables import PlatformTables

log = structlog.get_logger(__name__)

ROWS_AT_ONCE = 200
# Between two looks at an empty outbox; spread, so that processes do not look in step.
PAUSE_SECONDS = 2.0
# A platform that has heard nothing for so long shows wrong figures to people: the log says so, now and then.
OLD = timedelta(minutes=15)
SAY_EVERY_SECONDS = 300.0
# Counting a million that wait takes longer than delivering some of them.
COUNT_EVERY_SECONDS = 10.0

couriers: "WeakSet[Courier]" = WeakSet()
"""Of this process: one, for the metrics."""


class Courier:
    """Every process has one; what one has claimed no other takes, and what two deliver all the same counts once."""

    def __init__(self, tables: PlatformTables, *, clock: Callable[[], datetime] = timezone.now) -> None:
        self.waiting = Waiting(calls=0, oldest=None, set_aside=0)
        """As it was when they were counted last."""
        self._counted_at = float("-inf")
        self._deliverer = Deliverer(tables)
        self._clock = clock
        # A thread of its own: one that waits for the platform must not keep sign-in or the ledger waiting.
        self._pool = BlockingPool("courier", threads=1)
        self._tasks = TaskSet()
        self._said_at = float("-inf")
        couriers.add(self)

    def start(self) -> None:
        if not self._tasks:
            self._tasks.spawn(self._keep_delivering(), name="deliver to the platform's books")

    async def round(self) -> int:
        """Deliver what is due, as much as goes at once; returns how many rows were tried."""
        taken = await self._pool.run(self._round)
        self._say_if_old()
        return taken

    async def aclose(self) -> None:
        """The request that is under way comes to its end; what else was claimed is given back for others to deliver."""
        self._deliverer.stop()
        await self._tasks.aclose()

    def _round(self) -> int:
        close_old_connections()
        try:
            taken = self._deliverer.deliver_some(self._clock(), ROWS_AT_ONCE)
            if (now := monotonic()) - self._counted_at >= COUNT_EVERY_SECONDS:
                self.waiting, self._counted_at = outbox.waiting(), now
            return taken
        finally:
            close_old_connections()

    async def _keep_delivering(self) -> None:
        while True:
            taken = 0
            try:
                taken = await self.round()
            except Exception as error:  # noqa: BLE001 - the database is away, say; the next round may do better
                log.warning("delivery_interrupted", reason=type(error).__name__)
            if taken < ROWS_AT_ONCE:
                await asyncio.sleep(PAUSE_SECONDS * random.uniform(0.75, 1.25))  # noqa: S311 - guards nothing

    def _say_if_old(self) -> None:
        now = asyncio.get_running_loop().time()
        calls, oldest, set_aside = self.waiting
        is_old = oldest is not None and self._clock() - oldest > OLD
        if not (is_old or set_aside) or now - self._said_at < SAY_EVERY_SECONDS:
            return
        self._said_at = now
        log.error(
            "deliveries_wait",
            calls=calls,
            oldest=None if oldest is None else oldest.isoformat(timespec="seconds"),
            set_aside=set_aside,
            hint="The platform's figures are behind the ledger. See Deliveries in the admin.",
        )
