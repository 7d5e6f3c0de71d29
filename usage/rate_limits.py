"""Limits on how fast and how much at once, per user and per API key; kept in the memory of each process.

With several processes behind a load balancer each lets through as much as it is set to. Nothing is shared, because a
limit that protects the service must cost nothing; what may be *spent* is exact across processes (`usage.books`).
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from accounts.principal import Principal
from core.errors import TooManyRequests

MINUTE = 60.0
# Subjects that are remembered before those at rest are forgotten.
_TIDY_AT = 10_000
# So little (seconds) is a rounding error: who has waited as told gets in.
_SOON = 0.001
# When the next of several runs will end nobody knows; a second is not long.
_RUN_RETRY_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """0 is no limit."""

    requests_per_minute: int = 0
    tokens_per_minute: int = 0
    """Input and output together: estimated when a call begins, corrected when it ends."""
    concurrent_runs: int = 0


class Pace:
    """So many units a minute for each subject, as a generic cell rate: a minute's worth at once, then evenly.

    Whoever has any left may go on, also for more than is left; who is then in debt waits until it is paid off.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float]) -> None:
        self._seconds_a_unit = MINUTE / per_minute
        self._clock = clock
        self._paid_off: dict[str, float] = {}
        """When each subject's units will all have come back."""

    def wait(self, subject: str) -> float:
        """Seconds until the subject may go on; 0 for now."""
        ahead = self._paid_off.get(subject, 0.0) - self._clock()
        wait = ahead - MINUTE + self._seconds_a_unit
        return wait if wait > _SOON else 0.0

    def take(self, subject: str, units: float) -> None:
        """Negative units are given back."""
        if len(self._paid_off) > _TIDY_AT:
            now = self._clock()
            self._paid_off = {name: until for name, until in self._paid_off.items() if until > now}
        self._paid_off[subject] = max(self._paid_off.get(subject, 0.0), self._clock()) + units * self._seconds_a_unit


class _Subjects:
    """All users, or all keys."""

    def __init__(self, what: str, rates: Rates, clock: Callable[[], float]) -> None:
        self.what = what
        self.rates = rates
        self.requests = Pace(rates.requests_per_minute, clock) if rates.requests_per_minute else None
        self.tokens = Pace(rates.tokens_per_minute, clock) if rates.tokens_per_minute else None
        self.running: Counter[str] = Counter()

    def refusals(self, subject: str) -> Iterator[TooManyRequests]:
        """Why the subject may not go on now."""
        most = self.rates.concurrent_runs
        if most and self.running[subject] >= most:
            yield TooManyRequests(
                f"{most} answers at once is the most for {self.what}. Wait for one to end, or stop one.",
                retry_after=_RUN_RETRY_SECONDS,
            )
        if self.requests is not None and (wait := self.requests.wait(subject)):
            yield self._too_many("requests", self.rates.requests_per_minute, wait)
        if self.tokens is not None and (wait := self.tokens.wait(subject)):
            yield self._too_many("tokens", self.rates.tokens_per_minute, wait)

    def _too_many(self, units: str, most: int, wait: float) -> TooManyRequests:
        return TooManyRequests(
            f"{most:,} {units} a minute is the most for {self.what}. Try again in {wait:.0f} s.", retry_after=wait
        )

    def begin(self, subject: str) -> None:
        if self.rates.concurrent_runs:
            self.running[subject] += 1
        if self.requests is not None:
            self.requests.take(subject, 1)

    def use(self, subject: str, tokens: int) -> None:
        if self.tokens is not None and tokens:
            self.tokens.take(subject, tokens)

    def end(self, subject: str) -> None:
        if self.rates.concurrent_runs:
            self.running[subject] -= 1
            if not self.running[subject]:
                del self.running[subject]


class RateLimiter:
    def __init__(
        self, *, user: Rates | None = None, key: Rates | None = None, clock: Callable[[], float] = time.monotonic
    ):
        """`clock` tells seconds."""
        self._users = _Subjects("you", user or Rates(), clock)
        self._keys = _Subjects("this API key", key or Rates(), clock)

    def begin(self, principal: Principal) -> "Slot":
        """Let a run begin. Raises TooManyRequests with the seconds to wait."""
        subjects = list(self._subjects(principal))
        refusals = [refusal for kind, subject in subjects for refusal in kind.refusals(subject)]
        if refusals:
            # The longest, so that who waits as told gets in.
            raise max(refusals, key=lambda refusal: refusal.retry_after)
        return Slot(subjects)

    def _subjects(self, principal: Principal) -> Iterator[tuple[_Subjects, str]]:
        yield self._users, principal.user_id
        if principal.api_key_id is not None:
            yield self._keys, principal.api_key_id


class Slot:
    """One run's place; call `end` when it has ended, more than once if need be."""

    def __init__(self, subjects: "list[tuple[_Subjects, str]]") -> None:
        self._subjects = subjects
        for kind, subject in subjects:
            kind.begin(subject)
        self._ended = False

    def use(self, tokens: int) -> None:
        """Tokens of its calls, as soon as they are known or reckoned with; negative ones are given back."""
        for kind, subject in self._subjects:
            kind.use(subject, tokens)

    def end(self) -> None:
        if not self._ended:
            self._ended = True
            for kind, subject in self._subjects:
                kind.end(subject)
