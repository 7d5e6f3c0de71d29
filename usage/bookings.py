"""What the books are asked to do, and how it is done: in the database, or in the journal. Everything here blocks."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import structlog
from django.db import transaction

from core.errors import Unavailable
from usage import reservations
from usage.journal import Journal
from usage.ledger import AWAY, book, known_calls, report, write_whatever_goes
from usage.limits import Refusal
from usage.models import UsageRecord
from usage.reservations import Claim

log = structlog.get_logger(__name__)

# Rows that are booked in one transaction when a journal is replayed.
_CHUNK = 500


@dataclass(frozen=True, slots=True)
class Settle:
    """A call has ended: this is its row."""

    record: UsageRecord


@dataclass(frozen=True, slots=True)
class Release:
    """A call that was reserved for is not made."""

    call_id: UUID


Operation = Claim | Settle | Release
Answer = Refusal | Exception | None
"""None: done. Only a claim is ever refused."""


def commit(operations: Sequence[Operation]) -> list[Answer]:
    """Carry all of them out in one transaction: first what ends, so that there is room for what begins."""
    released = {operation.call_id for operation in operations if isinstance(operation, Release)}
    claims = [one for one in operations if isinstance(one, Claim) and one.reservation.call_id not in released]
    records = [operation.record for operation in operations if isinstance(operation, Settle)]
    with transaction.atomic():
        if records:
            book(records, believe_reservations=True)
        if released:
            reservations.release(released)
        refusals = reservations.admit(claims) if claims else []
    refused = {
        claim.reservation.call_id: refusal
        for claim, refusal in zip(claims, refusals, strict=True)
        if refusal is not None
    }
    return [refused.get(one.reservation.call_id) if isinstance(one, Claim) else None for one in operations]


def commit_each(operations: Sequence[Operation]) -> list[Answer]:
    """Carry each out in a transaction of its own, after the database has refused them together."""
    return [_commit_one(operation) for operation in operations]


def _commit_one(operation: Operation) -> Answer:
    if isinstance(operation, Settle):
        write_whatever_goes([operation.record])
        return None
    try:
        return commit([operation])[0]
    except AWAY:
        raise
    except Exception as error:
        log.exception("reservation_failed")
        return error if isinstance(error, Unavailable) else Unavailable()


def note(journal: Journal, operations: Sequence[Operation]) -> list[Answer]:
    """Write them into the journal. Who has limits is not let in: nobody knows whether there is room."""
    answers: list[Answer] = [
        Unavailable("Your budget cannot be checked at the moment. Please try again in a few seconds.")
        if isinstance(one, Claim) and one.lines
        else None
        for one in operations
    ]
    records = [one.record for one in operations if isinstance(one, Settle)]
    try:
        journal.append(
            holds=[one.reservation for one in operations if isinstance(one, Claim) and not one.lines],
            rows=records,
            released=[one.call_id for one in operations if isinstance(one, Release)],
        )
    except Exception as error:  # noqa: BLE001 - a full disk, say; callers must not wait for ever
        for record in records:
            report("ledger_row_lost", record, reason=type(error).__name__)
        return [Unavailable() if isinstance(one, Claim) else None for one in operations]
    return answers


def replay(journal: Journal) -> int:
    """Book what this process has written into its journal, and empty it; returns how many rows that were.

    May be cut off anywhere and repeated: a call that is booked already is left alone.
    """
    entries = journal.read()
    _book(list(entries.rows.values()))
    done = known_calls(entries.holds)
    with transaction.atomic():
        reservations.keep([held for call_id, held in entries.holds.items() if call_id not in done])
    journal.clear(entries)
    return len(entries.rows)


def adopt(journal: Journal, now: datetime) -> int:
    """Book what dead processes on this machine have left in their journals; returns how many rows that were."""
    count = 0
    for entries, orphan in journal.orphans():
        rows = [*entries.rows.values(), *reservations.as_crashed(entries.holds.values(), now)]
        _book(rows)
        orphan.remove()
        count += len(rows)
    return count


def sweep(now: datetime) -> int:
    """Book calls whose process has not said for long that it lives; returns how many those were."""
    with transaction.atomic():
        crashed = list(reservations.as_crashed(reservations.expired(now), now))
        if crashed:
            book(crashed)
    return len(crashed)


def _book(rows: Sequence[UsageRecord]) -> None:
    for start in range(0, len(rows), _CHUNK):
        write_whatever_goes(rows[start : start + _CHUNK])
