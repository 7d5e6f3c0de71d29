"""The suite that every backend of `Counters` passes.

A backend's tests subclass `CountersContract` under a name that pytest collects, and say in `spend` how money is spent
where that backend reads from, and in `counters` how it is made.
"""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import uuid4

import pytest

from accounts.principal import GENERAL_ACCOUNT
from usage.counters import HOURS, Counter, Counters, Payer

NOW = datetime(2026, 3, 4, 12, 30, tzinfo=UTC)
MIDNIGHT = NOW.replace(hour=0, minute=0)
MONTH = MIDNIGHT.replace(day=1)
A_MOMENT = timedelta(microseconds=1)
_USERS = 5


def someone() -> str:
    """A user whom no other test knows."""
    return f"user-{uuid4().hex}@example.edu"


class CountersContract:
    @pytest.fixture
    def counters(self) -> Counters:
        """The backend, for which it is always `NOW`."""
        raise NotImplementedError

    @pytest.fixture
    def spend(self) -> Callable[..., None]:
        """Called as `spend(user_id, micro_dollars, at=moment, account_id=…, api_key_id=…)`: a call that was admitted at
        that moment, `NOW` or earlier, and is in the books."""
        raise NotImplementedError

    @pytest.fixture
    def pull(self) -> Callable[[], Any]:
        """From its call on to the end of the test, what the backend reads from cannot be asked."""
        raise NotImplementedError

    def test_who_never_spent_has_no_counters(self, counters: Counters) -> None:
        assert list(counters.of_user(someone())) == []
        assert not any(counters.months_of(someone(), date(2025, 1, 1)).values())
        assert not any(counters.months_by_payer(someone(), date(2025, 1, 1)).values())

    def test_hours_days_and_months_begin_in_utc(self, counters: Counters, spend: Callable[..., None]) -> None:
        ann = someone()
        for cost, at in (
            (1, NOW),
            (2, NOW.replace(minute=0)),
            (4, NOW.replace(minute=0) - A_MOMENT),
            (8, MIDNIGHT),
            (16, MIDNIGHT - A_MOMENT),
            (32, MONTH),
            (64, MONTH - A_MOMENT),
        ):
            spend(ann, cost, at=at)
        (counter,) = counters.of_user(ann)
        hours = {hour: cost for hour, cost in enumerate(counter.hourly) if cost}
        assert (counter.user_id, counter.payer) == (ann, Payer(GENERAL_ACCOUNT, ""))
        assert (hours, len(counter.hourly)) == ({12: 3, 11: 4, 0: 8}, HOURS)
        assert (counter.today, counter.month_before_today, counter.month) == (15, 48, 63)

    def test_each_account_and_key_counts_apart(self, counters: Counters, spend: Callable[..., None]) -> None:
        ann = someone()
        key = f"{ann}/ownerKey/1"
        spend(ann, 5, at=NOW)
        spend(ann, 7, at=NOW, account_id="lab#7", api_key_id=key)
        spend(ann, 11, at=MONTH, account_id="lab#7", api_key_id=key)
        found = {counter.payer: counter for counter in counters.of_user(ann)}
        assert {payer: (one.today, one.month) for payer, one in found.items()} == {
            Payer(GENERAL_ACCOUNT, ""): (5, 5),
            Payer("lab#7", key): (7, 18),
        }
        assert [found[Payer("lab#7", key)].hourly[12], found[Payer(GENERAL_ACCOUNT, "")].hourly[12]] == [7, 5]

    def test_the_hours_of_a_user_add_up_however_many_accounts_they_charge(
        self, counters: Counters, spend: Callable[..., None]
    ) -> None:
        ann = someone()
        for number, account in enumerate(("lab-1", "lab-2", "lab-3")):
            spend(ann, 10 + number, at=NOW - number * timedelta(hours=1), account_id=account)
        hourly = [sum(hour) for hour in zip(*(one.hourly for one in counters.of_user(ann)), strict=True)]
        assert {hour: cost for hour, cost in enumerate(hourly) if cost} == {12: 10, 11: 11, 10: 12}

    def test_small_amounts_are_exact(self, counters: Counters, spend: Callable[..., None]) -> None:
        ann = someone()
        amounts = [1] * 30 + [123_456_789_012]
        for cost in amounts:
            spend(ann, cost, at=NOW)
        assert sum(counter.today for counter in counters.of_user(ann)) == sum(amounts)

    def test_one_whose_name_begins_alike_is_somebody_else(self, counters: Counters, spend: Callable[..., None]) -> None:
        bob = someone()
        spend(bob, 3, at=NOW)
        spend(f"{bob}.com", 5, at=NOW)
        spend(f"{bob}#2026-03", 7, at=NOW)
        assert [counter.month for counter in counters.of_user(bob)] == [3]
        assert counters.months_of(bob, MONTH.date()) == {MONTH.date(): 3}

    def test_pages_show_everybody_once(self, counters: Counters, spend: Callable[..., None]) -> None:
        people = {someone(): cost for cost in range(1, 24)}
        for user, cost in people.items():
            spend(user, cost, at=NOW)
            spend(user, cost, at=NOW, account_id="lab", api_key_id=f"{user}/ownerKey/1")
        pages, after = [], ""
        while True:
            page = counters.page(after, _USERS)
            pages.append({counter.user_id for counter in page.counters})
            assert page.counters == sorted(page.counters, key=_order_of(page.counters))
            if not page.after:
                break
            assert len(pages[-1]) == _USERS
            after = page.after
        assert all(not one & other for one, other in pairwise(pages))
        assert sum(map(len, pages)) == len(set().union(*pages))
        assert set(people) <= set().union(*pages)
        assert {counter.user_id for counter in counters.everybody()} == set().union(*pages)
        everybody = counters.page("", 10_000)
        assert everybody.after == ""
        found = [counter for counter in everybody.counters if counter.user_id in people]
        assert sum(counter.today for counter in found) == 2 * sum(people.values())
        assert len(found) == 2 * len(people)

    def test_months_that_are_over_count_once(self, counters: Counters, spend: Callable[..., None]) -> None:
        ann = someone()
        key = f"{ann}/ownerKey/1"
        for cost, at in ((1, NOW), (2, MONTH), (4, MONTH - A_MOMENT), (8, datetime(2026, 2, 1, tzinfo=UTC))):
            spend(ann, cost, at=at)
        spend(ann, 16, at=datetime(2026, 1, 31, 23, 59, 59, tzinfo=UTC), account_id="lab", api_key_id=key)
        spend(ann, 32, at=datetime(2025, 12, 31, 23, 59, 59, tzinfo=UTC))
        march, february, january = date(2026, 3, 1), date(2026, 2, 1), date(2026, 1, 1)
        assert {**counters.months_of(ann, january)} == {march: 3, february: 12, january: 16}
        assert {**counters.months_of(ann, date(2026, 2, 17))} == {march: 3, february: 12}
        by_payer = {month: {**payers} for month, payers in counters.months_by_payer(ann, january).items()}
        assert by_payer == {
            march: {Payer(GENERAL_ACCOUNT, ""): 3},
            february: {Payer(GENERAL_ACCOUNT, ""): 12},
            january: {Payer("lab", key): 16},
        }

    def test_what_cannot_be_asked_says_so(self, counters: Counters, pull: Callable[[], Any]) -> None:
        pull()
        for ask in (
            lambda: counters.of_user("ann"),
            lambda: counters.page("", 1),
            lambda: list(counters.everybody()),
            lambda: counters.months_of("ann", MONTH.date()),
            lambda: counters.months_by_payer("ann", MONTH.date()),
        ):
            with pytest.raises(OSError, match=r"\w"):
                ask()


def _order_of(counters: Any) -> Callable[[Counter], int]:
    """By the first place at which a user stands: their counters lie together."""
    places: dict[str, int] = {}
    for counter in counters:
        places.setdefault(counter.user_id, len(places))
    return lambda counter: places[counter.user_id]
