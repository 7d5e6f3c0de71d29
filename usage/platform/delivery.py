"""Tell the platform's books of calls: one row in `chat-usage` and its cost in the counters, together or not at all.

The row's id is the call's: a call whose row is there was delivered, and is not counted again. Everything here blocks.
Sources: billing-and-state §2.1 to 2.3, §3.4, §3.6; DynamoDB: TransactWriteItems.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from time import monotonic
from typing import Any, NamedTuple
from uuid import UUID

import structlog

from accounts.stores.rows import iso
from core.dynamodb import CONNECT, READ, TRIES, ConditionFailed, DynamoFailed, Path, Write, write_together
from usage.counters import HOURS
from usage.models import UsageRecord
from usage.platform import outbox
from usage.platform.rows import RECORD_TYPE, account_info, day_key, dollars, month_key
from usage.platform.tables import PlatformTables

log = structlog.get_logger(__name__)

SOURCE = "amplify_chat"
"""Stands in the details of rows that this service wrote."""
# A transaction takes 100 writes; these calls, a counter, and two rows of history for each of some days.
CALLS_A_TRANSACTION = 30
# The table itself does not take such an item, however often it is sent.
_NEVER = frozenset({"ValidationError", "ValidationException", "ItemCollectionSizeLimitExceeded"})
# So many counters of one round failed: it is the platform that is away, and the others need not be asked.
ENOUGH_FAILURES = 3
# Within the lease of what is claimed. The last delivery begun takes two requests and a pause before each second try.
_SECONDS = outbox.LEASE.total_seconds() - 2 * (TRIES * (CONNECT + READ) + 1.0)

_Place = tuple[str, str, str]
"""Table (`costs` or `history`), and the two halves of an item's key."""


class Failure(NamedTuple):
    record: UsageRecord
    reason: str
    """Empty: it was not tried, for want of time."""
    for_good: bool = False


class Deliverer:
    """Delivers claimed rows. Remembers which counters are there, so that most calls take one request."""

    REMEMBER = 10_000

    def __init__(self, tables: PlatformTables) -> None:
        self._tables = tables
        self._begun: set[tuple[str, str]] = set()
        self._until = float("inf")
        self._stopped = False

    def stop(self) -> None:
        """Nothing more is begun; what is claimed is given back. For another thread to call."""
        self._stopped = True

    def deliver_some(self, now: datetime, limit: int) -> int:
        """Deliver what is due; returns how many rows were tried, delivered or not."""
        self._until = monotonic() + _SECONDS
        records, failed_counters, tried = outbox.claim(now, limit), 0, 0
        for some in _together(records):
            is_over = failed_counters >= ENOUGH_FAILURES
            failures = [Failure(record, "") for record in some] if is_over else list(self._deliver(some, now))
            _note(some, failures, now)
            tried += len(some) - sum(not failure.reason for failure in failures)
            failed_counters += any(failure.reason and not failure.for_good for failure in failures)
        return tried

    def _deliver(self, records: Sequence[UsageRecord], now: datetime) -> Iterator[Failure]:
        """Of one counter, all at once; where some cannot be delivered, one by one, so that none takes another along."""
        if self._stopped or monotonic() > self._until:
            yield from (Failure(record, "") for record in records)
            return
        key = _key(records[0])
        was_begun = key in self._begun
        try:
            self._begin(key)
            write_together(list(self._writes(records, now)))
        except ConditionFailed:
            # One of the rows is there: it was delivered before, by somebody who died before saying so.
            if len(records) > 1:
                yield from self._one_by_one(records, now)
        except DynamoFailed as error:
            self._begun.discard(key)
            if error.reason not in _NEVER:
                yield from (Failure(record, error.reason) for record in records)
            elif was_begun:
                yield from self._deliver(records, now)  # somebody may have removed the counter: begin it anew
            elif len(records) > 1:
                yield from self._one_by_one(records, now)
            else:
                yield Failure(records[0], error.reason, for_good=True)
        except Exception as error:  # noqa: BLE001 - a fault of ours; the other rows must not wait until it is mended
            if len(records) > 1:
                yield from self._one_by_one(records, now)
            else:
                yield Failure(records[0], type(error).__name__)

    def _one_by_one(self, records: Sequence[UsageRecord], now: datetime) -> Iterator[Failure]:
        for record in records:
            yield from self._deliver([record], now)

    def _begin(self, key: tuple[str, str]) -> None:
        """Make the counter unless it is known, as one that is added to must have all its hours."""
        if key in self._begun:
            return
        self._tables.costs.update(
            {"id": key[0], "accountInfo": key[1]},
            default={
                ("dailyCost",): Decimal(0),
                ("hourlyCost",): [Decimal(0)] * HOURS,
                ("record_type",): RECORD_TYPE,
            },
        )
        if len(self._begun) >= self.REMEMBER:
            self._begun.clear()
        self._begun.add(key)

    def _writes(self, records: Sequence[UsageRecord], now: datetime) -> Iterator[Write]:
        for record in records:
            yield self._tables.usage.creating(usage_row(record), key="id")
        for (table, first, second), added in _added(records, now.date()).items():
            amounts = {path: dollars(cost) for path, cost in added.items()}
            if table == "costs":
                yield self._tables.costs.updating({"id": first, "accountInfo": second}, add=amounts)
            else:
                key = {"userDate": first, "accountInfo": second}
                yield self._tables.history.updating(key, add=amounts, default={("timestamp",): iso(now)})


