"""The ledger is append-only, and the sums are the ledger's: searched, compared, broken and mended."""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction
from django.db.models import Count, Sum
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from usage import group_sets
from usage.ledger import write
from usage.models import Combination, GroupSetMember, Outcome, PooledCombination, Purpose, RollUp, UsageRecord
from usage.roll_ups import SUMS, differences, rebuild

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 3, 4, 23, 59, 59, 999_999, tzinfo=UTC)
DIMENSIONS = {
    "user": "user_id", "account": "account_id", "key": "api_key_id", "model": "model_id", "assistant": "assistant",
    "purpose": "purpose",
}  # fmt: skip


def row(groups: frozenset[str] = frozenset(), **fields: Any) -> UsageRecord:
    return UsageRecord(
        **{
            "call_id": uuid.uuid4(), "run_id": "run_1", "user_id": "u", "account_id": "a", "model_id": "m",
            "provider": "p", "outcome": "finished", "input_tokens": 10, "output_tokens": 5, "micro_dollars": 7,
            "started_at": NOW, "ended_at": NOW, "group_set": group_sets.name_of(groups),
        } | fields
    )  # fmt: skip


NAMES = st.sampled_from(["", "a", "b", "ü/é", "a'b"])
COUNTS = st.integers(0, 10**9)
ROWS = st.builds(
    row,
    groups=st.frozensets(st.sampled_from(["staff", "choir", "labs"])),
    user_id=NAMES, account_id=NAMES, api_key_id=NAMES, model_id=NAMES, assistant=NAMES,
    purpose=st.sampled_from(Purpose), outcome=st.sampled_from(Outcome), estimated=st.booleans(),
    price_version=st.sampled_from(["", "v1"]),
    input_tokens=COUNTS, cache_read_tokens=COUNTS, cache_write_tokens=COUNTS,
    output_tokens=st.integers(500, 10**9), reasoning_tokens=st.integers(0, 500), micro_dollars=st.integers(0, 10**12),
    started_at=st.datetimes(datetime(2026, 2, 27), datetime(2026, 3, 2), timezones=st.just(UTC)),
)  # fmt: skip


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(st.lists(ROWS, max_size=8), max_size=4), repeated=st.integers(0, 3))
def test_the_sums_are_the_ledgers_whatever_is_booked(batches: list[list[UsageRecord]], repeated: int) -> None:
    with transaction.atomic():
        for batch in batches:
            write(batch)
        if batches:
            write(batches[min(repeated, len(batches) - 1)])  # a retry
        assert differences() == []
        _compare_by_hand()
        transaction.set_rollback(True)


def _compare_by_hand() -> None:
    """Each dimension, summed without the SQL that `differences` uses."""
    rows = list(UsageRecord.objects.all())
    whole = (len(rows), sum(row.micro_dollars for row in rows))
    for dimension in ("all", *DIMENSIONS):
        for span in ("hour", "day"):
            sums = RollUp.objects.filter(dimension=dimension, span=span)
            assert tuple(sums.aggregate(n=Sum("calls", default=0), c=Sum("micro_dollars", default=0)).values()) == whole
    for group in ("staff", "choir", "labs"):
        sets = GroupSetMember.objects.filter(group_id=group).values("group_set")
        booked = UsageRecord.objects.filter(group_set__in=sets).aggregate(
            n=Count("pk"), c=Sum("micro_dollars", default=0)
        )
        summed = RollUp.objects.filter(dimension="group", value=group, span="day")
        assert summed.aggregate(n=Sum("calls", default=0), c=Sum("micro_dollars", default=0)) == booked


