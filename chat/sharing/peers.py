"""The other processes of the service, as the registry of this one knows them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import structlog

from chat.runs import ConductedRun, Run, RunLimits
from chat.sharing.logs import AGAIN_SECONDS, PAUSE_SECONDS, LogWriter
from chat.sharing.shared_run import SharedRun, process_key
from chat.sharing.signals import Signal, Signals
from chat.wire import Frame
from core.aio import TaskSet
from core.ids import new_uuid
from core.shared_store import SharedStore, StoreAway

log = structlog.get_logger(__name__)

# A process that has not said so for ALIVE_SECONDS is dead.
ALIVE_SECONDS = 10
SAY_ALIVE_SECONDS = 3.0
# For the last words of ended runs, while shutting down.
LAST_WORDS_SECONDS = 3.0


class Peers:
    def __init__(self, store: SharedStore, limits: RunLimits) -> None:
        self._limits = limits
        self._process_id = new_uuid().hex
        self._store = store
        self._signals = Signals(self._store, self._process_id)
        self._writer = LogWriter(self._store, self._process_id, limits)
        self._tasks = TaskSet()

    @property
    def reached(self) -> bool:
        """Whether the store took what was last written to it."""
        return not self._writer.away

    def start(self, hear: Callable[[Signal], None]) -> None:
        """Begin; inside the running loop. `hear` is called with what others tell, moments before now included."""
        self._tasks.spawn(self._say_alive(), name="peers-alive")
        self._tasks.spawn(self._writer.write(), name="peers-logs")
        self._tasks.spawn(self._signals.listen(hear, since=self._limits.early_kill), name="peers-signals")

    def share(self, run: ConductedRun, *, if_lost: tuple[Frame, ...]) -> None:
        """Let others read it. `if_lost`: what they tell its readers if this process dies in the middle of it."""
        self._writer.share(run, if_lost=if_lost)

    async def find(self, run_id: str) -> Run | None:
        """Somebody else's run, live or ended. Raises StoreAway."""
        run = await self._find(run_id)
        if run is None:
            # One that has only just begun is not written yet.
            await asyncio.sleep(2 * PAUSE_SECONDS)
            run = await self._find(run_id)
        return run

    async def _find(self, run_id: str) -> Run | None:
        return await SharedRun.find(self._store, run_id, limits=self._limits, following=self._following)

    async def tell(self, signal: Signal) -> None:
        """To every other process. Raises StoreAway."""
        await self._signals.tell(signal)

    def mention(self, signal: Signal) -> None:
        """Tell it if the store can be reached; nobody waits."""
        self._tasks.spawn(self._try_to_tell(signal), name="peers-mention")

    async def _try_to_tell(self, signal: Signal) -> None:
        with suppress(StoreAway):
            await self._signals.tell(signal)

    @asynccontextmanager
    async def _following(self, run_id: str) -> AsyncIterator[None]:
        async def go_on() -> None:
            while True:
                await self._try_to_tell(Signal(kind="followed", run_id=run_id))
                await asyncio.sleep(self._limits.grace / 3)

        task = self._tasks.spawn(go_on(), name=f"following-{run_id}")
        try:
            yield
        finally:
            task.cancel()

    async def _say_alive(self) -> None:
        while True:
            try:
                await self._store.set(process_key(self._process_id), "", expires=ALIVE_SECONDS)
                await asyncio.sleep(SAY_ALIVE_SECONDS)
            except StoreAway:
                await asyncio.sleep(AGAIN_SECONDS)

    async def aclose(self) -> None:
        """After the last run has ended."""
        await self._tasks.aclose()
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS_SECONDS):
                await self._writer.write_news()