def _added(records: Iterable[UsageRecord], today: date) -> Mapping[_Place, Mapping[Path, int]]:
    """Micro-dollars to add, by item and attribute. What is of today counts today; what is older goes where the nightly
    job has put the rest of its day: into this month's counter or, if its month is over, into that month's history."""
    sums: dict[_Place, dict[Path, int]] = defaultdict(lambda: defaultdict(int))
    for record in records:
        moment, cost = record.started_at.astimezone(UTC), record.micro_dollars
        if not cost:
            continue
        user_id, info = _key(record)
        counter = sums["costs", user_id, info]
        if moment.date() >= today:
            counter["dailyCost",] += cost
            counter["hourlyCost", moment.hour] += cost
            continue
        sums["history", day_key(user_id, moment.date()), info]["dailyCost",] += cost
        if (moment.year, moment.month) == (today.year, today.month):
            counter["monthlyCost",] += cost
        else:
            sums["history", month_key(user_id, moment.date()), info]["monthlyCost",] += cost
    return {place: added for place, added in sums.items() if added}


def usage_row(record: UsageRecord) -> dict[str, Any]:
    """The item of `chat-usage`. Input is all that was read, cached or not, and output all that was written, reasoning
    included: as most vendors count, and each token once."""
    details: dict[str, Any] = {
        "reasoning_tokens": record.reasoning_tokens,
        "prompt_tokens_details": {"cached_tokens": record.cache_read_tokens},
        # Ours: what the importer needs to know it again, and what no other attribute tells.
        "source": SOURCE,
        "cache_write_tokens": record.cache_write_tokens,
        "cost": dollars(record.micro_dollars),
    }
    if record.api_key_id:
        details["api_key_id"] = record.api_key_id
    return {
        "id": str(record.call_id),
        "requestId": record.request_id or record.run_id,
        "user": record.user_id,
        "time": iso(record.started_at),
        "accountId": record.account_id,
        "inputTokens": record.input_tokens + record.cache_read_tokens + record.cache_write_tokens,
        "outputTokens": record.output_tokens,
        "modelId": record.model_id,
        "details": details,
    }


def _key(record: UsageRecord) -> tuple[str, str]:
    return record.user_id, account_info(record.account_id, record.api_key_id)


def _together(records: Iterable[UsageRecord]) -> Iterator[list[UsageRecord]]:
    """Those that count in one counter, as two transactions on one item would only hinder each other."""
    by_counter: dict[tuple[str, str], list[UsageRecord]] = defaultdict(list)
    for record in records:
        by_counter[_key(record)].append(record)
    for found in by_counter.values():
        for start in range(0, len(found), CALLS_A_TRANSACTION):
            yield found[start : start + CALLS_A_TRANSACTION]


def _note(records: Sequence[UsageRecord], failures: Sequence[Failure], now: datetime) -> None:
    """Say in the outbox what has become of each."""
    not_delivered = {failure.record.call_id for failure in failures}
    outbox.delivered([one.call_id for one in records if one.call_id not in not_delivered])
    by_end: dict[tuple[str, bool], list[UUID]] = defaultdict(list)
    for failure in failures:
        by_end[failure.reason, failure.for_good].append(failure.record.call_id)
    for (reason, for_good), calls in by_end.items():
        if not reason:
            outbox.give_back(calls, now)
            continue
        event = "delivery_set_aside" if for_good else "delivery_failed"
        log.warning(event, calls=len(calls), first=str(calls[0]), tables="platform", reason=reason)
        outbox.failed(calls, reason, now, for_good=for_good)
