"""Begin a new day in the platform's counters, in place of its own nightly job (billing-and-state §3.6, §10).

For each counter, in one transaction: today's sum goes into the month and into the history of the day that is over, on
the first of a month the month into its history; then the day begins at 0. The counter is changed only if it is still
as it was read, else it is read again: what comes meanwhile is never lost. A mark on the counter makes a second run on
the same day do nothing, so that a run may be broken off and repeated. Everything here blocks.
"""

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import structlog

from accounts.stores.rows import iso
from core.dynamodb import ConditionFailed, DynamoFailed, Path, Write, write_together
from usage.counters import HOURS
from usage.platform.rows import RECORD_TYPE, Row, day_key, dollars, micro_dollars, month_key
from usage.platform.tables import PlatformTables

log = structlog.get_logger(__name__)

MARK = "rolledOn"
"""Ours, on counters: the day that they have begun. No other service reads it."""
# A counter that changes so often between reading and writing is not to be had; the next run may be luckier.
TRIES = 20
_PAUSE_SECONDS = 0.05


@dataclass(slots=True)
class Report:
    rolled: int = 0
    already: int = 0
    micro_dollars: int = 0
    """Moved from the day into the month."""
    failed: dict[str, int] = field(default_factory=dict)
    """Why, and how many."""


def roll(tables: PlatformTables, now: datetime, *, check: Callable[[], None] = lambda: None) -> Report:
    """Every counter; `check` is called before each and may raise to break off. Raises DynamoFailed when the table
    cannot be read. What was done by then is done."""
    report = Report()
    for row in tables.costs.scan():
        check()
        try:
            _roll_one(tables, row, now, report)
        except (DynamoFailed, ConditionFailed) as error:  # one counter takes no other along
            reason = error.reason if isinstance(error, DynamoFailed) else "it changes all the time"
            report.failed[reason] = report.failed.get(reason, 0) + 1
            log.warning("counter_not_rolled", user=row.get("id"), info=row.get("accountInfo"), reason=reason)
    return report


def _roll_one(tables: PlatformTables, row: Row, now: datetime, report: Report) -> None:
    key = {"id": row["id"], "accountInfo": row["accountInfo"]}
    today = now.astimezone(UTC).date()
    current: Row | None = row
    for attempt in range(TRIES):
        if attempt:
            time.sleep(random.uniform(0, _PAUSE_SECONDS * attempt))  # noqa: S311 - spreads those that meet
            current = tables.costs.get(key)
        if current is None or current.get(MARK) == today.isoformat():
            report.already += 1
            return
        try:
            write_together(_writes(tables, current, today, now))
        except ConditionFailed:
            continue
        except DynamoFailed as error:
            if error.reason != "TransactionConflict":
                raise
            continue
        report.rolled += 1
        report.micro_dollars += micro_dollars(current.get("dailyCost", 0))
        return
    raise ConditionFailed


def _writes(tables: PlatformTables, row: Row, today: date, now: datetime) -> list[Write]:
    day, month = micro_dollars(row.get("dailyCost", 0)), micro_dollars(row.get("monthlyCost", 0))
    began, info = _began(row, today), row["accountInfo"]
    is_new_month = (began.year, began.month) != (today.year, today.month)
    seen = {(name,): row[name] for name in ("dailyCost", "monthlyCost") if name in row}
    writes = [
        tables.costs.updating(
            {"id": row["id"], "accountInfo": info},
            {
                ("dailyCost",): Decimal(0),
                ("hourlyCost",): [Decimal(0)] * HOURS,
                ("monthlyCost",): Decimal(0) if is_new_month else dollars(month + day),
                ("record_type",): RECORD_TYPE,
                (MARK,): today.isoformat(),
            },
            equal=seen,
            absent=[(name,) for name in ("dailyCost", "monthlyCost") if name not in row],
        )
    ]
    if day:
        over = day_key(row["id"], today - timedelta(days=1))
        writes.append(_history(tables, over, info, {("dailyCost",): dollars(day)}, now))
    if is_new_month and month + day:
        over = month_key(row["id"], began)
        writes.append(_history(tables, over, info, {("monthlyCost",): dollars(month + day)}, now))
    return writes


def _began(row: Row, today: date) -> date:
    """A day of the month that the counter's month is. Without our mark it was begun by another job, last night."""
    try:
        return date.fromisoformat(str(row[MARK]))
    except (KeyError, ValueError):
        return today - timedelta(days=1)


def _history(tables: PlatformTables, over: str, info: str, added: Mapping[Path, Decimal], now: datetime) -> Write:
    """Added and not set: calls of that day that come late go there too (`usage.platform.delivery`)."""
    key = {"userDate": over, "accountInfo": info}
    return tables.history.updating(key, add=added, default={("timestamp",): iso(now), ("record_type",): RECORD_TYPE})
