"""Write model calls to the ledger: many at once in one transaction, each caller waiting until its own is safe."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, date
from typing import Any
from uuid import UUID

import structlog
from django.db import InterfaceError, OperationalError, connection, transaction

from core.aio import TaskSet, run_blocking
from usage.models import UsageDay, UsageRecord

log = structlog.get_logger(__name__)

MAX_BATCH = 500
# A database that is busy or away for less than the sum of these (seconds) costs nobody anything.
RETRY_AFTER = (0.05, 0.2, 0.5, 1.0, 2.0)
# The database is busy or away, and the same rows may go through later.
_AWAY = (OperationalError, InterfaceError)

_Key = tuple[date, str, str, str, str]
_SUMS = ("calls", "input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens", "micro_dollars")


class Ledger:
    """Group commit: while one transaction is on its way, the next batch gathers.

    So a row costs its share of a transaction and the loop never waits for the disk.
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[UsageRecord, asyncio.Future[None]]] = []
        self._writing = False
        self._tasks = TaskSet()

    async def record(self, record: UsageRecord) -> None:
        """Return when the row is committed. A cancelled caller does not take its row along.

        If the database stays away, the row goes to the log as event `ledger_row_lost`, whole, and the caller goes on.
        """
        safe: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((record, safe))
        if not self._writing:
            self._writing = True
            self._tasks.spawn(self._write_waiting(), name="ledger")
        await asyncio.shield(safe)

    async def _write_waiting(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
                try:
                    await self._commit([record for record, _ in batch])
                finally:
                    for _, safe in batch:
                        if not safe.done():
                            safe.set_result(None)
        finally:
            # Here and not when the task is gone: who records in between would wait for a writer that has left.
            self._writing = False

    async def _commit(self, records: Sequence[UsageRecord]) -> None:
        """Write them together; if the database refuses one of them, each by itself, so that it takes no other along."""
        try:
            await self._write_patiently(records)
        except Exception as error:  # noqa: BLE001 - whatever it is, the next row must not wait for it
            log.warning("ledger_write_failed", rows=len(records), reason=type(error).__name__)
            if len(records) == 1 or isinstance(error, _AWAY):
                for record in records:
                    # No traceback: a database's words repeat what it was given, and these fields say all of it.
                    log.error("ledger_row_lost", **_as_fields(record))  # noqa: TRY400
                return
            for record in records:
                await self._commit([record])

    async def _write_patiently(self, records: Sequence[UsageRecord]) -> None:
        for pause in RETRY_AFTER:
            try:
                return await run_blocking(write, records)
            except _AWAY as error:
                log.warning("ledger_waits_for_database", rows=len(records), reason=type(error).__name__)
            await asyncio.sleep(pause)
        return await run_blocking(write, records)

    async def flush(self) -> None:
        """Wait until everything that was recorded is written."""
        while self._writing:
            await self._tasks.join()


def write(records: Sequence[UsageRecord]) -> None:
    """Commit rows and their sums together. Rows that are there already (a retry) are left alone and not summed."""
    with transaction.atomic():
        known = _known(record.call_id for record in records)
        new = [record for record in records if record.call_id not in known]
        UsageRecord.objects.bulk_create(new)
        _add_to_days(new)


def _known(call_ids: Iterable[UUID]) -> set[UUID]:
    return set(UsageRecord.objects.filter(call_id__in=list(call_ids)).values_list("call_id", flat=True))


def _add_to_days(records: Iterable[UsageRecord]) -> None:
    sums: dict[_Key, list[int]] = defaultdict(lambda: [0] * len(_SUMS))
    for record in records:
        day = record.ended_at.astimezone(UTC).date()
        key = (day, record.user_id, record.account_id, record.model_id, record.outcome)
        added = (1, *(getattr(record, name) for name in _SUMS[1:]))
        sums[key] = [old + more for old, more in zip(sums[key], added, strict=True)]
    # In one order always, so that two writers cannot wait for each other.
    rows: list[tuple[Any, ...]] = [(*key, *sums[key]) for key in sorted(sums)]
    with connection.cursor() as cursor:
        cursor.executemany(_UPSERT, rows)


def _upsert_sql() -> str:
    table = UsageDay._meta.db_table
    columns = ("day", "user_id", "account_id", "model_id", "outcome", *_SUMS)
    # Names come from this module, values are parameters.
    return (
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join(['%s'] * len(columns))}) "  # noqa: S608
        "ON CONFLICT (day, user_id, account_id, model_id, outcome) DO UPDATE SET "
        + ", ".join(f"{name} = {table}.{name} + excluded.{name}" for name in _SUMS)
    )


_UPSERT = _upsert_sql()


def _as_fields(record: UsageRecord) -> dict[str, str]:
    return {field.attname: str(getattr(record, field.attname)) for field in UsageRecord._meta.concrete_fields[1:]}
