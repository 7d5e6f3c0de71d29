"""Jobs that are due at certain times: each is done by one of the processes that share the database, and none is lost.

A process that takes a job says every few seconds that it is still at it; if it dies, another begins the job anew once
that is overdue. So a job must bear to be broken off and done again.
"""

import asyncio
import random
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import ParamSpec, TypeVar

import structlog
from django.db import close_old_connections
from django.db.models import Q
from django.utils import timezone

from core.aio import BlockingPool, TaskSet
from usage.models import ScheduledJob

P = ParamSpec("P")
T = TypeVar("T")

log = structlog.get_logger(__name__)

# Whoever has taken a job and has not said for so long that he is at it is dead.
LEASE = timedelta(minutes=2)
SAY_EVERY = LEASE / 6
PAUSE_AFTER_FAILURE = timedelta(minutes=5)
# A job that is overdue for longer than this was switched off meanwhile, and waits for its next time.
MISSED = timedelta(days=1)
LOOK_EVERY_SECONDS = 20.0


class BrokenOff(Exception):
    """The process is stopping, or another has taken the job: leave what is left of it to the next try."""


class JobFailed(Exception):
    """Why a job could not be done, in words for the log and the admin."""


@dataclass(slots=True)
class Job:
    name: str
    next_due: Callable[[datetime], datetime]
    """The first time after a moment at which it is due."""
    run: Callable[["Turn"], Awaitable[str]]
    """Does it and returns a line for the admin. Calls `Turn.check` often, and what blocks through `Turn.blocking`."""


@dataclass(slots=True)
class Turn:
    """One process's try at a job."""

    name: str
    clock: Callable[[], datetime]
    stopping: threading.Event
    pool: BlockingPool
    _until: datetime = field(init=False)

    def __post_init__(self) -> None:
        self._until = self.clock() + LEASE

    def check(self) -> None:
        """Go on? Raises BrokenOff if not; keeps the job as ours. Blocks, now and then, for one query."""
        if self.stopping.is_set():
            raise BrokenOff
        now = self.clock()
        if now < self._until - LEASE + SAY_EVERY:
            return
        ours = ScheduledJob.objects.filter(name=self.name, taken_until=self._until)
        if not ours.update(taken_until=now + LEASE):
            raise BrokenOff
        self._until = now + LEASE

    async def blocking(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """In the jobs' own thread: nothing else of the process waits for them."""

        def call() -> T:
            close_old_connections()
            try:
                return function(*args, **kwargs)
            finally:
                close_old_connections()

        return await self.pool.run(call)

    def take(self, due_by: datetime) -> bool:
        free = Q(taken_until=None) | Q(taken_until__lte=due_by)
        mine = ScheduledJob.objects.filter(free, name=self.name, due_at__lte=due_by)
        return bool(mine.update(taken_until=self._until))

    def leave(self, **outcome: object) -> None:
        """Give it back, with what came of it; nothing if it is not ours any more."""
        ScheduledJob.objects.filter(name=self.name, taken_until=self._until).update(taken_until=None, **outcome)


class Jobs:
    """Every process has one, and looks every now and then whether something is due."""

    def __init__(
        self,
        jobs: Sequence[Job],
        *,
        clock: Callable[[], datetime] = timezone.now,
        pool: BlockingPool | None = None,
    ) -> None:
        self._jobs = jobs
        self._clock = clock
        self._pool = pool or BlockingPool("jobs", threads=1)
        self._tasks = TaskSet()
        self._stopping = threading.Event()
        self._closing = asyncio.Event()
        self._known = False

    def start(self) -> None:
        if self._jobs and not self._tasks:
            self._tasks.spawn(self._keep_looking(), name="jobs")

    async def aclose(self) -> None:
        """What is under way is broken off at its next `check`, and given back."""
        self._stopping.set()
        self._closing.set()
        await self._tasks.join()

    async def round(self) -> None:
        """Do what is due and nobody else does."""
        for job in self._jobs:
            turn = Turn(job.name, self._clock, self._stopping, self._pool)
            if not self._known:
                await turn.blocking(self._enter)
            if await turn.blocking(turn.take, self._clock()):
                await self._do(job, turn)

    def _enter(self) -> None:
        now = self._clock()
        for job in self._jobs:
            due = job.next_due(now)
            ScheduledJob.objects.get_or_create(name=job.name, defaults={"due_at": due})
            ScheduledJob.objects.filter(name=job.name, due_at__lt=now - MISSED).update(due_at=due)
        self._known = True

    async def _do(self, job: Job, turn: Turn) -> None:
        log.info("job_begins", job=job.name)
        try:
            report = await job.run(turn)
        except BrokenOff:
            log.info("job_broken_off", job=job.name)
            await turn.blocking(turn.leave)
        except Exception as error:  # noqa: BLE001 - whatever it was, the job is tried again and the others are done
            # What others raise may hold what belongs in no log.
            reason = str(error) if isinstance(error, JobFailed) else type(error).__name__
            log.error("job_failed", job=job.name, reason=reason)  # noqa: TRY400 - as above
            due = self._clock() + PAUSE_AFTER_FAILURE
            await turn.blocking(turn.leave, due_at=due, error=reason[:200])
        else:
            log.info("job_done", job=job.name, report=report)
            now = self._clock()
            due = job.next_due(now)
            await turn.blocking(turn.leave, due_at=due, done_at=now, report=report[:200], error="")

    async def _keep_looking(self) -> None:
        while not self._closing.is_set():
            try:
                await self.round()
            except Exception as error:  # noqa: BLE001 - the database is away, say; the next look may do better
                log.warning("jobs_interrupted", reason=type(error).__name__)
            pause = LOOK_EVERY_SECONDS * random.uniform(0.75, 1.25)  # noqa: S311 - so that processes do not look in step
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), pause)
