"""Limits on how fast and how much at once, per user and per API key.

Each process counts what it lets through itself, in its memory, which costs nothing. Where processes share a store, they
count together as well (`usage.shared_rates`); while it is away, each again counts alone.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import ceil
from typing import TYPE_CHECKING

from accounts.principal import Principal
from core.errors import TooManyRequests
from core.ids import new_uuid

if TYPE_CHECKING:  # nobody pays for what is off
    from usage.shared_rates import SharedRates

MINUTE = 60.0
SOON = 0.001
"""So little (seconds) is a rounding error: who has waited as told gets in."""
# Subjects that are remembered before those at rest are forgotten.
_TIDY_AT = 10_000
# When the next of several runs will end nobody knows; a second is not long.
_RUN_RETRY_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """0 is no limit."""

    requests_per_minute: int = 0
    tokens_per_minute: int = 0
    """Input and output together: estimated when a call begins, corrected when it ends."""
    concurrent_runs: int = 0


@dataclass(frozen=True, eq=False)
class Limit:
    """One limit of one subject."""

    what: str
    """`runs`, `requests` or `tokens`."""
    most: int
    """At once, or a minute."""
    subject: str
    whom: str
    """The subject, as it is spoken to."""

    @cached_property
    def name(self) -> str:
        return f"{self.what}:{self.subject}"

    @cached_property
    def seconds_a_unit(self) -> float:
        return MINUTE / self.most

    def refusal(self, wait: float) -> TooManyRequests:
        """`wait`: seconds; 0 where nobody knows."""
        if self.what == "runs":
            message = f"{self.most} answers at once is the most for {self.whom}. Wait for one to end, or stop one."
            return TooManyRequests(message, retry_after=_RUN_RETRY_SECONDS)
        message = f"{self.most:,} {self.what} a minute is the most for {self.whom}. Try again in {ceil(wait)} s."
        return TooManyRequests(message, retry_after=wait)


@lru_cache(_TIDY_AT)
def _limits(rates: Rates, subject: str, whom: str) -> tuple[Limit, ...]:
    """Those that are set."""
    figures = {
        "runs": rates.concurrent_runs,
        "requests": rates.requests_per_minute,
        "tokens": rates.tokens_per_minute,
    }
    return tuple(Limit(what, most, subject, whom) for what, most in figures.items() if most)


Waits = Mapping[Limit, float]
"""Limits that let nothing through now, each with the seconds until it does (0: nobody knows)."""


class Pace:
    """So many units a minute for each subject, as a generic cell rate: a minute's worth at once, then evenly.

    Whoever has any left may go on, also for more than is left; who is then in debt waits until it is paid off.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._paid_off: dict[str, float] = {}
        """When each limit's units will all have come back."""

    def wait(self, limit: Limit) -> float:
        """Seconds until the subject may go on; 0 for now."""
        ahead = self._paid_off.get(limit.name, 0.0) - self._clock()
        wait = ahead - MINUTE + limit.seconds_a_unit
        return wait if wait > SOON else 0.0

    def take(self, limit: Limit, units: float) -> None:
        """Negative units are given back."""
        if len(self._paid_off) > _TIDY_AT:
            now = self._clock()
            self._paid_off = {name: until for name, until in self._paid_off.items() if until > now}
        begun = max(self._paid_off.get(limit.name, 0.0), self._clock())
        self._paid_off[limit.name] = begun + units * limit.seconds_a_unit


class OwnRates:
    """What this process has let through."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._running: Counter[str] = Counter()
        self._pace = Pace(clock)

    def waits(self, limits: Sequence[Limit]) -> Waits:
        found: dict[Limit, float] = {}
        for limit in limits:
            if limit.what != "runs":
                if wait := self._pace.wait(limit):
                    found[limit] = wait
            elif self._running[limit.name] >= limit.most:
                found[limit] = 0.0
        return found

    def begin(self, limits: Sequence[Limit]) -> None:
        self._count(limits, 1)

    def take_back(self, limits: Sequence[Limit]) -> None:
        """It has not begun after all."""
        self._count(limits, -1)
        self._forget_idle(limits)

    def use(self, limits: Sequence[Limit], tokens: int) -> None:
        for limit in limits:
            if limit.what == "tokens" and tokens:
                self._pace.take(limit, tokens)

    def end(self, limits: Sequence[Limit]) -> None:
        for limit in limits:
            if limit.what == "runs":
                self._running[limit.name] -= 1
        self._forget_idle(limits)

    def _count(self, limits: Sequence[Limit], runs: int) -> None:
        for limit in limits:
            if limit.what == "runs":
                self._running[limit.name] += runs
            elif limit.what == "requests":
                self._pace.take(limit, runs)

    def _forget_idle(self, limits: Sequence[Limit]) -> None:
        for limit in limits:
            if not self._running[limit.name]:
                del self._running[limit.name]


class RateLimiter:
    def __init__(
        self,
        *,
        user: Rates | None = None,
        key: Rates | None = None,
        shared: "SharedRates | None" = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`shared`: what other processes have let through counts too. `clock` tells seconds."""
        self._user, self._key = user or Rates(), key or Rates()
        self._own = OwnRates(clock)
        self._shared = shared

    async def begin(self, principal: Principal) -> "Slot":
        """Let a run begin. Raises TooManyRequests with the seconds to wait."""
        limits = self._limits(principal)
        # What is too much for this process alone is too much, and nobody else need be asked.
        _check(self._own.waits(limits))
        self._own.begin(limits)
        slot = Slot(limits, self._own, self._shared)
        if self._shared is not None and limits:
            try:
                waits = await self._shared.begin(slot.id, limits)
            except BaseException:  # cancelled, perhaps: it may have a slot there by now, which nobody would end
                slot.end()
                raise
            if waits:
                self._own.take_back(limits)
                _check(waits)
        return slot

    def _limits(self, principal: Principal) -> Sequence[Limit]:
        limits = _limits(self._user, f"user:{principal.user_id}", "you")
        if principal.api_key_id is not None:
            limits += _limits(self._key, f"key:{principal.api_key_id}", "this API key")
        return limits


def _check(waits: Waits) -> None:
    if waits:
        # The longest, so that who waits as told gets in.
        raise max(
            (limit.refusal(wait) for limit, wait in waits.items()),
            key=lambda refusal: refusal.retry_after,
        )


class Slot:
    """What one run takes up; call `end` when it has ended, more than once if need be."""

    def __init__(self, limits: Sequence[Limit], own: OwnRates, shared: "SharedRates | None") -> None:
        self._limits, self._own, self._shared = limits, own, shared
        self._ended = False

    @cached_property
    def id(self) -> str:
        return new_uuid().hex

    def use(self, tokens: int) -> None:
        """Tokens of its calls, as soon as they are known or reckoned with; negative ones are given back."""
        self._own.use(self._limits, tokens)
        if self._shared is not None:
            self._shared.use(self._limits, tokens)

    def end(self) -> None:
        if not self._ended:
            self._ended = True
            self._own.end(self._limits)
            if self._shared is not None:
                self._shared.end(self.id, self._limits)
