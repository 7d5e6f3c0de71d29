"""Looking up keys that are not remembered, so that it costs little whatever callers send.

Anybody may send wrong keys, thousands a second. They are not remembered as wrong, as one of them may be made in the
next moment; they go together instead.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from itertools import islice

import structlog

from accounts.stores import KeyRecord, Stores
from core.aio import TaskSet
from core.errors import TooManyRequests, Unavailable

log = structlog.get_logger(__name__)

_CANNOT_CHECK = "Your key cannot be checked at the moment. Please try again in a few seconds."
_TOO_MANY = "Too many keys are being tried at the moment. Please send the request again in a moment."


class Lookups:
    """One lookup is under way at a time; the keys that come meanwhile go together in the next.

    A key that comes again is asked for again, too: what the lookup under way says of it may be old by now.
    """

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self._waiting: dict[str, asyncio.Future[KeyRecord | Unavailable | None]] = {}
        self._tasks = TaskSet()
        self._working: asyncio.Task[None] | None = None

    async def find(self, key: str) -> KeyRecord | None:
        """Raises Unavailable."""
        answer = self._waiting.get(key)
        if answer is None:
            answer = self._waiting[key] = asyncio.get_running_loop().create_future()
            self._start_working()
        found = await asyncio.shield(answer)  # a caller that is cancelled does not take the others' answer along
        if isinstance(found, Unavailable):
            raise Unavailable(_CANNOT_CHECK) from found
        return found

    def _start_working(self) -> None:
        working = self._working
        if working is None or working.done() or working.get_loop() is not asyncio.get_running_loop():
            self._working = self._tasks.spawn(self._work(), name="look up keys")

    async def _work(self) -> None:
        while self._waiting:
            keys = list(islice(self._waiting, self._stores.keys.most_at_once))
            answers = {key: self._waiting.pop(key) for key in keys}
            outcome: Mapping[str, KeyRecord] | Unavailable = Unavailable()
            try:
                outcome = await self._look_up(keys)
            finally:  # whatever happens here, nobody waits for ever
                for key, answer in answers.items():
                    answer.set_result(outcome if isinstance(outcome, Unavailable) else outcome.get(key))

    async def _look_up(self, keys: Sequence[str]) -> Mapping[str, KeyRecord] | Unavailable:
        try:
            return await self._stores.ask(self._stores.keys.find, keys)
        except Unavailable as error:  # the store has logged it
            return error
        except Exception:  # those who wait behind these keys are still to be answered
            log.exception("key_lookup_crashed")
            return Unavailable()

    async def aclose(self) -> None:
        await self._tasks.aclose()


class Bucket:
    """At most `rate` a second over time, and two seconds' worth at once; None for no bound."""

    def __init__(self, rate: float | None) -> None:
        self._rate = rate
        self._tokens = self._most = 2.0 * (rate or 0.0)
        self._counted_at = time.monotonic()

    def take(self) -> None:
        """Raises TooManyRequests."""
        if self._rate is None:
            return
        now = time.monotonic()
        self._tokens = min(self._most, self._tokens + (now - self._counted_at) * self._rate)
        self._counted_at = now
        if self._tokens < 1:
            raise TooManyRequests(_TOO_MANY, retry_after=(1 - self._tokens) / self._rate)
        self._tokens -= 1
