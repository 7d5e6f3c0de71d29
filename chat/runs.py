"""Runs: one execution of a turn each, owned by the service and not by the connection that asked for it."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Literal

from accounts.principal import Principal
from chat.runlog import Batch, RunLog
from core.errors import AmplifyError
from core.ids import new_run_id
from llm.events import Event, Finished, FinishReason, Usage

Reason = Literal["finished", "failed", "killed", "abandoned", "timed_out", "shut_down"]
Answer = Callable[["ConductedRun"], AsyncGenerator[Event, None]]
Reading = AbstractAsyncContextManager[AsyncGenerator[Batch, None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLimits:
    """Seconds, unless said."""

    deadline: float = 840.0
    """The longest run; a stream must end before the load balancer's target is deregistered (900)."""
    grace: float = 30.0
    """How long a run goes on when its last reader has left: time to reconnect."""
    keep: float = 60.0
    """How long an ended run's log stays for late readers."""
    keep_bytes: int = 128 * 1024 * 1024
    """All ended runs together; beyond it the oldest go early."""
    heartbeat: float = 15.0
    """The longest silence on a stream."""
    early_kill: float = 10.0
    """How long a kill waits for a request that it has overtaken."""


class Run(ABC):
    """What somebody who reads a run sees of it, whichever process conducts it."""

    def __init__(self, *, run_id: str, owner: str) -> None:
        self.id = run_id
        self.owner = owner
        """A user id."""
        self.reason: Reason | None = None
        """Why it ended; None while it goes on."""
        self.error: AmplifyError | None = None
        self.finish_reason: FinishReason = "stop"
        self.usage = Usage()

    @abstractmethod
    def reading(self, after: int = 0) -> Reading:
        """Follow the log from after frame number `after`; counts as a reader for as long as the block lasts."""


class ConductedRun(Run):
    """A run of this process."""

    def __init__(
        self,
        *,
        principal: Principal,
        request_id: str,
        limits: RunLimits,
        run_id: str = "",
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_end` is called once, when it has ended."""
        super().__init__(run_id=run_id or new_run_id(), owner=principal.user_id)
        self.request_id = request_id
        self.log = RunLog()
        self.stop_reason: Reason | None = None
        """Why it was told to stop, from the moment it was."""
        self.assistant = ""
        """Who answers, as soon as that is known."""
        self._limits = limits
        self._on_end = on_end
        self._task: asyncio.Task[None] | None = None
        self._readers = 0
        self._abandoning: asyncio.TimerHandle | None = None

    def begin(self, task: asyncio.Task[None]) -> None:
        self._task = task
        # Until its first reader comes, too, nobody listens.
        self._abandon_later()

    def observe(self, event: Event) -> None:
        """Remember what is asked for at the end."""
        if isinstance(event, Finished):
            self.finish_reason = event.reason

    def name_assistant(self, name: str) -> None:
        self.assistant = name

    def spend(self, usage: Usage) -> None:
        """Add what one of its model calls used; also calls that were stopped, which report no usage of their own."""
        self.usage += usage

    def stop(self, reason: Reason) -> None:
        """End it: its readers hear nothing more, the vendor's stream is closed, what was used is booked."""
        if self.stop_reason is None and self.reason is None and self._task is not None:
            self.stop_reason = reason
            self._task.cancel()

    def followed(self) -> None:
        """Somebody reads it by way of another process; that holds for as long as somebody may be away."""
        self._abandon_later()

    def end(self, reason: Reason) -> None:
        self.reason = reason
        self._keep_going()
        self._on_end()
        self.log.close()

    @asynccontextmanager
    async def reading(self, after: int = 0) -> AsyncIterator[AsyncGenerator[Batch, None]]:
        self._readers += 1
        self._keep_going()
        try:
            async with aclosing(self.log.read(after, heartbeat=self._limits.heartbeat)) as batches:
                yield batches
        finally:
            self._readers -= 1
            self._abandon_later()

    def _abandon_later(self) -> None:
        if not self._readers and self.reason is None:
            self._keep_going()
            self._abandoning = asyncio.get_running_loop().call_later(self._limits.grace, self.stop, "abandoned")

    def _keep_going(self) -> None:
        if self._abandoning is not None:
            self._abandoning.cancel()
            self._abandoning = None
