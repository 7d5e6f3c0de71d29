"""The run log: readers that come early, late and never. As other processes read it: test_sharing.py."""

import asyncio
from contextlib import aclosing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat.runlog import RunLog


async def _all(log: RunLog, after: int = 0) -> list[tuple[int, bytes]]:
    async with aclosing(log.read(after, heartbeat=10)) as batches:
        return [(n, frame) async for batch in batches for n, frame in enumerate(batch.frames, batch.first)]


async def test_early_and_late_readers_see_the_same() -> None:
    log = RunLog()
    early = asyncio.create_task(_all(log))
    for n in range(1, 51):
        log.append(b"%d" % n)
        if n % 7 == 0:
            await asyncio.sleep(0)
    log.close()
    expected = [(n, b"%d" % n) for n in range(1, 51)]
    assert await early == await _all(log) == expected
    assert await _all(log, after=20) == expected[20:]
    assert await _all(log, after=50) == await _all(log, after=10**9) == []


async def test_what_comes_in_one_turn_of_the_loop_is_one_batch() -> None:
    log = RunLog()
    async with aclosing(log.read(0, heartbeat=10)) as batches:
        first = asyncio.ensure_future(anext(batches))
        await asyncio.sleep(0)
        for n in range(5):
            log.append(b"%d" % n)
        assert len((await first).frames) == 5


async def test_silence_gives_heartbeats() -> None:
    async with aclosing(RunLog().read(0, heartbeat=0.01)) as batches:
        assert [(await anext(batches)).frames for _ in range(3)] == [[], [], []]


async def test_nothing_follows_the_close() -> None:
    log = RunLog()
    log.append(b"a")
    log.close()
    log.append(b"b")
    assert await _all(log) == [(1, b"a")]


async def test_a_reader_that_leaves_disturbs_nobody() -> None:
    log = RunLog()
    leaving = asyncio.create_task(_all(log))
    staying = asyncio.create_task(_all(log))
    await asyncio.sleep(0)
    leaving.cancel()
    log.append(b"a")
    log.close()
    assert await staying == [(1, b"a")]
    with pytest.raises(asyncio.CancelledError):
        await leaving


@given(total=st.integers(0, 40), cuts=st.lists(st.integers(0, 40), max_size=5))
def test_resuming_anywhere_any_number_of_times_gives_each_frame_once(total: int, cuts: list[int]) -> None:
    async def read() -> list[int]:
        log = RunLog()
        log.append(*(b"%d" % n for n in range(1, total + 1)))
        log.close()
        seen: list[int] = []
        for stop in [*sorted(cuts), total]:
            async with aclosing(log.read(len(seen), heartbeat=1)) as batches:
                async for batch in batches:
                    seen += [int(frame) for frame in batch.frames][: max(0, stop - len(seen))]
        return seen

    assert asyncio.run(read()) == list(range(1, total + 1))
