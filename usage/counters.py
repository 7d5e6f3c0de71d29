"""What everybody has spent, as running counters: those that the platform's services and clients read (`/billing/…`).

Two backends: our own sums (`usage.own_counters`), and the platform's tables (`usage.platform.counters`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple, Protocol

HOURS = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Counter:
    """What one user has spent on one account with one API key, or without; micro-dollars, UTC.

    Source: billing-and-state §2.2.
    """

    user_id: str
    account_id: str
    api_key_id: str = ""
    """Empty: signed in, or by a service that did not say."""
    hourly: tuple[int, ...] = (0,) * HOURS
    """Today's hours."""
    today: int = 0
    month_before_today: int = 0
    """This month without today."""

    @property
    def payer(self) -> "Payer":
        return Payer(self.account_id, self.api_key_id)

    @property
    def month(self) -> int:
        return self.month_before_today + self.today


class Payer(NamedTuple):
    """On which account, and with which API key (empty: without), somebody spends."""

    account_id: str
    api_key_id: str


class CounterPage(NamedTuple):
    """All counters of some users, in the order of their ids."""

    counters: Sequence[Counter]
    after: str
    """What the next page is asked for with; empty: this is the last one."""


class Counters(Protocol):
    """Blocks. Raises OSError when what it reads from cannot be asked."""

    def of_user(self, user_id: str) -> Sequence[Counter]:
        """All that they have, one for each account and key; nothing for somebody who never spent."""
        ...

    def page(self, after: str, users: int) -> CounterPage:
        """Of everybody, some users at a time; none of them stands on two pages."""
        ...

    def everybody(self) -> Iterable[Counter]:
        """All counters; those of one user lie together."""
        ...

    def months_of(self, user_id: str, first: date) -> Mapping[date, int]:
        """What they have spent in each whole month from `first` on (its first day) to the last one; months without
        spending may be left out."""
        ...

    def months_by_payer(self, user_id: str, first: date) -> Mapping[date, Mapping[Payer, int]]:
        """As `months_of`, each month by account and key."""
        ...