def test_what_a_sum_says() -> None:
    write(
        [
            row(
                frozenset({"staff"}),
                outcome="failed",
                estimated=True,
                cache_read_tokens=1,
                cache_write_tokens=2,
                first_token_ms=500,
            ),
            row(frozenset({"staff", "choir"}), price_version="v1", reasoning_tokens=3, api_key_id="k"),
        ]
    )
    sums = {(each.dimension, each.value, each.span): each for each in RollUp.objects.all()}
    assert {name: getattr(sums["group", "staff", "hour"], name) for name in SUMS} == {
        "calls": 2, "failed_calls": 1, "estimated_calls": 1, "unpriced_calls": 1, "input_tokens": 20,
        "cache_read_tokens": 1, "cache_write_tokens": 2, "output_tokens": 10, "reasoning_tokens": 3,
        "micro_dollars": 14, "first_token_500ms": 1, "first_token_1s": 0, "first_token_2s": 0, "first_token_5s": 0,
        "first_token_later": 0,
    }  # fmt: skip
    assert sums["group", "choir", "day"].calls == sums["key", "k", "day"].calls == sums["key", "", "day"].calls == 1
    assert sums["all", "", "hour"].starts_at == NOW.replace(minute=0, second=0, microsecond=0)
    assert sums["all", "", "day"].starts_at == NOW.replace(hour=0, minute=0, second=0, microsecond=0)
    for kind in (Combination, PooledCombination):
        assert kind.objects.filter(span="month").aggregate(calls=Sum("calls")) == {"calls": 2}


def test_a_retry_counts_once() -> None:
    rows = [row(), row()]
    write(rows)
    write([rows[0], row()])
    assert UsageRecord.objects.count() == 3 and RollUp.objects.get(dimension="all", span="day").calls == 3


@pytest.mark.parametrize(
    "wrong",
    [{"micro_dollars": -1}, {"reasoning_tokens": 6}, {"outcome": "lost"}, {"purpose": "fun"}, {"input_tokens": -1}],
)
def test_the_database_refuses_impossible_rows(wrong: dict[str, Any]) -> None:
    with pytest.raises(Exception, match="constraint"):
        write([row(**wrong)])


@pytest.mark.parametrize(
    "change",
    [
        lambda kept: kept.save(),
        lambda kept: kept.delete(),
        lambda kept: UsageRecord.objects.update(micro_dollars=0),
        lambda kept: UsageRecord.objects.all().delete(),
        lambda kept: UsageRecord.objects.bulk_update([kept], ["micro_dollars"]),
    ],
)
def test_the_code_has_no_way_to_change_a_row(change: Callable[[UsageRecord], Any]) -> None:
    write([row()])
    with pytest.raises(TypeError, match="append-only"):
        change(UsageRecord.objects.get())


@pytest.mark.parametrize("sql", ["UPDATE usage_usagerecord SET micro_dollars = 0", "DELETE FROM usage_usagerecord"])
def test_the_database_refuses_to_change_a_row(sql: str) -> None:
    write([row()])
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(sql)
    assert UsageRecord.objects.get().micro_dollars == 7


def test_broken_sums_are_found_and_mended(capsys: pytest.CaptureFixture[str]) -> None:
    write([row(frozenset({"staff"})), row(user_id="v")])
    call_command("check_books")
    assert "2 calls" in capsys.readouterr().out
    RollUp.objects.filter(dimension="user", value="v", span="hour").update(micro_dollars=8)
    RollUp.objects.filter(dimension="group").delete()
    Combination.objects.filter(user_id="v", span="month").update(calls=11)
    PooledCombination.objects.filter(span="day").update(output_tokens=12345)
    with pytest.raises(CommandError, match="rebuild_roll_ups"):
        call_command("check_books")
    told = capsys.readouterr().err
    for wrong in ("'micro_dollars': '8'", "'value': 'staff'", "'calls': '11'", "'output_tokens': '12345'"):
        assert wrong in told
    call_command("rebuild_roll_ups")
    assert differences() == [] and rebuild() == sum(
        kind.objects.count() for kind in (RollUp, Combination, PooledCombination)
    )


def test_a_set_of_groups_has_one_name() -> None:
    assert group_sets.name_of({"a", "b"}) == group_sets.name_of(["b", "a"]) != group_sets.name_of({"a"})
    assert group_sets.name_of(()) == "" and group_sets.groups_of([""]) == {}
    assert group_sets.name_of({"a\0b"}) != group_sets.name_of({"a", "b"})
