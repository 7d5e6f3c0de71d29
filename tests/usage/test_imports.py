"""Calls that the platform's other services have booked come into the ledger, each once and at the right price."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO
from typing import Any
from uuid import UUID

import pytest
from django.core.management import CommandError, call_command

from core.testing import own_blocking_thread
from llm.events import Usage
from llm.model import ModelCard
from tests.usage.conftest import reservation, row_of
from tests.usage.platform import PlatformBooks
from usage.ledger import write
from usage.models import Delivery, PlatformImport, RollUp, UsageRecord
from usage.platform.delivery import Deliverer
from usage.platform.imports import Importer, NotReadable, Report, record_of
from usage.platform.tables import PlatformTables
from usage.prices import Cost
from usage.roll_ups import differences
from usage.testing import Clock

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("tables")]

UUID_1 = "6f0c7f0e-1111-4222-8333-444455556666"
# As the first service of the platform writes them: the reasoning was added to an output that it is part of.
SEED = {
    "id": UUID_1, "requestId": "k3x9q", "user": "jdoe@example.edu", "time": "2025-08-01T14:05:09.123Z",
    "accountId": "lab-7", "inputTokens": Decimal(2000), "outputTokens": Decimal(380), "modelId": "gpt-4o",
    "details": {
        "userSetMaxTokenLimit": Decimal(2000), "reasoning_tokens": Decimal(80),
        "prompt_tokens_details": {"cached_tokens": Decimal(1000)}, "api_key_id": "jdoe@example.edu/ownerKey/9b",
    },
}  # fmt: skip
# As its successor does.
HEAD = {
    "id": "6f0c7f0e-1111-4222-8333-444455556667", "requestId": "unified-1", "user": "jdoe@example.edu",
    "time": "2025-08-02T00:00:00.000Z", "accountId": "general_account", "inputTokens": Decimal(900),
    "outputTokens": Decimal(50), "modelId": "us.anthropic.claude-x", "details": {"reasoning_tokens": Decimal(0)},
}  # fmt: skip
# As a service in Python does: a local time that names no zone, an id that is none.
PYTHON = {
    "id": "agent/7", "requestId": "", "user": "jdoe@example.edu", "time": "2025-08-02T08:00:00.654321",
    "inputTokens": Decimal(10), "outputTokens": Decimal(5), "modelId": "gpt-4o",
}  # fmt: skip


def priced(model_id: str, usage: Usage, moment: datetime) -> tuple[ModelCard, Cost]:
    """A micro-dollar a token, half for cached ones."""
    card = ModelCard(id=model_id, name=model_id, provider="azure")
    return card, Cost(usage.input + usage.output + usage.cache_read // 2, "test")


def run(tables: PlatformTables, since: datetime | None = None, **options: Any) -> Report:
    return Importer(tables, priced).run(since, **options)


def put(platform: PlatformBooks, *rows: dict[str, Any]) -> None:
    for row in rows:
        platform.put("usage", **row)
        platform.put("costs", id=row["user"], accountInfo="general_account#NA", dailyCost=1)


def test_rows_of_every_kind(platform: PlatformBooks, tables: PlatformTables) -> None:
    put(platform, SEED, HEAD, PYTHON)
    report = run(tables)
    assert (report.read, report.new, report.unreadable) == (3, 3, {})
    seed, head, python = UsageRecord.objects.order_by("started_at")
    assert (seed.call_id, seed.request_id, seed.account_id) == (UUID(UUID_1), "k3x9q", "lab-7")
    assert seed.api_key_id == "jdoe@example.edu/ownerKey/9b"
    assert (seed.input_tokens, seed.cache_read_tokens, seed.output_tokens, seed.reasoning_tokens) == (
        1000, 1000, 300, 80,
    )  # fmt: skip
    assert (seed.micro_dollars, seed.provider, seed.assistant) == (1000 + 500 + 300, "azure", "(imported)")
    assert seed.started_at == seed.ended_at == datetime(2025, 8, 1, 14, 5, 9, 123000, tzinfo=UTC)
    assert seed.raw_usage["outputTokens"] == 380 and seed.raw_usage["userSetMaxTokenLimit"] == 2000
    assert (head.input_tokens, head.output_tokens, head.account_id) == (900, 50, "general_account")
    assert (python.account_id, python.api_key_id) == ("general_account", "")
    assert python.started_at == datetime(2025, 8, 2, 8, 0, 0, 654321, tzinfo=UTC)
    # The platform has them already.
    assert not Delivery.objects.exists() and differences() == []
    assert RollUp.objects.filter(dimension="assistant", value="(imported)").exists()


def test_twice_is_once_and_the_second_run_begins_where_the_first_ended(
    platform: PlatformBooks, tables: PlatformTables
) -> None:
    put(platform, SEED, HEAD, PYTHON)
    assert run(tables).new == 3
    again = run(tables)
    assert (again.read, again.new) == (0, 0)  # they are older than the overlap
    fresh = {**SEED, "id": "fresh", "time": (datetime.now(UTC) - timedelta(hours=1)).isoformat()}
    put(platform, fresh)
    assert (run(tables).new, run(tables).new) == (1, 0)
    assert run(tables, datetime(2025, 1, 1, tzinfo=UTC)).read == 4
    assert PlatformImport.objects.get().rows == 4 == UsageRecord.objects.count()
    assert differences() == []


def test_our_own_rows_are_known_again(platform: PlatformBooks, tables: PlatformTables) -> None:
    record = row_of(reservation(Clock(datetime(2025, 8, 3, 9, 0, tzinfo=UTC)), 123), cache_read_tokens=7)
    write([record])
    Deliverer(tables).deliver_some(record.started_at, 10)
    put(platform, {**SEED, "user": "ann"})
    assert run(tables).new == 1
    assert UsageRecord.objects.get(call_id=record.call_id).assistant == ""


def test_a_ledger_that_was_lost_comes_back_as_it_was(platform: PlatformBooks, tables: PlatformTables) -> None:
    fields = {"cache_read_tokens": 70, "cache_write_tokens": 5, "reasoning_tokens": 3}
    record = row_of(reservation(Clock(datetime(2025, 8, 3, 9, 0, tzinfo=UTC)), 123), **fields)
    write([record])
    Deliverer(tables).deliver_some(record.started_at, 10)
    back = record_of(platform.one("usage", id=str(record.call_id)), priced)
    same = ("call_id", "user_id", "account_id", "api_key_id", "model_id", "micro_dollars", "input_tokens",
            "output_tokens", "started_at", *fields)  # fmt: skip
    assert {name: getattr(back, name) for name in same} == {name: getattr(record, name) for name in same}


def test_a_dry_run_writes_nothing(platform: PlatformBooks, tables: PlatformTables) -> None:
    put(platform, SEED, HEAD)
    assert run(tables, dry_run=True).new == 2
    assert not UsageRecord.objects.exists() and not PlatformImport.objects.exists()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"user": ""}, "no user_id"), ({"modelId": None}, "no model_id"), ({"time": "yesterday"}, "no time"),
        ({"time": None}, "no time"), ({"id": ""}, "no id"), ({"modelId": "m" * 256}, "model_id is too long"),
    ],
)  # fmt: skip
def test_what_cannot_be_a_row_says_why(change: dict[str, Any], why: str) -> None:
    with pytest.raises(NotReadable, match=why):
        record_of({**SEED, **change}, priced)


@pytest.mark.parametrize("odd", ["many", None, -5, Decimal("NaN"), [], {}, Decimal("1E+40")])
def test_numbers_that_are_none_count_as_nothing(odd: Any) -> None:
    details = {"reasoning_tokens": odd, "prompt_tokens_details": odd, "cache_write_tokens": odd}
    record = record_of({**SEED, "inputTokens": odd, "details": details}, priced)
    record.full_clean(exclude=["raw_usage"], validate_constraints=False)
    assert record.reasoning_tokens <= record.output_tokens and record.input_tokens >= 0


def test_one_bad_row_takes_no_other_along(platform: PlatformBooks, tables: PlatformTables) -> None:
    put(platform, {**SEED, "modelId": ""}, HEAD)
    report = run(tables)
    assert (report.read, report.new, report.unreadable) == (2, 1, {"no model_id": 1})


def test_the_command(platform: PlatformBooks) -> None:
    put(platform, SEED, {**HEAD, "modelId": ""})
    out, err = StringIO(), StringIO()
    with own_blocking_thread():
        call_command("import_platform_usage", "--dry-run", stdout=out, stderr=err)
        assert out.getvalue() == "2 rows read, 1 would be brought in.\n"
        call_command("import_platform_usage", "--since", "2025-08-01", stdout=out, stderr=err)
    assert out.getvalue().endswith("2 rows read, 1 brought in.\n") and "1 rows left out: no model_id." in err.getvalue()
    # The list price of gpt-4o: 2.50, 1.25 and 10 dollars per million.
    row = UsageRecord.objects.get()
    assert row.micro_dollars == 1000 * 2.5 + 1000 * 1.25 + 300 * 10
    assert row.provider == "openai" and row.price_version.startswith("genai-prices")


def test_the_command_without_a_platform_says_what_it_needs(settings: Any) -> None:
    settings.STATE_BACKEND = "database"
    with pytest.raises(CommandError, match="CHAT_USAGE_DYNAMO_TABLE"):
        call_command("import_platform_usage")


def test_a_platform_that_does_not_answer_is_said(platform: PlatformBooks, settings: Any) -> None:
    settings.PLATFORM_BOOKS = {**platform.names, "usage": "not-there"}
    with own_blocking_thread(), pytest.raises(CommandError, match=r"ResourceNotFoundException.*run it again"):
        call_command("import_platform_usage")


def test_calls_of_somebody_without_a_counter_come_too(platform: PlatformBooks, tables: PlatformTables) -> None:
    """Where a price was missing, those services wrote the call and no cost (billing-and-state §3.1)."""
    platform.put("usage", **SEED)
    platform.put("usage", **{**HEAD, "user": "new@example.edu"})
    assert run(tables).new == 2


def test_a_row_without_a_time_is_counted_and_not_passed_over(platform: PlatformBooks, tables: PlatformTables) -> None:
    put(platform, {name: value for name, value in SEED.items() if name != "time"})
    assert run(tables).unreadable == {"no time that can be read": 1}


def test_many_pages(platform: PlatformBooks, tables: PlatformTables) -> None:
    """A page is a mebibyte; one may well hold nothing that is asked for."""
    for number in range(12):
        old = {"time": "2024-01-01T00:00:00.000Z"} if number % 2 else {}
        put(platform, {**SEED, **old, "id": f"row {number}", "more": "x" * 300_000})
    pages: list[int] = []
    report = run(tables, datetime(2025, 1, 1, tzinfo=UTC), progress=lambda so_far: pages.append(so_far.read))
    assert (report.read, report.new) == (6, 6) and len(pages) > 2


def test_a_later_start_leaves_no_gap_behind(platform: PlatformBooks, tables: PlatformTables) -> None:
    """Somebody looks at last week only: the next ordinary run still goes on from where the last one ended."""
    PlatformImport.objects.create(pk=1, until=datetime(2025, 8, 1, tzinfo=UTC))
    put(platform, SEED, HEAD)
    assert run(tables, datetime(2025, 8, 20, tzinfo=UTC)).new == 0
    assert run(tables).new == 2
    assert run(tables).read == 0


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+10:00", "9999-12-31T23:59:59-10:00"])
def test_a_time_beyond_the_calendar_is_not_readable(moment: str) -> None:
    with pytest.raises(NotReadable, match="no time"):
        record_of({**SEED, "time": moment}, priced)
