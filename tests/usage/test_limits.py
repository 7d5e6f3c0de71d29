"""Windows, room and words: pure, so tried out in numbers."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts.limits import Period, SpendLimit
from usage.limits import Balance, Line, Refusal, dollars, first_refusal, window_end, window_start
from usage.models import Dimension

MOMENTS = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))


def line(micro_dollars: int, period: Period = Period.MONTHLY, source: str = "user") -> Line:
    limit = SpendLimit(period=period, micro_dollars=micro_dollars)
    return Line(dimension=Dimension.USER, value="ann", limit=limit, source=source)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("period", "now", "start", "end"),
    [
        (Period.HOURLY, (2026, 10, 25, 1, 59, 59), (2026, 10, 25, 1), (2026, 10, 25, 2)),
        (Period.DAILY, (2026, 3, 29, 23, 59, 59), (2026, 3, 29), (2026, 3, 30)),
        (Period.MONTHLY, (2026, 1, 31, 23, 59, 59), (2026, 1, 1), (2026, 2, 1)),
        (Period.MONTHLY, (2028, 2, 29, 12, 0, 0), (2028, 2, 1), (2028, 3, 1)),
        (Period.MONTHLY, (2026, 12, 31, 0, 0, 0), (2026, 12, 1), (2027, 1, 1)),
    ],
)
def test_windows(period: Period, now: tuple[int, ...], start: tuple[int, ...], end: tuple[int, ...]) -> None:
    moment = datetime(*now, tzinfo=UTC)  # type: ignore[arg-type, misc]
    assert window_start(period, moment) == datetime(*start, tzinfo=UTC)  # type: ignore[arg-type, misc]
    assert window_end(period, moment) == datetime(*end, tzinfo=UTC)  # type: ignore[arg-type, misc]


@given(moment=MOMENTS, period=st.sampled_from(Period), hours=st.integers(-12, 14))
def test_windows_lie_end_to_end_whatever_zone_a_moment_is_told_in(moment: datetime, period: Period, hours: int) -> None:
    start, end = window_start(period, moment), window_end(period, moment)
    assert start <= moment and start == window_start(period, start)
    assert window_start(period, moment.astimezone(timezone(timedelta(hours=hours)))) == start
    if end is not None:
        assert moment < end and window_start(period, end) == end
        assert window_start(period, end - timedelta(microseconds=1)) == start


@given(limit=st.integers(1, 10_000), estimate=st.integers(1, 500), number=st.integers(1, 100))
def test_calls_side_by_side_never_pass_a_limit_by_more_than_one(limit: int, estimate: int, number: int) -> None:
    balance = Balance()
    for _ in range(number):
        if balance.has_room(limit, estimate):
            balance.reserved += estimate
    assert balance.reserved == estimate * min(number, max(1, limit // estimate))


def test_what_is_left_may_be_used_up_by_one_call_alone() -> None:
    assert Balance(spent=99).has_room(100, 50)
    assert not Balance(spent=99, reserved=1).has_room(100, 50)
    assert not Balance(spent=100).has_room(100, 0)
    assert not Balance().has_room(0, 0)


@pytest.mark.parametrize(
    ("limit", "balance", "words"),
    [
        (line(1_000_000), Balance(5_000_000), "Current Spent: $5.00 spent this month. Set Rate limit: $1.00 / Monthly"),
        (line(0, Period.TOTAL), Balance(), "Set Rate limit: $0.00 / Total"),
        (
            line(1_000_000, Period.HOURLY, "admin"),
            Balance(1_004_213),
            "Current Spent: $1.004213 spent this hour. Amplify Set Rate limit: $1.00 / Hourly",
        ),
        (
            line(1_000_000, Period.DAILY, "key"),
            Balance(500_000, 450_000),
            "Current Spent: $0.50 spent today. Requests under way may cost $0.45 more. Set Rate limit: $1.00 / Daily",
        ),
    ],
)
def test_a_refusal_says_what_todays_clients_show(limit: Line, balance: Balance, words: str) -> None:
    assert Refusal(limit, balance).message() == f"Request limit reached. {words}"


def test_a_refusal_says_when_to_come_back() -> None:
    error = Refusal(line(1, Period.DAILY), Balance(2)).error(datetime(2026, 3, 4, 23, 0, 0, tzinfo=UTC))
    assert error.answer_headers() == {"Retry-After": "3600"}
    body = error.body("r")
    assert (body["code"], body["resetAt"]) == ("budget_exceeded", "2026-03-05T00:00:00Z")
    assert body["limit"] == {
        "period": "Daily", "rate": 1e-06, "setBy": "user", "counts": "user", "name": "",
        "spent": 2e-06, "reserved": 0.0,
    }  # fmt: skip
    never = Refusal(line(1, Period.TOTAL), Balance(2)).error(datetime(2026, 3, 4, tzinfo=UTC))
    assert (never.answer_headers(), never.body("r")["resetAt"]) == ({}, None)


def test_all_limits_must_have_room_and_the_one_that_lasts_longest_is_named() -> None:
    now = datetime(2026, 3, 4, tzinfo=UTC)
    hour, month = line(10, Period.HOURLY), line(20, Period.MONTHLY)
    balances = {hour.pot(now): Balance(10), month.pot(now): Balance(20)}
    refusal = first_refusal([hour, month], 1, now, balances)
    assert refusal is not None and refusal.line is month
    refusal = first_refusal([line(30, Period.MONTHLY), hour], 1, now, balances)
    assert refusal is not None and refusal.line is hour
    assert first_refusal([line(30, Period.MONTHLY)], 1, now, balances) is None


@given(st.integers(0, 10**12))
def test_dollars_are_exact(micro_dollars: int) -> None:
    text = dollars(micro_dollars)
    whole, _, part = text.partition(".")
    assert 2 <= len(part) <= 6 and int(whole) * 10**6 + int(part.ljust(6, "0")) == micro_dollars
