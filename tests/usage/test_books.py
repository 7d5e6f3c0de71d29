"""Calls are admitted and settled: limits, windows, ends of every kind, dead processes, and a database that is away."""

import asyncio
import fcntl
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from django.db import OperationalError
from django.db.models import Sum
from structlog.testing import capture_logs

from accounts.limits import Period, SpendLimit
from accounts.principal import Principal
from core.errors import BudgetExceeded, Unavailable
from tests.usage.conftest import TestBooks, reservation, row_of
from usage.budgets import BudgetBook
from usage.journal import Journal, Orphan
from usage.limits import Line
from usage.models import Budget, Dimension, Outcome, Reservation, RollUp, UsageRecord
from usage.roll_ups import differences
from usage.testing import Clock

ANN = Principal(user_id="ann", account_id="lab-7", api_key_id="ann/ownerKey/1", groups=frozenset({"staff", "choir"}))
BEN = Principal(user_id="ben", groups=frozenset({"staff"}))


def limit(micro_dollars: int, period: Period = Period.MONTHLY, user: str = "ann") -> Line:
    return Line(
        dimension=Dimension.USER,
        value=user,
        limit=SpendLimit(period=period, micro_dollars=micro_dollars),
        source="user",
    )


async def lines_for(principal: Principal, **tighter: Any) -> tuple[Line, ...]:
    return await BudgetBook().lines_for(principal, **tighter)


class TestCalls:
    async def test_a_call_becomes_one_row(self, books: TestBooks) -> None:
        held = reservation(books.now)
        await books.reserve(held)
        assert (books.under_way, Reservation.objects.count()) == (1, 1)
        await books.settle(row_of(held, micro_dollars=7))
        assert (books.under_way, Reservation.objects.count()) == (0, 0)
        assert UsageRecord.objects.get().micro_dollars == 7

    async def test_a_call_that_is_not_made_leaves_nothing(self, books: TestBooks) -> None:
        held = reservation(books.now)
        await books.reserve(held)
        books.release(held.call_id)
        await books.flush()
        assert not Reservation.objects.exists() and not UsageRecord.objects.exists()

    async def test_who_is_cancelled_while_reserving_leaves_nothing(self, books: TestBooks) -> None:
        asking = asyncio.create_task(books.reserve(reservation(books.now)))
        await asyncio.sleep(0)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await books.flush()
        assert (books.under_way, Reservation.objects.count()) == (0, 0)

    async def test_a_caller_that_is_cancelled_leaves_its_row(self, books: TestBooks) -> None:
        held = reservation(books.now)
        await books.reserve(held)
        settling = asyncio.create_task(books.settle(row_of(held)))
        await asyncio.sleep(0)
        settling.cancel()
        await asyncio.gather(settling, return_exceptions=True)
        await books.flush()
        assert UsageRecord.objects.count() == 1

    async def test_many_calls_share_a_transaction(
        self, books: TestBooks, django_assert_max_num_queries: Callable[[int], Any]
    ) -> None:
        with django_assert_max_num_queries(100):
            await asyncio.gather(*(books.call(user_id=f"u{number}") for number in range(200)))
        assert UsageRecord.objects.count() == 200 and not differences()

    async def test_a_row_that_the_database_refuses_takes_no_other_along(self, books: TestBooks) -> None:
        held = [reservation(books.now, user_id=user) for user in ("a", "bad", "b")]
        await asyncio.gather(*(books.reserve(one) for one in held))
        rows = [row_of(one, micro_dollars=-1 if one.user_id == "bad" else 5) for one in held]
        with capture_logs() as logs:
            await asyncio.gather(*(books.settle(row) for row in rows))
        assert sorted(UsageRecord.objects.values_list("user_id", flat=True)) == ["a", "b"]
        (lost,) = [line for line in logs if line["event"] == "ledger_row_refused"]
        assert (lost["user_id"], lost["micro_dollars"], lost["run_id"]) == ("bad", "-1", held[1].run_id)
        assert not differences()

    async def test_who_asks_as_the_writer_leaves_is_written_too(self, books: TestBooks) -> None:
        """Calls one after the other, each begun in the very turn of the loop in which the one before is answered."""
        async with asyncio.timeout(10):
            for _ in range(50):
                await books.call()
        assert UsageRecord.objects.count() == 50


