"""A value read now and then: one read for many callers, changes seen, failures survived.

Unit tests, because no page shows how often the database was asked.
"""

import asyncio
import threading

import pytest
from django.db import OperationalError

from core import remembered
from core.remembered import Remembered


class _Reads:
    def __init__(self) -> None:
        self.count = 0
        self.fails = False
        self.gate = threading.Event()
        self.gate.set()
        self.begun = threading.Event()

    def __call__(self) -> int:
        self.count += 1
        self.begun.set()
        number = self.count
        self.gate.wait(5)
        if self.fails:
            raise OperationalError("away")
        return number


async def test_many_callers_share_a_read() -> None:
    reads = _Reads()
    value = Remembered(reads, name="test", seconds=3600)
    assert await asyncio.gather(*(value.get() for _ in range(50))) == [1] * 50
    value.forget()
    assert await value.get() == 2
    assert reads.count == 2


async def test_a_change_during_a_read_is_not_lost() -> None:
    reads = _Reads()
    value = Remembered(reads, name="test", seconds=3600)
    reads.gate.clear()
    first = asyncio.create_task(value.get())
    await asyncio.to_thread(reads.begun.wait, 5)
    value.forget()
    reads.gate.set()
    assert await first == 1
    assert await value.get() == 2


async def test_a_caller_that_is_cancelled_does_not_take_the_read_along() -> None:
    reads = _Reads()
    value = Remembered(reads, name="test", seconds=3600)
    reads.gate.clear()
    first, second = asyncio.create_task(value.get()), asyncio.create_task(value.get())
    await asyncio.sleep(0.01)
    first.cancel()
    reads.gate.set()
    assert await second == 1


async def test_a_failed_read_leaves_the_last_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "RETRY_SECONDS", 0.0)
    reads = _Reads()
    reads.fails = True
    value = Remembered(reads, name="test", seconds=0)
    assert await value.get() is None
    reads.fails = False
    assert await value.get() == 2
    reads.fails = True
    assert await value.get() == 2


async def test_a_read_that_hangs_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "WAIT_SECONDS", 0.05)
    reads = _Reads()
    value = Remembered(reads, name="test", seconds=0)
    assert await value.get() == 1
    reads.gate.clear()
    assert await value.get() == 1
    reads.gate.set()


def test_it_serves_one_loop_after_another() -> None:
    value = Remembered(_Reads(), name="test", seconds=0)
    assert [asyncio.run(_got(value)) for _ in range(3)] == [1, 2, 3]


async def _got(value: Remembered[int]) -> int | None:
    return await value.get()
