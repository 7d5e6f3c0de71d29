"""Ask the database patiently, but nobody waits long for one that is away; notice when it is back."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

import structlog
from django.db import Error, connection

from core.aio import TaskSet, run_blocking
from usage.ledger import AWAY

P = ParamSpec("P")
T = TypeVar("T")

log = structlog.get_logger(__name__)

# A database that is busy for less than the sum of these (seconds) counts as there.
RETRY_AFTER = (0.05, 0.2, 0.4)
# One that says nothing for so long hangs: no transaction of ours takes a tenth of it.
ANSWER_SECONDS = 2.0
PROBE_SECONDS = 1.0


class Away(Exception):
    """The database cannot be asked. What was asked last may all the same be carried out, if it only was slow."""


class Database:
    def __init__(
        self,
        *,
        retry_after: Sequence[float] = RETRY_AFTER,
        answer_within: float = ANSWER_SECONDS,
        probe_every: float = PROBE_SECONDS,
    ) -> None:
        self.away = False
        self.on_return: Callable[[], Any] = lambda: None
        """Called when it is back."""
        self._retry_after = retry_after
        self._answer_within = answer_within
        self._probe_every = probe_every
        self._late: set[asyncio.Future[Any]] = set()
        self._tasks = TaskSet()

    async def ask(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run it off the loop. Raises Away: at once when that is known, else after a second or a few.

        What the database refuses for another reason is raised as it is.
        """
        if self.away:
            raise Away
        for pause in (*self._retry_after, None):
            try:
                return await self._ask_once(function, *args, **kwargs)
            except AWAY as error:
                log.warning("database_does_not_answer", reason=type(error).__name__)
            except TimeoutError:
                log.warning("database_hangs", seconds=self._answer_within)
                break
            if pause is not None:
                await asyncio.sleep(pause)
        self._leave()
        raise Away

    async def _ask_once(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        asked: asyncio.Future[T] = asyncio.ensure_future(run_blocking(function, *args, **kwargs))
        done, _ = await asyncio.wait([asked], timeout=self._answer_within)
        if not done:
            # The thread cannot be interrupted; nothing more is asked before it comes back.
            self._late.add(asked)
            asked.add_done_callback(self._came_late)
            raise TimeoutError
        return asked.result()

    def _came_late(self, asked: "asyncio.Future[Any]") -> None:
        self._late.discard(asked)
        if not asked.cancelled():
            asked.exception()  # so that the loop does not complain of an error that nobody waits for any more

    def _leave(self) -> None:
        if not self.away:
            self.away = True
            log.error("database_away", hint="Calls go on; what they cost is kept in the journal until it is back.")
            self._tasks.spawn(self._await_return(), name="await the database")

    async def _await_return(self) -> None:
        while self.away:
            await asyncio.sleep(self._probe_every)
            if self._late:
                continue
            try:
                await self._ask_once(_probe)
            except (Error, TimeoutError):
                continue
            self.away = False
            log.warning("database_back")
            self.on_return()

    async def aclose(self) -> None:
        await self._tasks.aclose()


def _probe() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM usage_reservation LIMIT 1")
