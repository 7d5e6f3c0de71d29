"""For tests: books that keep nothing but what they were told, a database that is asked in the test's own thread and
transaction, and one that is away."""

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import ParamSpec, TypeVar
from uuid import UUID

from django.db import OperationalError

from accounts.principal import Principal
from usage.admission import Admission
from usage.books import Books
from usage.database import Database
from usage.journal import Journal
from usage.limits import Line
from usage.models import Reservation, UsageRecord
from usage.rate_limits import OwnRates, Slot

P = ParamSpec("P")
T = TypeVar("T")


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self, now: datetime = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def go_on(self, **duration: float) -> None:
        """By so many `seconds`, `hours`, `days`."""
        self.now += timedelta(**duration)


class RecordingBooks(Books):
    """Admits everything, and keeps what it is told in lists."""

    def __init__(self) -> None:
        super().__init__(partial(Journal, Path("/nowhere")))
        self.reserved: list[Reservation] = []
        self.rows: list[UsageRecord] = []
        self.released: list[UUID] = []

    async def reserve(self, reservation: Reservation, lines: Sequence[Line] = ()) -> None:
        self.reserved.append(reservation)

    async def settle(self, record: UsageRecord) -> None:
        self.rows.append(record)

    def release(self, call_id: UUID) -> None:
        self.released.append(call_id)


def admitted(books: Books, principal: Principal, lines: Sequence[Line] = ()) -> Admission:
    """A run that was admitted."""
    return Admission(books, principal, lines, Slot([], OwnRates(time.monotonic), None), request_id="")


class DatabaseAtHand(Database):
    """Is asked in the test's own thread, where its transaction is (allow it with `DJANGO_ALLOW_ASYNC_UNSAFE`).

    Away as long as a test says so.
    """

    def __init__(self) -> None:
        super().__init__(retry_after=(0.0,), probe_every=0.001)
        self.pulled = False

    async def _ask_once(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        await asyncio.sleep(0)
        if self.pulled:
            raise OperationalError("pulled")
        return function(*args, **kwargs)
