"""The platform's counters: the contract that ours keep too, and rows as its services leave them."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from accounts.principal import GENERAL_ACCOUNT
from tests.usage.platform import PlatformBooks
from tests.usage.test_own_counters import spend_here
from usage.counter_backends import get_counters
from usage.counters import Counters, Payer
from usage.counters_testing import NOW, CountersContract
from usage.platform.counters import PlatformCounters
from usage.platform.delivery import Deliverer
from usage.platform.tables import PlatformTables, platform_tables

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("tables")]

INFO = f"{GENERAL_ACCOUNT}#NA"


@pytest.fixture
def counters(tables: PlatformTables) -> PlatformCounters:
    return PlatformCounters(tables, lambda: NOW)


class TestPlatformCounters(CountersContract):
    """Money is spent as it comes there: through the ledger and its outbox."""

    @pytest.fixture
    def counters(self, tables: PlatformTables) -> Counters:
        return PlatformCounters(tables, lambda: NOW)

    @pytest.fixture
    def spend(self, tables: PlatformTables) -> Callable[..., None]:
        def spend(*args: Any, **kwargs: Any) -> None:
            spend_here(*args, **kwargs)
            assert Deliverer(tables).deliver_some(NOW, 100) == 1

        return spend

    @pytest.fixture
    def pull(self, platform: PlatformBooks) -> Callable[[], Any]:
        return lambda: [platform.table(use).delete() for use in ("costs", "history")]


def test_this_process_reads_them_where_it_shares_the_tables(settings: Any) -> None:
    assert isinstance(get_counters(), PlatformCounters)


def put(platform: PlatformBooks, **attributes: Any) -> None:
    platform.put("costs", id="ann", accountInfo=INFO, **attributes)


@pytest.mark.parametrize(
    ("row", "today", "month"),
    [
        ({}, 0, 0),
        ({"dailyCost": Decimal("0.5")}, 500_000, 500_000),  # no hours, no month: before the first night
        ({"dailyCost": "much", "monthlyCost": None, "hourlyCost": "x"}, 0, 0),
        ({"dailyCost": Decimal("0.1000000000000000055"), "monthlyCost": Decimal("3.77")}, 100_000, 3_870_000),
        ({"dailyCost": 1, "hourlyCost": [1], "monthlyCost": 2}, 1_000_000, 3_000_000),
    ],
)
def test_rows_as_services_leave_them(
    platform: PlatformBooks, counters: PlatformCounters, row: dict[str, Any], today: int, month: int
) -> None:
    put(platform, **row)
    (counter,) = counters.of_user("ann")
    assert (counter.today, counter.month, len(counter.hourly)) == (today, month, 24)


@pytest.mark.parametrize(
    ("now", "hour", "today", "month"),
    [
        (datetime(2026, 3, 4, 12, 0, tzinfo=UTC), 11, 1, 5),
        (datetime(2026, 3, 4, 12, 0, tzinfo=UTC), 12, 1, 5),
        (datetime(2026, 3, 4, 12, 0, tzinfo=UTC), 13, 0, 5),  # yesterday's: the nightly job has not been here yet
        (datetime(2026, 3, 1, 0, 0, 30, tzinfo=UTC), 23, 0, 0),  # the last month's as well
        (datetime(2026, 3, 1, 0, 0, 30, tzinfo=UTC), 0, 1, 5),
    ],
)
def test_yesterdays_money_is_not_todays(
    platform: PlatformBooks, now: datetime, hour: int, today: int, month: int
) -> None:
    tables = platform_tables()
    assert tables is not None
    hours = [Decimal(0)] * 24
    hours[hour] = Decimal(1)
    put(platform, dailyCost=1, hourlyCost=hours, monthlyCost=4)
    (counter,) = PlatformCounters(tables, lambda: now).of_user("ann")
    assert (counter.today, counter.month) == (today * 1_000_000, month * 1_000_000)
    assert sum(counter.hourly) == today * 1_000_000


def test_a_month_whose_row_was_never_made_is_what_its_days_say(
    platform: PlatformBooks, counters: PlatformCounters
) -> None:
    for day, dollars in (("2026-02-01", 3), ("2026-02-28", 4), ("2026-01-31", 50)):
        platform.put("history", userDate=f"ann#{day}", accountInfo=INFO, dailyCost=dollars)
    assert counters.months_of("ann", date(2026, 1, 1)) == {date(2026, 2, 1): 7_000_000}
    platform.put("history", userDate="ann#2026-02", accountInfo="lab#k", monthlyCost=9)
    assert counters.months_by_payer("ann", date(2026, 1, 1)) == {date(2026, 2, 1): {Payer("lab", "k"): 9_000_000}}


def test_a_service_that_stands_alone_reads_its_own(settings: Any) -> None:
    settings.STATE_BACKEND = "database"
    assert platform_tables() is None and not isinstance(get_counters(), PlatformCounters)
