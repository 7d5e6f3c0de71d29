"""The books of this process: calls are admitted and settled, many at once in one transaction, come what may.

    reserve ──▶ the call is made ──▶ settle      one ledger row, whatever its end
       └──────▶ it is not made ────▶ release     nothing

While one transaction is on its way the next batch gathers: a call costs its share of one, and the loop never waits for
the disk. While the database is away, everything goes to a journal on the disk and is booked when the database is back.
"""

import asyncio
import os
import secrets
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import structlog

from core.aio import BlockingPool, TaskSet
from core.errors import Unavailable
from usage.bookings import Answer, Operation, Release, Settle, adopt, commit, commit_each, note, replay, sweep
from usage.database import Away, Database
from usage.journal import Journal
from usage.limits import Line, Refusal
from usage.models import Reservation, UsageRecord
from usage.reservations import Claim, renew

log = structlog.get_logger(__name__)

MAX_BATCH = 500
LEASE_SECONDS = 120.0
"""A process that has not said for so long that it lives is dead. Long, for one that is only cut off for a moment must
not find its calls booked by another; and what a dead one has reserved is only a little of a limit."""


def utc_now() -> datetime:
    return datetime.now(UTC)


class _Waiting(NamedTuple):
    operation: Operation
    answer: "asyncio.Future[Answer]"


class Books:
    """Built once, in `amplify_chat.wiring`."""

    def __init__(
        self,
        journal: Callable[[str], Journal],
        *,
        clock: Callable[[], datetime] = utc_now,
        lease: float = LEASE_SECONDS,
        database: Database | None = None,
    ) -> None:
        """`journal` makes this process's journal of the process's name."""
        self.clock = clock
        self.worker = f"{os.getpid()}-{secrets.token_hex(12)}"
        self._lease = timedelta(seconds=lease)
        self._journal = journal(self.worker)
        self._journal_pool = BlockingPool("journal", threads=1)
        self._database = database or Database()
        self._database.on_return = self._on_return
        self._under_way: set[UUID] = set()
        self._waiting: list[_Waiting] = []
        self._writer: asyncio.Task[None] | None = None
        self._tasks = TaskSet()
        self._keeper: asyncio.Task[None] | None = None
        self._in_touch_since = self.clock()

    @property
    def under_way(self) -> int:
        """How many calls of this process are reserved and not settled."""
        return len(self._under_way)

    @property
    def database_away(self) -> bool:
        return self._database.away

    def start(self) -> None:
        """Begin to look after what dead processes have left. Happens by itself with the first call."""
        if self._keeper is None:
            self._keeper = self._tasks.spawn(self._keep(), name="keep the books")

    async def reserve(self, reservation: Reservation, lines: Sequence[Line] = ()) -> None:
        """Admit a call. Raises BudgetExceeded when one of the limits has no room for it.

        Raises Unavailable when that cannot be known: while the database is away only callers without limits get in.
        """
        self.start()
        reservation.worker = self.worker
        reservation.expires_at = self.clock() + self._lease
        self._under_way.add(reservation.call_id)
        admitted = False
        try:
            answer = await self._submit(Claim(reservation, tuple(lines)))
            admitted = answer is None
        except asyncio.CancelledError:
            self.release(reservation.call_id)
            raise
        finally:
            if not admitted:
                self._under_way.discard(reservation.call_id)
        if isinstance(answer, Refusal):
            raise answer.error(reservation.reserved_at)
        if answer is not None:
            raise answer

    async def settle(self, record: UsageRecord) -> None:
        """Return when the call's row is safe, in the database or in the journal. A cancelled caller does not take its
        row along."""
        answer = self._enqueue(Settle(record))
        answer.add_done_callback(lambda _: self._under_way.discard(record.call_id))
        await asyncio.shield(answer)

    def release(self, call_id: UUID) -> None:
        """Take back what was reserved for a call that is not made."""
        self._under_way.discard(call_id)
        self._enqueue(Release(call_id))

    async def flush(self) -> None:
        """Wait until everything is written that was asked for."""
        while self._writer is not None:
            await asyncio.wait([self._writer])

    async def aclose(self) -> None:
        """Write what is left to write. What the database cannot take now, the next process finds in the journal."""
        await self.flush()
        await self._database.aclose()
        await self._tasks.aclose()

    async def _submit(self, operation: Operation) -> Answer:
        return await asyncio.shield(self._enqueue(operation))

    def _enqueue(self, operation: Operation) -> "asyncio.Future[Answer]":
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(operation, answer))
        self._begin_writing()
        return answer

    def _begin_writing(self) -> None:
        if self._writer is None:
            self._writer = self._tasks.spawn(self._write_waiting(), name="write the books")

    async def _write_waiting(self) -> None:
        try:
            while self._waiting or self._has_to_replay:
                batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
                answers: Sequence[Answer] = [Unavailable()] * len(batch)
                try:
                    answers = await self._carry_out([waiting.operation for waiting in batch])
                finally:
                    for (_, answer), given in zip(batch, answers, strict=True):
                        if not answer.done():
                            answer.set_result(given)
        finally:
            # Here and not when the task is gone: who asks in between would wait for a writer that has left.
            self._writer = None

    @property
    def _has_to_replay(self) -> bool:
        return not (self._database.away or self._journal.is_empty)

    async def _carry_out(self, operations: Sequence[Operation]) -> Sequence[Answer]:
        try:
            if self._has_to_replay:
                await self._replay()
            return await self._commit(operations) if operations else []
        except Away:
            return await self._journal_pool.run(note, self._journal, operations)

    async def _replay(self) -> None:
        try:
            log.warning("journal_replayed", rows=await self._database.ask(replay, self._journal))
        except Away:
            raise
        except Exception:
            log.exception("journal_not_replayed", hint="It stays beside the others, under the name *.unreadable.")
            self._journal.set_aside()

    async def _commit(self, operations: Sequence[Operation]) -> Sequence[Answer]:
        try:
            return await self._database.ask(commit, operations)
        except Away:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, one must not take the others along
            log.warning("booking_failed", operations=len(operations), reason=type(error).__name__)
            return await self._database.ask(commit_each, operations)

    def _on_return(self) -> None:
        self._in_touch_since = self.clock()
        self._begin_writing()

    async def _keep(self) -> None:
        """Say that this process lives, and book what dead ones have left."""
        while True:
            try:
                await self._look_after(self.clock())
            except Away:
                pass
            except Exception as error:  # noqa: BLE001 - the next round may do better
                log.warning("keeping_failed", reason=type(error).__name__)
            await asyncio.sleep(self._lease.total_seconds() / 4)

    async def _look_after(self, now: datetime) -> None:
        alive = frozenset(self._under_way)
        ask = self._database.ask
        # What was reserved long ago and is not under way has come too late.
        await ask(renew, self.worker, until=now + self._lease, alive=alive, before=now - self._lease / 4)
        count = await ask(adopt, self._journal, now)
        if now - self._in_touch_since >= self._lease / 2:
            # Not at once: after an outage the living must have had the time to say that they live.
            count += await ask(sweep, now)
        if count:
            log.warning("crashed_calls_booked", rows=count)
