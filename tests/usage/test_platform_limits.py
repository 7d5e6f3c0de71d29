"""Limits where other services spend too: what they have booked counts, and what the administrators have set holds."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from accounts import directory
from accounts.limits import Period, SpendLimit
from accounts.principal import Principal
from core.errors import BudgetExceeded, Unavailable
from tests.usage.conftest import TestBooks, at_once, reservation
from tests.usage.platform import PlatformBooks
from usage.budgets import BudgetBook
from usage.limits import Line
from usage.models import Dimension
from usage.platform.admin_limits import AdminLimits, admin_limits
from usage.platform.counters import PlatformCounters
from usage.platform.delivery import Deliverer
from usage.platform.spending import SpentElsewhere, _Asked
from usage.platform.tables import PlatformTables
from usage.testing import Clock

KEY = "ann/ownerKey/1"
OTHER_KEY = "ann/ownerKey/2"
ANN = Principal(user_id="ann", account_id="lab-7", api_key_id=KEY)
DOLLAR = 1_000_000


@pytest.fixture
async def spent(
    tables: PlatformTables, books: TestBooks, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[SpentElsewhere]:
    monkeypatch.setattr("usage.platform.spending.run_blocking", at_once)
    one = SpentElsewhere(PlatformCounters(tables, books.now), clock=books.now)
    yield one
    await one.aclose()


def line(dollars: int, period: Period = Period.DAILY, **fields: Any) -> Line:
    limit = SpendLimit(period=period, micro_dollars=dollars * DOLLAR)
    return Line(**{"dimension": Dimension.USER, "value": "ann", "limit": limit, "source": "user"} | fields)


def of_key(dollars: int, period: Period = Period.DAILY) -> Line:
    return line(dollars, period, dimension=Dimension.KEY, value=KEY, source="key")


async def amounts(spent: SpentElsewhere, *lines: Line, who: Principal = ANN) -> list[int | None]:
    filled = await spent(who, lines)
    return [None if one.elsewhere is None else one.elsewhere.micro_dollars for one in filled]


@pytest.fixture
def at_noon(clock: Clock) -> None:
    clock.now = datetime(2026, 3, 4, 12, 30, tzinfo=UTC)


@pytest.mark.usefixtures("at_noon")
class TestSpentElsewhere:
    async def test_by_period_and_by_key(self, spent: SpentElsewhere, platform: PlatformBooks) -> None:
        platform.spent_by_others("ann", f"lab-7#{KEY}", "1", hour=12)
        platform.spent_by_others("ann", f"lab-8#{KEY}", "2", hour=3)
        platform.spent_by_others("ann", "general_account#NA", "4", hour=12)
        platform.spent_by_others("ann", f"lab-7#{OTHER_KEY}", "8", hour=4)
        platform.table("costs").update_item(
            Key={"id": "ann", "accountInfo": f"lab-7#{KEY}"},
            UpdateExpression="SET monthlyCost = :m",
            ExpressionAttributeValues={":m": 16},
        )
        platform.put("history", userDate="ann#2026-02", accountInfo=f"lab-7#{KEY}", monthlyCost=32)
        platform.put("history", userDate="ann#2024-07", accountInfo="general_account#NA", monthlyCost=64)
        platform.put("history", userDate="ann#2026-02-03", accountInfo=f"lab-7#{KEY}", dailyCost=32)  # in its month
        platform.spent_by_others("anna", f"lab-7#{KEY}", "1000", hour=12)
        found = await amounts(spent, *(line(9, period) for period in Period), *(of_key(9, period) for period in Period))
        dollars = [None if one is None else one // DOLLAR for one in found]
        assert dollars == [5, 15, 31, 31 + 96, 1, 3, 19, 19 + 32]

    async def test_what_we_have_booked_ourselves_counts_once(
        self, spent: SpentElsewhere, books: TestBooks, tables: PlatformTables, platform: PlatformBooks
    ) -> None:
        platform.spent_by_others("ann", f"lab-7#{KEY}", "1", hour=12)
        await books.call(2 * DOLLAR)  # not delivered yet
        assert await amounts(spent, line(9), of_key(9)) == [DOLLAR, DOLLAR]
        await books.call(4 * DOLLAR)
        Deliverer(tables).deliver_some(books.now(), 100)
        await books.call(8 * DOLLAR)
        spent._figures.forget(_Asked("ann", KEY, in_total=False))
        assert await amounts(spent, line(9), of_key(9)) == [DOLLAR, DOLLAR]

    async def test_a_counter_that_lags_behind_gives_nobody_money(
        self, spent: SpentElsewhere, books: TestBooks, tables: PlatformTables, platform: PlatformBooks
    ) -> None:
        """Some other service has overwritten it, as its nightly job may."""
        await books.call(2 * DOLLAR)
        Deliverer(tables).deliver_some(books.now(), 100)
        platform.put("costs", id="ann", accountInfo=f"lab-7#{KEY}", dailyCost=0, hourlyCost=[0] * 24)
        assert await amounts(spent, line(9)) == [0]

    async def test_other_things_than_users_and_keys_count_by_our_books(self, spent: SpentElsewhere) -> None:
        of_account = line(9, dimension=Dimension.ACCOUNT, value="lab-7")
        everybody = line(9, dimension=Dimension.ALL, value="")
        of_somebody = line(9, value="ben")
        assert await amounts(spent, of_account, everybody, of_somebody) == [None, None, None]
        assert await amounts(spent, of_account, line(9)) == [None, 0]

    async def test_it_is_remembered_for_seconds(
        self, spent: SpentElsewhere, platform: PlatformBooks, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert await amounts(spent, line(9)) == [0]
        platform.spent_by_others("ann", f"lab-7#{KEY}", "1", hour=12)
        assert await amounts(spent, line(9)) == [0]
        monkeypatch.setattr(directory.time, "monotonic", lambda: float(2**40))
        assert await amounts(spent, line(9)) == [DOLLAR]

    async def test_a_platform_that_is_away_lets_nobody_past_a_limit(
        self, spent: SpentElsewhere, platform: PlatformBooks
    ) -> None:
        platform.table("costs").delete()
        with pytest.raises(Unavailable, match="Your budget cannot be checked"):
            await spent(ANN, [line(9)])
        assert await amounts(spent, line(9, dimension=Dimension.ALL, value="")) == [None]


@pytest.mark.usefixtures("at_noon")
class TestAdmission:
    async def test_what_others_have_spent_uses_a_limit_up(
        self, spent: SpentElsewhere, books: TestBooks, platform: PlatformBooks
    ) -> None:
        platform.spent_by_others("ann", "general_account#NA", "3", hour=1)
        (limit,) = await spent(ANN, [line(5)])
        await books.call(1 * DOLLAR, [limit])
        held = reservation(books.now, DOLLAR)
        await books.reserve(held, [limit])
        with pytest.raises(BudgetExceeded) as refused:
            await books.reserve(reservation(books.now, DOLLAR), [limit])
        assert "Current Spent: $4.00 spent today." in refused.value.message
        assert refused.value.details["limit"]["spent"] == 4.0 and refused.value.details["limit"]["reserved"] == 1.0

    async def test_a_new_window_begins_without_it(
        self, spent: SpentElsewhere, books: TestBooks, platform: PlatformBooks
    ) -> None:
        platform.spent_by_others("ann", "general_account#NA", "5", hour=1)
        (limit,) = await spent(ANN, [line(5)])
        with pytest.raises(BudgetExceeded):
            await books.call(DOLLAR, [limit])
        books.now.go_on(hours=12)
        await books.call(DOLLAR, [limit])

    async def test_at_midnight_nobody_pays_for_yesterday(
        self, spent: SpentElsewhere, books: TestBooks, platform: PlatformBooks
    ) -> None:
        """The nightly job has not been at the counter yet."""
        platform.spent_by_others("ann", "general_account#NA", "5", hour=14)
        books.now.now = datetime(2026, 3, 5, 0, 0, 20, tzinfo=UTC)
        (limit,) = await spent(ANN, [line(5)])
        await books.call(DOLLAR, [limit])
        assert await amounts(spent, line(50, Period.MONTHLY)) == [5 * DOLLAR]

    async def test_the_budget_book_asks_for_it(
        self, spent: SpentElsewhere, platform: PlatformBooks, own_connection: BaseDatabaseWrapper
    ) -> None:
        assert connections["default"] is own_connection
        platform.spent_by_others("ann", "general_account#NA", "2", hour=1)
        tighter = SpendLimit(period=Period.DAILY, micro_dollars=DOLLAR)
        (found,) = await BudgetBook(with_elsewhere=spent).lines_for(ANN, tighter=tighter)
        assert found.elsewhere is not None and found.elsewhere.micro_dollars == 2 * DOLLAR
        assert found.elsewhere.start == datetime(2026, 3, 4, tzinfo=UTC)


DAILY = {"period": "Daily", "rate": Decimal(25)}


@pytest.mark.parametrize(
    ("data", "limits"),
    [
        (None, []),
        ({}, []),
        ([], []),
        ({"period": "Unlimited", "rate": None}, []),
        (DAILY, [(Period.DAILY, 25)]),
        ([DAILY, {"period": "Total", "rate": 300}], [(Period.DAILY, 25), (Period.TOTAL, 300)]),
        ({"limits": DAILY, "honorPersonalRateLimit": {"enabled": True, "scope": "both"}}, [(Period.DAILY, 25)]),
        ({"limits": {"period": "unlimited", "rate": None}, "honorPersonalRateLimit": False}, []),
        (
            {"limits": [{"period": "Monthly", "rate": "300"}, {"period": "hourly", "rate": 30.0}]},
            [(Period.MONTHLY, 300), (Period.HOURLY, 30)],
        ),
        ({"limits": []}, []),
        ({"limits": None}, []),
        # What nobody can read opens nothing.
        ({"period": "Daily", "rate": None}, [(Period.TOTAL, 0)]),
        ({"period": "Weekly", "rate": 5}, [(Period.TOTAL, 0)]),
        ("Daily", [(Period.TOTAL, 0)]),
        ([DAILY, 7], [(Period.DAILY, 25), (Period.TOTAL, 0)]),
        ({"limits": "none"}, [(Period.TOTAL, 0)]),
    ],
)
def test_the_administrators_limits_in_every_form(data: Any, limits: list[tuple[Period, int]]) -> None:
    found = admin_limits({"config_id": "rateLimit", "data": data})
    assert [(limit.period, limit.micro_dollars // DOLLAR) for limit in found] == limits


def test_without_a_setting_there_is_no_limit() -> None:
    assert admin_limits(None) == []


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["limits", "period", "rate", "honorPersonalRateLimit", "x"]), inner, max_size=4
    ),
    max_leaves=8,
)  # fmt: skip


@given(_JSON)
def test_whatever_stands_there_it_is_limits_or_none(data: Any) -> None:
    for limit in admin_limits({"data": data}):
        assert limit.micro_dollars >= 0 and limit.period in Period


async def test_they_hold_for_everybody_and_are_read_anew(
    tables: PlatformTables, platform: PlatformBooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = AdminLimits(tables.admin)
    assert await source(ANN) == []
    platform.put("admin", config_id="rateLimit", data=DAILY)
    monkeypatch.setattr(directory.time, "monotonic", lambda: float(2**40))
    (limit,) = await source(ANN)
    assert (limit.dimension, limit.value, limit.source) == (Dimension.USER, "ann", "admin")
    assert limit.limit.micro_dollars == 25 * DOLLAR
    platform.table("admin").delete()
    monkeypatch.setattr(directory.time, "monotonic", lambda: float(2**41))
    with capture_logs() as logs, pytest.raises(Unavailable, match="Your budget cannot be checked"):
        await source(ANN)
    assert [entry["event"] for entry in logs] == ["admin_limits_not_read"]
    await source.aclose()
