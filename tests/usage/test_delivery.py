"""Calls reach the platform's books: in their shape, in the right counter, each once."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from threading import Thread
from typing import Any
from unittest.mock import patch

import pytest
from django.db import transaction
from structlog.testing import capture_logs

from accounts.principal import Principal
from core.dynamodb import DynamoFailed
from core.errors import ConfigurationError
from core.ids import new_uuid
from tests.usage.conftest import reservation, row_of
from tests.usage.platform import PlatformBooks
from usage.ledger import write
from usage.models import Delivery, UsageRecord
from usage.platform import delivery, outbox
from usage.platform.delivery import CALLS_A_TRANSACTION, Deliverer
from usage.platform.tables import PlatformTables, platform_tables
from usage.roll_ups import differences
from usage.testing import Clock

NOON = datetime(2026, 3, 4, 12, 5, tzinfo=UTC)
KEY = "ann/ownerKey/1"
INFO = f"lab-7#{KEY}"

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("tables")]


@pytest.fixture
def deliverer(tables: PlatformTables) -> Deliverer:
    return Deliverer(tables)


def call(cost: int, moment: datetime = NOON, **fields: Any) -> UsageRecord:
    """In the ledger, and in the outbox with it."""
    record = row_of(reservation(Clock(moment), cost), **fields)
    write([record])
    return record


def hours(**costs: str) -> list[Decimal]:
    """`h14="0.5"`: what was spent in the hour of 14."""
    return [Decimal(costs.get(f"h{hour}", "0")) for hour in range(24)]


def test_a_call_in_the_shape_of_the_platform(deliverer: Deliverer, platform: PlatformBooks) -> None:
    record = call(
        41_200, request_id="k3x9q", model_id="gpt-4o", input_tokens=818, cache_read_tokens=1000, cache_write_tokens=24,
        output_tokens=311, reasoning_tokens=90,
    )  # fmt: skip
    assert deliverer.deliver_some(NOON, 100) == 1
    assert platform.all("usage") == [
        {
            "id": str(record.call_id), "requestId": "k3x9q", "user": "ann", "time": "2026-03-04T12:05:00.000Z",
            "accountId": "lab-7", "inputTokens": 1842, "outputTokens": 311, "modelId": "gpt-4o",
            "details": {
                "reasoning_tokens": 90, "prompt_tokens_details": {"cached_tokens": 1000}, "api_key_id": KEY,
                "source": "amplify_chat", "cache_write_tokens": 24, "cost": Decimal("0.0412"),
            },
        }
    ]  # fmt: skip
    assert platform.all("costs") == [
        {"id": "ann", "accountInfo": INFO, "dailyCost": Decimal("0.0412"), "hourlyCost": hours(h12="0.0412"),
         "record_type": "cost"}
    ]  # fmt: skip
    assert platform.all("history") == [] and not Delivery.objects.exists()
    assert deliverer.deliver_some(NOON, 100) == 0


def test_a_person_who_has_signed_in_has_no_key(deliverer: Deliverer, platform: PlatformBooks) -> None:
    held = reservation(Clock(NOON), 7, principal=Principal(user_id="ben"))
    write([row_of(held)])
    deliverer.deliver_some(NOON, 100)
    (row,) = platform.all("usage")
    assert row["accountId"] == "general_account" and "api_key_id" not in row["details"]
    assert platform.counter("ben", "general_account#NA")["dailyCost"] == Decimal("0.000007")


def test_a_call_that_costs_nothing_has_a_row_and_adds_nothing(deliverer: Deliverer, platform: PlatformBooks) -> None:
    call(0)
    deliverer.deliver_some(NOON, 100)
    assert len(platform.all("usage")) == 1
    assert [row["dailyCost"] for row in platform.all("costs")] == [0]


def test_calls_add_up_with_those_of_other_services(deliverer: Deliverer, platform: PlatformBooks) -> None:
    platform.spent_by_others("ann", INFO, "0.5", hour=3)
    for number in range(CALLS_A_TRANSACTION + 5):
        call(1_000, NOON + timedelta(hours=number % 2))
    later = NOON + timedelta(hours=1)
    assert deliverer.deliver_some(later, 100) == CALLS_A_TRANSACTION + 5
    counter = platform.counter("ann", INFO)
    assert counter["dailyCost"] == Decimal("0.535")
    assert counter["hourlyCost"] == hours(h3="0.5", h12="0.018", h13="0.017")


@pytest.mark.parametrize("there", [{}, {"dailyCost": Decimal("0.25")}, {"hourlyCost": [Decimal(1)] * 24}])
def test_a_counter_that_another_service_has_begun_otherwise(
    deliverer: Deliverer, platform: PlatformBooks, there: dict[str, Any]
) -> None:
    platform.put("costs", id="ann", accountInfo=INFO, **there)
    call(250_000)
    deliverer.deliver_some(NOON, 100)
    counter = platform.counter("ann", INFO)
    assert counter["dailyCost"] == there.get("dailyCost", 0) + Decimal("0.25")
    assert counter["hourlyCost"][12] == there.get("hourlyCost", hours())[12] + Decimal("0.25")


def test_a_counter_that_somebody_has_removed_begins_anew(deliverer: Deliverer, platform: PlatformBooks) -> None:
    call(1_000)
    deliverer.deliver_some(NOON, 100)
    platform.table("costs").delete_item(Key={"id": "ann", "accountInfo": INFO})
    call(2_000)
    deliverer.deliver_some(NOON, 100)
    assert platform.counter("ann", INFO)["hourlyCost"] == hours(h12="0.002")
    assert not Delivery.objects.exists()


def test_what_was_delivered_before_a_death_counts_once(deliverer: Deliverer, platform: PlatformBooks) -> None:
    """Whoever delivered died before saying so; among rows that were not delivered yet."""
    records = [call(1_000) for _ in range(3)]
    with patch.object(outbox, "delivered", side_effect=SystemExit), pytest.raises(SystemExit):
        Deliverer(deliverer._tables).deliver_some(NOON, 2)
    assert platform.counter("ann", INFO)["dailyCost"] == Decimal("0.002")
    assert deliverer.deliver_some(NOON, 100) == 1  # the two are still claimed
    assert deliverer.deliver_some(NOON + outbox.LEASE, 100) == 2
    assert platform.counter("ann", INFO)["dailyCost"] == Decimal("0.003")
    assert {row["id"] for row in platform.all("usage")} == {str(one.call_id) for one in records}
    assert not Delivery.objects.exists()


def test_a_day_that_is_over_goes_where_its_rest_is(deliverer: Deliverer, platform: PlatformBooks) -> None:
    """Today; two days of this month, and two of the last: into counters, days and months."""
    platform.put("history", userDate="ann#2026-02", accountInfo=INFO, monthlyCost=Decimal(40), timestamp="then")
    for day, cost in ((4, 1), (3, 20), (1, 300)):
        call(cost * 1_000, NOON.replace(day=day))
    call(4_000_000, datetime(2026, 2, 28, 23, 59, 59, tzinfo=UTC))
    call(5_000_000, datetime(2026, 1, 31, 0, 0, tzinfo=UTC))
    assert deliverer.deliver_some(NOON, 100) == 5
    counter = platform.counter("ann", INFO)
    assert (counter["dailyCost"], counter["monthlyCost"]) == (Decimal("0.001"), Decimal("0.32"))
    assert counter["hourlyCost"] == hours(h12="0.001")
    history = {row["userDate"]: row for row in platform.all("history")}
    assert {key: row.get("dailyCost") for key, row in history.items() if len(key) == len("ann#2026-01-01")} == {
        "ann#2026-03-03": Decimal("0.02"), "ann#2026-03-01": Decimal("0.3"),
        "ann#2026-02-28": Decimal(4), "ann#2026-01-31": Decimal(5),
    }  # fmt: skip
    assert history["ann#2026-02"]["monthlyCost"] == 44 and history["ann#2026-02"]["timestamp"] == "then"
    assert history["ann#2026-01"]["monthlyCost"] == 5
    assert history["ann#2026-01"]["timestamp"] == "2026-03-04T12:05:00.000Z"


def test_yesterdays_calls_wait_until_the_night_is_over(deliverer: Deliverer, platform: PlatformBooks) -> None:
    call(1_000, datetime(2026, 3, 3, 23, 59, tzinfo=UTC))
    call(2_000, datetime(2026, 3, 4, 0, 1, tzinfo=UTC))
    assert deliverer.deliver_some(datetime(2026, 3, 4, 0, 9, tzinfo=UTC), 100) == 0
    assert deliverer.deliver_some(datetime(2026, 3, 4, 0, 59, tzinfo=UTC), 100) == 1
    assert platform.counter("ann", INFO)["dailyCost"] == Decimal("0.002")
    assert deliverer.deliver_some(datetime(2026, 3, 4, 1, 0, tzinfo=UTC), 100) == 1
    counter = platform.counter("ann", INFO)
    assert (counter["dailyCost"], counter["monthlyCost"]) == (Decimal("0.002"), Decimal("0.001"))


def test_an_account_may_be_called_as_it_likes(deliverer: Deliverer, platform: PlatformBooks) -> None:
    call(1_000, account_id="12#34#NA")
    deliverer.deliver_some(NOON, 100)
    assert platform.counter("ann", f"12#34#NA#{KEY}")["dailyCost"] == Decimal("0.001")


def test_a_platform_that_is_away_is_asked_again_later_each_time(deliverer: Deliverer, platform: PlatformBooks) -> None:
    call(1_000)
    away = DynamoFailed("costs", "transact_write_items", "EndpointConnectionError")
    now, pauses = NOON, []
    with patch.object(delivery, "write_together", side_effect=away):
        for _ in range(12):
            assert deliverer.deliver_some(now, 100) == 1
            waiting = Delivery.objects.get()
            assert (waiting.error, waiting.set_aside) == ("EndpointConnectionError", False)
            pauses.append((waiting.due_at - now).total_seconds())
            now = waiting.due_at
    expected = [min(2.0**number, outbox.LONGEST_PAUSE.total_seconds()) for number in range(12)]
    assert all(most / 2 <= pause <= most for pause, most in zip(pauses, expected, strict=True))
    assert deliverer.deliver_some(now, 100) == 1 and not Delivery.objects.exists()
    assert platform.counter("ann", INFO)["dailyCost"] == Decimal("0.001")


def test_what_the_tables_never_take_is_set_aside_and_blocks_nothing(
    deliverer: Deliverer, platform: PlatformBooks
) -> None:
    platform.put("costs", id="odd", accountInfo=INFO, dailyCost="a text", hourlyCost=[])
    bad, good = call(1_000, user_id="odd"), call(2_000)
    with capture_logs() as logs:
        assert deliverer.deliver_some(NOON, 100) == 2
    assert platform.counter("ann", INFO)["dailyCost"] == Decimal("0.002")
    aside = Delivery.objects.get()
    assert (aside.call_id, aside.set_aside) == (bad.call_id, True)
    assert [line["event"] for line in logs] == ["delivery_set_aside"]
    assert outbox.waiting() == (0, None, 1)
    assert [row["id"] for row in platform.all("usage")] == [str(good.call_id)]  # with its cost, or not at all

    platform.put("costs", id="odd", accountInfo=INFO)  # mended
    Delivery.objects.update(set_aside=False)
    deliverer.deliver_some(NOON + timedelta(days=0, hours=1), 100)
    assert platform.counter("odd", INFO)["dailyCost"] == Decimal("0.001") and not Delivery.objects.exists()


def test_many_at_once_from_several_threads_count_once(tables: PlatformTables, platform: PlatformBooks) -> None:
    """Processes that have, for whatever reason, claimed the same rows."""
    records = [call(1_000) for _ in range(40)]
    deliverers = [Deliverer(tables) for _ in range(4)]
    threads = [
        Thread(target=lambda one=one, part=records[number * 5 :]: list(one._deliver(part[:25], NOON)))
        for number, one in enumerate(deliverers)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert platform.counter("ann", INFO)["dailyCost"] == Decimal("0.040")
    assert len(platform.all("usage")) == 40


def test_a_row_and_its_delivery_are_written_together() -> None:
    with pytest.raises(RuntimeError), transaction.atomic():
        call(1_000)
        raise RuntimeError
    assert not UsageRecord.objects.exists() and not Delivery.objects.exists()
    record = call(1_000)
    write([record])  # a retry
    assert Delivery.objects.count() == UsageRecord.objects.count() == 1
    assert differences() == []


def test_what_waits_is_told(deliverer: Deliverer) -> None:
    assert outbox.waiting() == (0, None, 0)
    call(1, NOON - timedelta(hours=2))
    call(2)
    assert outbox.waiting() == (2, NOON - timedelta(hours=2), 0)


def test_without_a_platform_nothing_waits(settings: Any) -> None:
    settings.STATE_BACKEND = "database"
    call(1_000)
    assert platform_tables() is None and not Delivery.objects.exists()


def test_some_of_the_tables_are_not_enough(settings: Any) -> None:
    settings.PLATFORM_BOOKS = {"usage": "u", "costs": "", "history": "h", "admin": "a"}
    with pytest.raises(ConfigurationError, match="set COST_CALCULATIONS_DYNAMO_TABLE to"):
        platform_tables()
    settings.PLATFORM_BOOKS = {"usage": "", "costs": "", "history": "", "admin": "a"}
    assert platform_tables() is None


def test_a_key_of_the_ledger_is_the_tables_too(deliverer: Deliverer, platform: PlatformBooks) -> None:
    record = call(1, call_id=new_uuid())
    deliverer.deliver_some(NOON, 1)
    assert platform.one("usage", id=str(record.call_id))["user"] == "ann"


@pytest.mark.parametrize("odd", [{"user_id": ""}, {"api_key_id": "k" * 600, "account_id": "ü" * 255}])
def test_a_key_that_no_table_takes_is_set_aside_and_blocks_nothing(
    deliverer: Deliverer, platform: PlatformBooks, odd: dict[str, str]
) -> None:
    """The counter itself cannot be begun: DynamoDB has no empty keys, and none of more than 1,024 bytes."""
    bad = [call(1_000, **odd) for _ in range(2)]
    call(2_000, NOON + timedelta(seconds=1))
    assert deliverer.deliver_some(NOON + timedelta(seconds=1), 100) == 3
    assert platform.counter("ann", INFO)["dailyCost"] == Decimal("0.002")
    aside = Delivery.objects.all()
    assert {(one.call_id, one.set_aside) for one in aside} == {(one.call_id, True) for one in bad}


def test_nothing_is_claimed_so_late_that_it_might_arrive_on_the_next_day(deliverer: Deliverer) -> None:
    midnight = datetime(2026, 3, 5, tzinfo=UTC)
    call(1_000)
    assert deliverer.deliver_some(midnight - outbox.LEASE, 100) == 0
    assert deliverer.deliver_some(midnight - outbox.LEASE - timedelta(seconds=1), 100) == 1


def test_what_there_is_no_time_for_is_given_back_untried(
    tables: PlatformTables, platform: PlatformBooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table that answers slowly must not keep rows past their lease, or past midnight."""
    for user in ("ann", "ben", "cem"):
        call(1_000, user_id=user)
    slow = Slow()
    monkeypatch.setattr(delivery, "monotonic", slow)
    monkeypatch.setattr(delivery, "write_together", slow.by(outbox.LEASE.total_seconds(), delivery.write_together))
    assert Deliverer(tables).deliver_some(NOON, 100) == 1
    assert len(platform.all("usage")) == 1
    assert list(Delivery.objects.values_list("due_at", "tries", "error")) == [(NOON, 0, "")] * 2
    assert Deliverer(tables).deliver_some(NOON, 100) == 1  # at once, by whoever comes


