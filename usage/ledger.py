"""Write ledger rows and everything that is summed from them, in one transaction. Everything here blocks."""

from collections.abc import Iterable, Sequence
from uuid import UUID

import structlog
from django.db import InterfaceError, OperationalError, transaction

from usage import group_sets, reservations, roll_ups
from usage.insert import insert
from usage.models import UsageRecord
from usage.platform import outbox

log = structlog.get_logger(__name__)

# The database is busy or away, and the same may go through later.
AWAY = (OperationalError, InterfaceError)


def write(records: Sequence[UsageRecord], *, deliver: bool = True) -> int:
    """Commit rows and their sums together; what was reserved for them is free again. Returns how many were new.

    Rows that are there already (a retry, or a sweeper that was faster) are left alone and not summed.
    """
    with transaction.atomic():
        return book(records, deliver=deliver)


def book(records: Sequence[UsageRecord], *, believe_reservations: bool = False, deliver: bool = True) -> int:
    """The same inside a transaction.

    `believe_reservations`: what was reserved to this moment has no row, as one goes when the other comes. Saves a look;
    if it were wrong for once, the database would refuse the row.
    `deliver`: the platform's books are to hear of them too, where there are any.
    """
    calls = {record.call_id for record in records}
    # First of all: whoever settles the same call meanwhile waits here, and then finds its row.
    released = reservations.release(calls)
    known = set() if believe_reservations and released == len(records) else known_calls(calls)
    new = [record for record in records if record.call_id not in known]
    group_sets.save(record.group_set for record in new)
    insert(new)
    if deliver:
        outbox.put(new)
    roll_ups.add(new)
    return len(new)


def write_whatever_goes(records: Sequence[UsageRecord], *, deliver: bool = True) -> int:
    """Commit rows; if the database refuses one of them, each by itself, so that it takes no other along. Returns how
    many were new.

    What it refuses goes to the log, whole, as event `ledger_row_refused`. Raises only when the database is away.
    """
    try:
        return write(records, deliver=deliver)
    except AWAY:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, the next row must not wait for it
        log.warning("ledger_write_failed", rows=len(records), reason=type(error).__name__)
        return sum(_write_one(record, deliver=deliver) for record in records)


def _write_one(record: UsageRecord, *, deliver: bool) -> int:
    try:
        return write([record], deliver=deliver)
    except AWAY:
        raise
    except Exception as error:  # noqa: BLE001 - see above
        report("ledger_row_refused", record, reason=type(error).__name__)
        return 0


def report(event: str, record: UsageRecord, *, reason: str) -> None:
    """Put a row that cannot be kept into the log. No traceback: a database's words repeat what it was given, and these
    fields say all of it."""
    fields = {field.attname: str(getattr(record, field.attname)) for field in record._meta.concrete_fields[1:]}
    log.error(event, reason=reason, **fields)


def known_calls(call_ids: Iterable[UUID]) -> set[UUID]:
    """Those of these calls that have a row."""
    return set(UsageRecord.objects.filter(call_id__in=list(call_ids)).values_list("call_id", flat=True))
