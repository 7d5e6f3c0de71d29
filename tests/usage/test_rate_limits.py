"""How fast, and how much at once: with a clock that is set."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts.principal import Principal
from core.errors import TooManyRequests
from usage.rate_limits import Limit, Pace, RateLimiter, Rates

ANN, BEN = Principal(user_id="ann", api_key_id="k1"), Principal(user_id="ben", api_key_id="k2")


class Seconds:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def requests(per_minute: int, subject: str = "ann") -> Limit:
    return Limit("requests", per_minute, subject, "you")


@pytest.fixture
def clock() -> Seconds:
    return Seconds()


async def test_a_minutes_worth_at_once_then_evenly(clock: Seconds) -> None:
    limiter = RateLimiter(user=Rates(requests_per_minute=6), clock=clock)
    for _ in range(6):
        await limiter.begin(ANN)
    with pytest.raises(TooManyRequests, match="6 requests a minute is the most for you") as refused:
        await limiter.begin(ANN)
    assert refused.value.answer_headers() == {"Retry-After": "10"}
    await limiter.begin(BEN)  # others are not held up
    clock.now += 10
    await limiter.begin(ANN)
    with pytest.raises(TooManyRequests):
        await limiter.begin(ANN)


async def test_whoever_waits_as_told_gets_in(clock: Seconds) -> None:
    limiter = RateLimiter(user=Rates(requests_per_minute=7, tokens_per_minute=100), clock=clock)
    begun = clock.now
    for _ in range(50):
        try:
            (await limiter.begin(ANN)).use(13)
        except TooManyRequests as refused:
            clock.now += refused.retry_after
            (await limiter.begin(ANN)).use(13)
    # 650 tokens: a minute's worth at once and the one that may go into debt; the rest takes its time.
    assert clock.now - begun >= (50 * 13 - 100 - 13) / 100 * 60


async def test_tokens_are_corrected_when_a_call_ends(clock: Seconds) -> None:
    limiter = RateLimiter(key=Rates(tokens_per_minute=1_000), clock=clock)
    slot = await limiter.begin(ANN)
    slot.use(5_000)  # more than there is goes through once, and is paid off
    with pytest.raises(TooManyRequests, match="1,000 tokens a minute is the most for this API key"):
        await limiter.begin(ANN)
    slot.use(-4_900)
    await limiter.begin(ANN)


async def test_runs_at_once(clock: Seconds) -> None:
    limiter = RateLimiter(user=Rates(concurrent_runs=2), key=Rates(concurrent_runs=1), clock=clock)
    first = await limiter.begin(ANN)
    with pytest.raises(TooManyRequests, match="1 answers at once is the most for this API key"):
        await limiter.begin(ANN)
    person = await limiter.begin(Principal(user_id="ann"))
    with pytest.raises(TooManyRequests, match="2 answers at once is the most for you"):
        await limiter.begin(Principal(user_id="ann"))
    for slot in (first, first, person):  # ending twice is ending
        slot.end()
    await limiter.begin(ANN)


async def test_without_limits_nothing_is_remembered(clock: Seconds) -> None:
    limiter = RateLimiter(clock=clock)
    slots = [await limiter.begin(ANN) for _ in range(100)]
    assert not limiter._own._running and not limiter._own._pace._paid_off
    for slot in slots:
        slot.end()


def test_those_at_rest_are_forgotten(clock: Seconds) -> None:
    pace = Pace(clock)
    for number in range(10_001):
        pace.take(requests(60, f"u{number}"), 1)
    clock.now += 2
    pace.take(requests(60), 1)
    assert len(pace._paid_off) == 1


@given(per_minute=st.integers(1, 100), gaps=st.lists(st.floats(0, 30), min_size=1, max_size=60))
def test_no_minute_lets_through_more_than_twice_the_rate(per_minute: int, gaps: list[float]) -> None:
    clock, let_in = Seconds(), []
    pace, limit = Pace(clock), requests(per_minute)
    for gap in gaps:
        clock.now += gap
        if not pace.wait(limit):
            pace.take(limit, 1)
            let_in.append(clock.now)
    for start in let_in:
        assert sum(start <= at < start + 60 for at in let_in) <= 2 * per_minute