def test_a_platform_that_is_away_is_not_asked_for_every_row(deliverer: Deliverer) -> None:
    for number in range(20):
        call(1_000, user_id=f"user {number}")
    away = DynamoFailed("costs", "transact_write_items", "EndpointConnectionError")
    with patch.object(delivery, "write_together", side_effect=away) as asked, capture_logs() as logs:
        assert deliverer.deliver_some(NOON, 100) == asked.call_count == delivery.ENOUGH_FAILURES
    assert len(logs) == delivery.ENOUGH_FAILURES
    assert Delivery.objects.filter(tries=0, due_at=NOON).count() == 20 - delivery.ENOUGH_FAILURES


def test_a_fault_of_ours_costs_one_row_its_turn_and_no_other(deliverer: Deliverer, platform: PlatformBooks) -> None:
    bad, _ = call(1_000), call(2_000)
    whole = delivery.usage_row

    def faulty(record: UsageRecord) -> dict[str, Any]:
        if record.call_id == bad.call_id:
            raise TypeError("a secret of the caller's")
        return whole(record)

    with patch.object(delivery, "usage_row", faulty), capture_logs() as logs:
        deliverer.deliver_some(NOON, 100)
    assert platform.counter("ann", INFO)["dailyCost"] == Decimal("0.002")
    waiting = Delivery.objects.get()
    assert (waiting.call_id, waiting.error, waiting.set_aside) == (bad.call_id, "TypeError", False)
    assert "secret" not in str(logs)


def test_who_is_told_to_stop_gives_back_what_is_left(tables: PlatformTables, platform: PlatformBooks) -> None:
    call(1_000)
    stopped = Deliverer(tables)
    stopped.stop()
    assert stopped.deliver_some(NOON, 100) == 0
    assert platform.all("usage") == [] and Delivery.objects.get().due_at == NOON


class Slow:
    """A clock that goes on while something is done."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def by(self, seconds: float, function: Any) -> Any:
        def slow(*args: Any) -> Any:
            self.now += seconds
            return function(*args)

        return slow
