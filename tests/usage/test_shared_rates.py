"""Rate limits of several processes, here side by side, with a real Valkey between them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import structlog

from accounts.principal import Principal
from core.errors import TooManyRequests
from core.shared_store import SharedStore
from tests.harness import wait_until
from tests.valkey import Valkey, running_valkey
from usage import shared_rates
from usage.rate_limits import RateLimiter, Rates, Slot
from usage.shared_rates import SharedRates

ANN, BEN = Principal(user_id="ann", api_key_id="k1"), Principal(user_id="ben", api_key_id="k2")


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    with running_valkey() as running:
        yield running


Limiters = Callable[..., Awaitable[list[RateLimiter]]]


@pytest.fixture
async def limiters(valkey: Valkey) -> AsyncIterator[Limiters]:
    """Those of so many processes."""
    async with AsyncExitStack() as stack:

        async def make(count: int, **rates: Any) -> list[RateLimiter]:
            made = []
            for _ in range(count):
                store = SharedStore(valkey.url)
                stack.push_async_callback(store.aclose)
                shared = SharedRates(store)
                shared.start()
                stack.push_async_callback(shared.aclose)
                made.append(RateLimiter(shared=shared, **rates))
            return made

        yield make


async def begun(limiter: RateLimiter, principal: Principal) -> Slot | None:
    try:
        return await limiter.begin(principal)
    except TooManyRequests:
        return None


async def admitted(limiter: RateLimiter, principal: Principal) -> None:
    """As soon as the store lets it in."""
    async with asyncio.timeout(20):
        while await begun(limiter, principal) is None:  # noqa: ASYNC110 - the fact is the store's
            await asyncio.sleep(0.05)


async def refused(limiter: RateLimiter, principal: Principal) -> None:
    """As soon as the store has heard why."""
    async with asyncio.timeout(20):
        while await begun(limiter, principal):  # noqa: ASYNC110 - the fact is the store's
            await asyncio.sleep(0.05)


async def told(*limiters: RateLimiter) -> None:
    """All that they have to tell is told."""
    for limiter in limiters:
        shared = limiter._shared
        assert shared is not None
        assert await shared._told(shared._news())


async def test_a_race_for_the_last_places_lets_in_as_many_as_there_are(
    limiters: Limiters, monkeypatch: pytest.MonkeyPatch
) -> None:
    four = await limiters(4, user=Rates(concurrent_runs=10))
    slots = [slot for slot in await asyncio.gather(*(begun(four[n % 4], ANN) for n in range(100))) if slot]
    assert len(slots) == 10
    assert await begun(four[0], BEN)  # others are not held up
    for slot in slots:
        slot.end()
    # Each may go on, wherever: who finds no place asks once more, and what the ended have left has been told by then.
    monkeypatch.setattr(shared_rates, "ASK_AGAIN_SECONDS", 100 * shared_rates.PAUSE_SECONDS)
    assert all(await asyncio.gather(*(begun(four[n % 4], ANN) for n in range(10))))
    assert await begun(four[3], ANN) is None


async def test_requests_count_wherever_they_are_made(limiters: Limiters) -> None:
    one, other = await limiters(2, user=Rates(requests_per_minute=6), key=Rates(requests_per_minute=600))
    for limiter in [one, other] * 3:
        await limiter.begin(ANN)
    for limiter in (one, other):
        with pytest.raises(TooManyRequests, match="6 requests a minute is the most for you") as caught:
            await limiter.begin(ANN)
        assert 0 < caught.value.retry_after <= 10
    await other.begin(BEN)


async def test_who_is_refused_has_taken_nothing_anywhere(limiters: Limiters) -> None:
    """Of the user's three a refusal by the key's limit takes none, here or in the store."""
    one, other = await limiters(2, user=Rates(requests_per_minute=3), key=Rates(concurrent_runs=1))
    slot = await one.begin(ANN)
    assert [await begun(other, ANN) for _ in range(5)] == [None] * 5
    assert other._own._running == {} and max(other._own._pace._paid_off.values()) <= other._own._pace._clock()
    slot.end()
    keyless = Principal(user_id="ann")
    assert [bool(await begun(limiter, keyless)) for limiter in (one, other, one)] == [True, True, False]


async def test_tokens_count_wherever_they_are_used_and_are_corrected(limiters: Limiters) -> None:
    one, other = await limiters(2, key=Rates(tokens_per_minute=1_000))
    slot = await one.begin(ANN)
    slot.use(5_000)
    await told(one)
    with pytest.raises(TooManyRequests, match="1,000 tokens a minute is the most for this API key") as caught:
        await other.begin(ANN)
    assert 200 < caught.value.retry_after <= 241
    slot.use(-4_900)
    await told(one)
    await other.begin(ANN)


async def test_what_is_used_is_told_by_itself(limiters: Limiters) -> None:
    one, other = await limiters(2, user=Rates(tokens_per_minute=100))
    (await one.begin(ANN)).use(500)
    await refused(other, ANN)


async def test_the_place_of_one_that_died_is_free_after_its_lease(
    limiters: Limiters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_rates, "LEASE_SECONDS", 3)
    monkeypatch.setattr(shared_rates, "RENEW_SECONDS", 0.2)
    dying, living, asking = await limiters(3, user=Rates(concurrent_runs=1))
    await dying.begin(ANN)
    await living.begin(BEN)
    assert await begun(asking, ANN) is None
    assert dying._shared is not None
    await dying._shared._tasks.aclose()
    await admitted(asking, ANN)
    assert await begun(asking, BEN) is None


async def test_cancelled_while_asking_it_has_no_place(limiters: Limiters, monkeypatch: pytest.MonkeyPatch) -> None:
    [one] = await limiters(1, user=Rates(concurrent_runs=1))
    assert one._shared is not None
    asked, ask = asyncio.Event(), one._shared._ask

    async def asking(*of: Any) -> Any:
        waits = await ask(*of)
        asked.set()
        await asyncio.Event().wait()
        return waits

    monkeypatch.setattr(one._shared, "_ask", asking)
    task = asyncio.create_task(one.begin(ANN))
    await asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    monkeypatch.undo()
    await told(one)
    assert await begun(one, ANN)


async def test_while_the_store_is_away_each_counts_alone(valkey: Valkey, limiters: Limiters) -> None:
    one, other = await limiters(2, user=Rates(concurrent_runs=2))
    with structlog.testing.capture_logs() as logs:
        held = await one.begin(ANN)
        valkey.stop()
        slots = [await other.begin(ANN), await other.begin(ANN)]
        assert await begun(other, ANN) is None  # its own two
        late = await one.begin(ANN)
        valkey.start()
        both = [limiter._shared for limiter in (one, other)]
        await wait_until(lambda: all(shared and not shared._away for shared in both))
        # Empty it came back, and was told of all places anew.
        late.end()
        for slot in slots:
            slot.end()
        await told(one, other)
        await admitted(other, ANN)
        assert await begun(other, ANN) is None
        held.end()
        await admitted(other, ANN)
    events = [entry["event"] for entry in logs]
    assert 1 <= events.count("rate_limits_not_shared") == events.count("rate_limits_shared_again") <= 2


async def test_nothing_is_asked_where_nothing_is_limited() -> None:
    store = SharedStore("redis://127.0.0.1:1/0")
    limiter = RateLimiter(shared=SharedRates(store))
    with structlog.testing.capture_logs() as logs:
        slot = await limiter.begin(ANN)
        slot.use(10)
        slot.end()
    assert logs == []
