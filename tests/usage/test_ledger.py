"""The ledger's writer: one row each, sums with them, retries counted once, an absent database survived."""

import asyncio
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import OperationalError
from django.db.models import Sum
from structlog.testing import CapturingLogger

from usage import ledger as ledger_module
from usage.ledger import Ledger, write
from usage.models import UsageDay, UsageRecord


def _record(**more: Any) -> UsageRecord:
    now = datetime(2026, 3, 4, 23, 59, 59, tzinfo=UTC)
    fields: dict[str, Any] = {
        "run_id": "run_1", "user_id": "u", "account_id": "a", "model_id": "m", "provider": "p", "outcome": "finished",
        "input_tokens": 10, "output_tokens": 5, "micro_dollars": 7, "started_at": now, "ended_at": now,
    }  # fmt: skip
    return UsageRecord(**fields | more)


@pytest.mark.django_db
def test_rows_and_sums_are_written_together() -> None:
    write([_record(), _record(user_id="v"), _record()])
    write([_record(outcome="killed")])
    assert UsageRecord.objects.count() == 4
    days = {(d.user_id, d.outcome): (d.calls, d.input_tokens, d.micro_dollars) for d in UsageDay.objects.all()}
    assert days == {("u", "finished"): (2, 20, 14), ("v", "finished"): (1, 10, 7), ("u", "killed"): (1, 10, 7)}


@pytest.mark.django_db
def test_a_retry_counts_once() -> None:
    records = [_record(call_id=uuid.uuid4()) for _ in range(3)]
    write(records)
    write([_record(call_id=records[0].call_id), _record()])
    assert UsageRecord.objects.count() == 4
    assert UsageDay.objects.aggregate(calls=Sum("calls")) == {"calls": 4}


@pytest.mark.django_db
@pytest.mark.parametrize("wrong", [{"micro_dollars": -1}, {"reasoning_tokens": 6}])
def test_the_database_refuses_impossible_rows(wrong: dict[str, int]) -> None:
    with pytest.raises(Exception, match="constraint"):
        write([_record(**wrong)])


class _Written:
    """Stands in for the database: fails as often as told, then remembers."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.batches: list[int] = []

    def __call__(self, records: Sequence[UsageRecord]) -> None:
        if self.failures:
            self.failures -= 1
            raise OperationalError("away")
        self.batches.append(len(records))


async def test_many_calls_share_a_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    written = _Written()
    monkeypatch.setattr(ledger_module, "write", written)
    ledger = Ledger()
    await asyncio.gather(*(ledger.record(_record()) for _ in range(300)))
    assert sum(written.batches) == 300 and len(written.batches) < 20


async def test_a_short_absence_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    written = _Written(failures=2)
    monkeypatch.setattr(ledger_module, "write", written)
    await Ledger().record(_record())
    assert written.batches == [1]


async def test_a_caller_that_is_cancelled_leaves_its_row(monkeypatch: pytest.MonkeyPatch) -> None:
    written = _Written()
    monkeypatch.setattr(ledger_module, "write", written)
    ledger = Ledger()
    caller = asyncio.create_task(ledger.record(_record()))
    await asyncio.sleep(0)
    caller.cancel()
    await ledger.flush()
    assert written.batches == [1]


async def test_a_long_absence_leaves_the_row_in_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    log = CapturingLogger()
    monkeypatch.setattr(ledger_module, "log", log)
    monkeypatch.setattr(ledger_module, "write", _Written(failures=99))
    monkeypatch.setattr(ledger_module, "RETRY_AFTER", (0.0, 0.0))
    await Ledger().record(_record(run_id="run_lost"))
    lost = log.calls[-1]
    assert lost.args == ("ledger_row_lost",)
    assert (lost.kwargs["run_id"], lost.kwargs["micro_dollars"]) == ("run_lost", "7")


async def test_who_records_as_the_writer_leaves_is_written_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that ends in the very turn of the loop in which another one's commit completes."""
    gate = asyncio.Event()

    async def commit(function: Any, records: Sequence[UsageRecord]) -> None:
        await gate.wait()

    monkeypatch.setattr(ledger_module, "run_blocking", commit)
    ledger = Ledger()

    async def late() -> None:
        await gate.wait()
        await ledger.record(_record())

    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        group.create_task(ledger.record(_record()))
        await asyncio.sleep(0)
        group.create_task(late())
        await asyncio.sleep(0)
        gate.set()


@pytest.mark.parametrize("refusal", [ValueError("a lone row"), OverflowError("too large")])
async def test_a_row_that_the_database_refuses_takes_no_other_along(
    monkeypatch: pytest.MonkeyPatch, refusal: Exception
) -> None:
    written: list[str] = []

    async def commit(function: Any, records: Sequence[UsageRecord]) -> None:
        await asyncio.sleep(0)
        if any(record.user_id == "bad" for record in records):
            raise refusal
        written.extend(record.user_id for record in records)

    monkeypatch.setattr(ledger_module, "run_blocking", commit)
    ledger = Ledger()
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        for user in ("first", "a", "bad", "b"):
            group.create_task(ledger.record(_record(user_id=user)))
    await ledger.flush()
    assert sorted(written) == ["a", "b", "first"]