class TestLimits:
    async def test_room_for_ten_lets_ten_in(self, books: TestBooks) -> None:
        asked = [books.reserve(reservation(books.now, 10), [limit(100)]) for _ in range(100)]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert sum(answer is None for answer in answers) == 10
        assert sum(isinstance(answer, BudgetExceeded) for answer in answers) == 90
        assert Reservation.objects.aggregate(sum=Sum("micro_dollars")) == {"sum": 100}

    async def test_a_settled_call_makes_room_for_what_it_did_not_cost(self, books: TestBooks) -> None:
        held = reservation(books.now, 90)
        await books.reserve(held, [limit(100)])
        with pytest.raises(BudgetExceeded, match="under way may cost"):
            await books.reserve(reservation(books.now, 20), [limit(100)])
        await books.settle(row_of(held, micro_dollars=5))
        await books.reserve(reservation(books.now, 20), [limit(100)])

    async def test_others_do_not_count(self, books: TestBooks) -> None:
        await books.call(100, user_id="ben")
        await books.call(100, [limit(100)])
        with pytest.raises(BudgetExceeded):
            await books.call(1, [limit(100)])
        await books.call(1, [limit(101, user="ben")], user_id="ben")

    async def test_midnight(self, books: TestBooks, clock: Clock) -> None:
        """A call counts in the day in which it was admitted, however long it takes, and in no other."""
        clock.now = datetime(2026, 1, 31, 23, 59, 59, 999_999, tzinfo=UTC)
        late = reservation(clock, 60)
        lines = [limit(100, Period.DAILY), limit(200, Period.MONTHLY)]
        await books.reserve(late, lines)
        clock.now = datetime(2026, 2, 1, tzinfo=UTC)
        await books.call(100, lines)  # the new day and month are empty, though the other call goes on
        await books.settle(row_of(late, ended_at=clock()))
        sums = RollUp.objects.filter(dimension="user", span="day").order_by("starts_at")
        assert [(f"{row.starts_at:%m-%d}", row.micro_dollars) for row in sums] == [("01-31", 60), ("02-01", 100)]
        with pytest.raises(BudgetExceeded):
            await books.call(1, lines)
        clock.go_on(days=1)
        await books.call(100, lines)
        with pytest.raises(BudgetExceeded, match="this month"):
            await books.call(1, lines)

    async def test_an_hour_at_four_fifths_of_the_budget_without_a_refusal(self, books: TestBooks, clock: Clock) -> None:
        """Up to eight calls side by side, every estimate too high by a third, for an hour: nobody is sent away."""
        lines, under_way = [limit(10_000, Period.HOURLY)], []
        for number in range(400):
            held = reservation(clock, 26)
            await books.reserve(held, lines)
            under_way.append(held)
            if len(under_way) == 8 or number == 399:
                await asyncio.gather(*(books.settle(row_of(one, micro_dollars=20)) for one in under_way))
                under_way.clear()
            clock.go_on(seconds=8.9)
        assert clock() < datetime(2026, 3, 4, 13, tzinfo=UTC)
        assert UsageRecord.objects.aggregate(sum=Sum("micro_dollars")) == {"sum": 8_000}

    async def test_a_budget_made_in_the_middle_of_a_month_is_right_at_once(
        self, books: TestBooks, clock: Clock
    ) -> None:
        clock.now = datetime(2026, 3, 1, tzinfo=UTC)
        for _ in range(3):
            await books.call(30)
            clock.go_on(days=9)
        going_on = reservation(clock, 8)
        await books.reserve(going_on)
        await books.reserve(reservation(clock, 2), [limit(100)])
        with pytest.raises(BudgetExceeded, match=r"\$0.00009 spent this month"):
            await books.call(1, [limit(100)])

    @pytest.mark.parametrize(
        ("applies_to", "subject", "ben_too"),
        [
            ("each_user", "", False),
            ("user", "ann", False),
            ("key", "ann/ownerKey/1", False),
            ("group_member", "staff", False),
            ("group", "staff", True),
            ("account", "lab-7", False),
            ("all", "", True),
        ],
    )
    @pytest.mark.parametrize("settled", [True, False])
    async def test_whose_spending_a_budget_counts(
        self, books: TestBooks, applies_to: str, subject: str, ben_too: bool, settled: bool
    ) -> None:
        """Ben spends first; then ann may spend all of it, or all but what ben has."""
        Budget.objects.create(applies_to=applies_to, subject=subject, period="Total", micro_dollars=100)
        lines = await lines_for(ANN)
        assert [(line.source, line.limit.micro_dollars) for line in lines] == [("admin", 100)]
        if settled:
            await books.call(60, principal=BEN)
        else:
            await books.reserve(reservation(books.now, 60, principal=BEN))
        room = 40 if ben_too else 100
        held = reservation(books.now, room, principal=ANN)
        await books.reserve(held, lines)
        with pytest.raises(BudgetExceeded):
            await books.reserve(reservation(books.now, 1, principal=ANN), lines)

    async def test_the_keys_own_limit_and_the_requests(self, books: TestBooks) -> None:
        month = SpendLimit(period=Period.MONTHLY, micro_dollars=50)
        keyed = Principal(user_id="ann", api_key_id="k", limit=month)
        lines = await lines_for(keyed, tighter=SpendLimit(period=Period.TOTAL, micro_dollars=20))
        assert [(line.dimension, line.value, line.source, line.limit.micro_dollars) for line in lines] == [
            ("key", "k", "key", 50),
            ("user", "ann", "user", 20),
        ]

    async def test_inactive_budgets_and_other_peoples_do_not_apply(self, books: TestBooks) -> None:
        Budget.objects.create(applies_to="all", period="Total", micro_dollars=1, active=False)
        Budget.objects.create(applies_to="user", subject="an", period="Total", micro_dollars=1)
        Budget.objects.create(applies_to="group", subject="orchestra", period="Total", micro_dollars=1)
        assert await lines_for(ANN) == ()

    async def test_without_ever_having_read_the_budgets_nobody_is_admitted(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def away() -> Any:
            raise OperationalError

        monkeypatch.setattr("usage.budgets._read_budgets", away)
        with pytest.raises(Unavailable):
            await lines_for(ANN)


class TestDeadProcesses:
    async def test_calls_of_a_dead_process_are_booked_as_crashed(
        self, make_books: Callable[..., TestBooks], clock: Clock
    ) -> None:
        dead, alive = make_books(lease=100), make_books(lease=100)
        held = [reservation(clock, 10), reservation(clock, 20)]
        await dead.reserve(held[0])
        await alive.reserve(held[1])
        for _ in range(5):
            clock.go_on(seconds=30)
            await alive.look_after()
        row = UsageRecord.objects.get()
        assert (row.call_id, row.outcome, row.estimated, row.micro_dollars) == (held[0].call_id, "crashed", True, 10)
        assert (row.started_at, row.duration_ms) == (held[0].reserved_at, 120_000)
        assert Reservation.objects.get().call_id == held[1].call_id
        await dead.settle(row_of(held[0], micro_dollars=99))  # it was not dead after all, only cut off
        assert UsageRecord.objects.get().micro_dollars == 10
        assert not differences()

    async def test_after_an_outage_the_living_have_time_to_say_so(
        self, make_books: Callable[..., TestBooks], clock: Clock
    ) -> None:
        one, other = make_books(lease=100), make_books(lease=100)
        held = reservation(clock)
        await one.reserve(held)
        clock.go_on(seconds=1_000)
        other._on_return()
        await other.look_after()
        await one.look_after()
        await other.look_after()
        assert Reservation.objects.get().call_id == held.call_id and not UsageRecord.objects.exists()

    async def test_what_was_reserved_too_late_is_dropped(self, books: TestBooks, clock: Clock) -> None:
        """As when a transaction goes through after its caller was told that nobody can be asked."""
        late = reservation(clock, worker=books.worker, expires_at=clock())
        Reservation.objects.bulk_create([late])
        clock.go_on(seconds=31)
        await books.look_after()
        assert not Reservation.objects.exists() and not UsageRecord.objects.exists()


class TestDatabaseAway:
    async def test_calls_go_on_and_are_booked_once_when_it_is_back(self, books: TestBooks) -> None:
        begun = reservation(books.now, 1)
        await books.reserve(begun, [limit(100)])
        books.at_hand.pulled = True
        await books.settle(row_of(begun))
        await asyncio.gather(*(books.call(2) for _ in range(20)))
        going_on, dropped = reservation(books.now, 3), reservation(books.now, 4)
        await books.reserve(going_on)
        await books.reserve(dropped)
        books.release(dropped.call_id)
        await books.flush()
        assert books.database_away and not UsageRecord.objects.exists()
        await self._back(books)
        assert UsageRecord.objects.count() == 21 and not differences()
        assert [held.call_id for held in Reservation.objects.all()] == [going_on.call_id]
        await books.settle(row_of(going_on))
        assert UsageRecord.objects.count() == 22 and not list(books.folder.iterdir())

    async def _back(self, books: TestBooks) -> None:
        books.at_hand.pulled = False
        async with asyncio.timeout(10):
            while books.database_away:  # noqa: ASYNC110 - it probes every millisecond
                await asyncio.sleep(0.001)
        await books.flush()

    async def test_nobody_waits_long_and_who_has_a_limit_does_not_get_in(self, books: TestBooks) -> None:
        books.at_hand.pulled = True
        with pytest.raises(Unavailable, match="budget cannot be checked"):
            await books.reserve(reservation(books.now), [limit(100)])
        assert books.database_away and books.under_way == 0
        with pytest.raises(Unavailable):
            await books.reserve(reservation(books.now), [limit(100)])
        await self._back(books)
        await books.call(1, [limit(100)])

    async def test_a_replay_that_is_cut_off_counts_once(self, books: TestBooks) -> None:
        books.at_hand.pulled = True
        record = await books.call(5)
        (journal,) = books.folder.iterdir()
        kept = journal.read_bytes()
        await self._back(books)
        journal.with_name("dead.jsonl").write_bytes(kept)  # as if it had not been emptied
        await books.look_after()
        assert UsageRecord.objects.get().call_id == record.call_id and not differences()
        assert not list(books.folder.iterdir())

    async def test_the_journal_of_a_dead_process_is_booked(self, make_books: Callable[..., TestBooks]) -> None:
        dead, other = make_books(), make_books()
        dead.at_hand.pulled = True
        groups = Principal(user_id="cho", groups=frozenset({"staff", "choir"}))
        ended = await dead.call(5, principal=groups)
        going_on = reservation(dead.now, 7)
        await dead.reserve(going_on)
        await other.look_after()
        assert not UsageRecord.objects.exists()  # it lives: its file is locked
        (path,) = dead.folder.iterdir()
        # Torn in the middle of a line, as by a power cut.
        torn = path.read_bytes() + b'{"row":{"call_id":"'
        path.unlink()
        path.with_name("dead.jsonl").write_bytes(torn)
        with capture_logs() as logs:
            await other.look_after()
        assert {(row.call_id, row.outcome) for row in UsageRecord.objects.all()} == {
            (ended.call_id, "finished"),
            (going_on.call_id, "crashed"),
        }
        assert {row.value for row in RollUp.objects.filter(dimension="group")} == {"staff", "choir"}
        assert any(line["event"] == "journal_line_unreadable" for line in logs) and not differences()

    async def test_a_full_disk_leaves_the_row_in_the_log(
        self, books: TestBooks, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        held = reservation(books.now, 7)
        await books.reserve(held)
        books.at_hand.pulled = True

        def full(*_: Any, **__: Any) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(books._journal, "append", full)
        with capture_logs() as logs:
            await books.settle(row_of(held))
            with pytest.raises(Unavailable):
                await books.reserve(reservation(books.now))
        (lost,) = [line for line in logs if line["event"] == "ledger_row_lost"]
        assert (lost["run_id"], lost["micro_dollars"]) == (held.run_id, "7")

    async def test_a_row_survives_the_journal_as_it_is(self, books: TestBooks) -> None:
        held = reservation(books.now)
        row = row_of(
            held,
            raw_usage={"a": [1, {"b": None}], "ü": "\ud800"},
            first_token_ms=None,
            error_code="x",
            outcome=Outcome.KILLED,
            estimated=True,
            ended_at=datetime(2026, 3, 4, 1, 2, 3, 4, tzinfo=UTC),
        )
        books.at_hand.pulled = True
        await books.settle(row)
        (journal,) = books.folder.iterdir()
        assert json.loads(journal.read_bytes())["row"]["micro_dollars"] == "10"
        kept = books._journal.read().rows[row.call_id]
        for field in UsageRecord._meta.concrete_fields[1:]:
            assert getattr(kept, field.attname) == getattr(row, field.attname), field.attname


async def test_a_reservation_that_comes_after_its_row_is_only_removed(books: TestBooks, clock: Clock) -> None:
    """As when a transaction of a dead process goes through after its journal was booked."""
    record = await books.call(5)
    late = reservation(clock, 5, call_id=record.call_id, worker="dead", expires_at=clock())
    Reservation.objects.bulk_create([late])
    clock.go_on(seconds=1_000)
    await books.look_after()
    assert not Reservation.objects.exists() and UsageRecord.objects.get().outcome == "finished" and not differences()
    Reservation.objects.bulk_create([late])
    await books.settle(row_of(late))
    assert not Reservation.objects.exists() and UsageRecord.objects.count() == 1 and not differences()


def test_a_journal_that_its_process_removes_meanwhile_is_not_taken_over(tmp_path: Path, clock: Clock) -> None:
    """Somebody has opened it just before: what it said is booked, and its calls are alive."""
    journal = Journal(tmp_path, "living")
    journal.append(holds=[reservation(clock)])
    (path,) = tmp_path.iterdir()
    opened = os.open(path, os.O_RDWR)
    journal.clear(journal.read())
    with patch("usage.journal.os.open", return_value=opened):
        assert Orphan.taken(path) is None
    assert not list(tmp_path.iterdir())


def test_a_journal_that_is_taken_over_while_it_is_made_is_made_again(tmp_path: Path, clock: Clock) -> None:
    """Between its making and its locking another process takes it for a dead one's: it is empty, so it is removed."""
    journal, path, lock = Journal(tmp_path, "new"), tmp_path / "new.jsonl", fcntl.flock
    times: list[int] = []

    def lock_late(file: int, how: int) -> None:
        if not times:
            path.unlink()
        times.append(file)
        lock(file, how)

    with patch("usage.journal.fcntl.flock", lock_late):
        journal.append(holds=[reservation(clock)])
    assert len(times) == 2 and path.read_bytes().startswith(b'{"hold"')
    assert len(journal.read().holds) == 1
