"""A new day begins in the platform's counters, and not a micro-dollar is lost on the way."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO
from threading import Event, Thread
from typing import Any
from unittest.mock import patch

import pytest
from django.core.management import CommandError, call_command

from core.dynamodb import ConditionFailed, DynamoFailed
from tests.usage.platform import PlatformBooks
from usage.platform import nightly
from usage.platform.nightly import roll
from usage.platform.tables import PlatformTables

pytestmark = pytest.mark.usefixtures("tables")

NIGHT = datetime(2026, 3, 4, 0, 0, 30, tzinfo=UTC)
FIRST = datetime(2026, 3, 1, 0, 0, 30, tzinfo=UTC)
INFO = "general_account#NA"
ZEROS = [Decimal(0)] * 24


def put(platform: PlatformBooks, user: str = "ann", **attributes: Any) -> None:
    platform.put("costs", id=user, accountInfo=INFO, **attributes)


def history(platform: PlatformBooks) -> dict[str, Decimal]:
    return {row["userDate"]: row.get("dailyCost", row.get("monthlyCost")) for row in platform.all("history")}


def test_the_day_goes_into_the_month_and_the_history(platform: PlatformBooks, tables: PlatformTables) -> None:
    hours = [Decimal("0.5"), *ZEROS[1:23], Decimal("1.43")]
    put(platform, dailyCost=Decimal("1.93"), hourlyCost=hours, monthlyCost=Decimal("3.77"), record_type="cost")
    report = roll(tables, NIGHT)
    assert (report.rolled, report.micro_dollars, report.failed) == (1, 1_930_000, {})
    assert platform.counter("ann", INFO) == {
        "id": "ann", "accountInfo": INFO, "dailyCost": 0, "hourlyCost": ZEROS, "monthlyCost": Decimal("5.70"),
        "record_type": "cost", "rolledOn": "2026-03-04",
    }  # fmt: skip
    assert platform.all("history") == [
        {"userDate": "ann#2026-03-03", "accountInfo": INFO, "dailyCost": Decimal("1.93"),
         "timestamp": "2026-03-04T00:00:30.000Z", "record_type": "cost"}
    ]  # fmt: skip


def test_a_new_month_begins_with_its_last_day_in_the_old_one(platform: PlatformBooks, tables: PlatformTables) -> None:
    put(platform, dailyCost=2, hourlyCost=ZEROS, monthlyCost=40)
    roll(tables, FIRST)
    counter = platform.counter("ann", INFO)
    assert (counter["dailyCost"], counter["monthlyCost"]) == (0, 0)
    assert history(platform) == {"ann#2026-02-28": 2, "ann#2026-02": 42}


def test_a_second_run_changes_nothing(platform: PlatformBooks, tables: PlatformTables) -> None:
    put(platform, dailyCost=2, hourlyCost=ZEROS, monthlyCost=40)
    roll(tables, FIRST)
    platform.spent_by_others("ann", INFO, "0.25", hour=5)
    report = roll(tables, FIRST + timedelta(hours=6))
    assert (report.rolled, report.already) == (0, 1)
    assert platform.counter("ann", INFO)["dailyCost"] == Decimal("0.25")
    assert history(platform) == {"ann#2026-02-28": 2, "ann#2026-02": 42}


def test_night_after_night(platform: PlatformBooks, tables: PlatformTables) -> None:
    """A dollar a day from the 26th of February on; the night to the 1st of March is missed."""
    for day in range(8):
        now = datetime(2026, 2, 26, tzinfo=UTC) + timedelta(days=day)
        if now.day != 1:
            roll(tables, now)
        platform.spent_by_others("ann", INFO, "1", hour=12)
    counter = platform.counter("ann", INFO)
    assert (counter["dailyCost"], counter["monthlyCost"]) == (1, 3)
    # What the missed night would have parted stands in the month that was over.
    assert history(platform) == {
        "ann#2026-02-26": 1, "ann#2026-02-27": 1, "ann#2026-03-01": 2, "ann#2026-02": 4,
        "ann#2026-03-02": 1, "ann#2026-03-03": 1, "ann#2026-03-04": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    "row", [{}, {"dailyCost": 0}, {"dailyCost": "odd", "hourlyCost": "odd"}, {"monthlyCost": None}]
)
def test_counters_as_services_leave_them(platform: PlatformBooks, tables: PlatformTables, row: dict[str, Any]) -> None:
    put(platform, **row)
    put(platform, user="ben", dailyCost=1)
    assert roll(tables, NIGHT).failed == {}
    counter = platform.counter("ann", INFO)
    assert (counter["dailyCost"], counter["hourlyCost"], counter["monthlyCost"]) == (0, ZEROS, 0)
    assert history(platform) == {"ben#2026-03-03": 1}


def test_what_comes_meanwhile_is_not_lost(platform: PlatformBooks, tables: PlatformTables) -> None:
    """Others go on adding while several jobs run at once."""
    done, added = Event(), []
    platform.spent_by_others("ann", INFO, "1", hour=3)

    def spend() -> None:
        while not done.wait(0.02):  # fifty calls a second of one user
            platform.spent_by_others("ann", INFO, "0.001", hour=0)
            added.append(1)

    spender = Thread(target=spend)
    spender.start()
    jobs = [Thread(target=roll, args=(tables, NIGHT + timedelta(days=day))) for day in (0, 0, 1, 2)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    done.set()
    spender.join()
    counter = platform.counter("ann", INFO)
    total = Decimal(1) + Decimal("0.001") * len(added)
    assert counter["dailyCost"] + counter["monthlyCost"] == total
    assert sum(history(platform).values()) == counter["monthlyCost"] and counter["monthlyCost"] >= 1


def test_one_counter_takes_no_other_along(platform: PlatformBooks, tables: PlatformTables) -> None:
    for user in ("ann", "ben", "cas"):
        put(platform, user=user, dailyCost=1)
    written, real = [], nightly.write_together

    def fails_for_ben(writes: Any) -> None:
        if writes[0].arguments["Key"]["id"] == {"S": "ben"}:
            raise DynamoFailed("costs", "transact_write_items", "ThrottlingException")
        written.append(writes)
        real(writes)

    with patch.object(nightly, "write_together", fails_for_ben):
        report = roll(tables, NIGHT)
    assert (report.rolled, report.failed, len(written)) == (2, {"ThrottlingException": 1}, 2)
    assert roll(tables, NIGHT).rolled == 1


def test_a_death_between_the_writes_is_impossible(platform: PlatformBooks, tables: PlatformTables) -> None:
    """Counter and history change together: a condition that fails leaves both."""
    put(platform, dailyCost=1)
    real = nightly.write_together

    def too_late(writes: Any) -> None:
        platform.spent_by_others("ann", INFO, "0.5", hour=0)
        real(writes)

    with (
        patch.object(nightly, "write_together", too_late),
        patch.object(nightly, "TRIES", 2),
        pytest.raises(ConditionFailed),
    ):
        nightly._roll_one(tables, platform.counter("ann", INFO), NIGHT, nightly.Report())
    assert history(platform) == {} and platform.counter("ann", INFO)["dailyCost"] == 2


def test_the_command(platform: PlatformBooks, settings: Any) -> None:
    put(platform, dailyCost=Decimal("1.5"))
    out = StringIO()
    call_command("roll_platform_costs", stdout=out)
    assert out.getvalue() == "1 counters begin a new day, 0 had begun it; $1.50 moved.\n"
    settings.PLATFORM_BOOKS = {**platform.names, "costs": "not-there"}
    with pytest.raises(CommandError, match="run it again"):
        call_command("roll_platform_costs")
    settings.STATE_BACKEND = "database"
    with pytest.raises(CommandError, match="STATE_BACKEND=dynamodb"):
        call_command("roll_platform_costs")
