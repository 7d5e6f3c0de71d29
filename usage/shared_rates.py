"""Rate limits that several processes count together, in the store that they share.

A run asks once, before it begins, in one step that nothing comes between. What it uses after that, and that it has
ended, is told a moment later, behind its back. The clock is the store's. While the store is away everybody may go on,
as far as this is concerned; what is told in that time is lost, and is worth a minute at most.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import structlog

from core.aio import TaskSet
from core.shared_store import SharedStore, StoreAway
from usage.rate_limits import MINUTE, SOON, Limit, Waits

log = structlog.get_logger(__name__)

# Seconds that a run waits for the store before it begins without.
ASK_SECONDS = 0.25
TELL_SECONDS = 2.0
# Between two tellings, each of all that has come up since the last.
PAUSE_SECONDS = 0.02
# That a run has ended is told a moment later: whoever finds no slot free asks once more.
ASK_AGAIN_SECONDS = 0.06
# The slot of a run whose process has died is free again after LEASE_SECONDS.
LEASE_SECONDS = 30
RENEW_SECONDS = 10.0
AGAIN_SECONDS = 1.0
LAST_WORDS_SECONDS = 1.0
# A script holds up everybody else while it runs.
MAX_CHANGES = 500

_COMMON = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000

local function take(key, seconds)
  local paid_off = math.max(tonumber(redis.call('GET', key) or 0), now) + seconds
  if paid_off > now then
    redis.call('SET', key, string.format('%.6f', paid_off), 'EX', math.ceil(paid_off - now) + 1)
  else
    redis.call('DEL', key)
  end
end

local function stay(key, slot, lease)
  redis.call('ZADD', key, now + lease, slot)
  redis.call('EXPIRE', key, lease)
end
"""

# Arguments: the slot, the lease, and for each key what it limits with the most at once or the seconds a unit.
# Returns the index and the wait of each key that refuses.
_BEGIN = (
    _COMMON
    + """
local slot, lease, refusals = ARGV[1], ARGV[2], {}
for i, key in ipairs(KEYS) do
  local what, figure = ARGV[2 * i + 1], tonumber(ARGV[2 * i + 2])
  if what == 'runs' then
    redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
    if redis.call('ZCARD', key) >= figure then table.insert(refusals, {i, '0'}) end
  else
    local wait = tonumber(redis.call('GET', key) or 0) - now - MINUTE + figure
    if wait > SOON then table.insert(refusals, {i, tostring(wait)}) end
  end
end
if #refusals > 0 then return refusals end
for i, key in ipairs(KEYS) do
  local what, figure = ARGV[2 * i + 1], tonumber(ARGV[2 * i + 2])
  if what == 'runs' then stay(key, slot, lease) end
  if what == 'requests' then take(key, figure) end
end
return refusals
""".replace("MINUTE", str(MINUTE)).replace("SOON", str(SOON))
)

# Arguments: the lease, and for each key what is to be done with which figure.
_TELL = (
    _COMMON
    + """
for i, key in ipairs(KEYS) do
  local what, figure = ARGV[2 * i], ARGV[2 * i + 1]
  if what == 'take' then take(key, tonumber(figure)) end
  if what == 'leave' then redis.call('ZREM', key, figure) end
  if what == 'stay' then stay(key, figure, ARGV[1]) end
end
"""
)

Change = tuple[str, str, str | float]
"""A key, what is to be done with it, and the seconds or the slot."""


class SharedRates:
    """What all processes have let through, and what this one has to tell of it."""

    def __init__(self, store: SharedStore) -> None:
        self._store = store
        self._tasks = TaskSet()
        self._taken: dict[str, float] = {}
        self._left: list[Change] = []
        self._slots: dict[str, Sequence[str]] = {}
        """Of runs that go on here, each with the keys that count it."""
        self._is_news = asyncio.Event()
        self._away = False

    def start(self) -> None:
        """Begin to tell; inside the running loop."""
        self._tasks.spawn(self._tell(), name="rates-tell")

    async def begin(self, slot_id: str, limits: Sequence[Limit]) -> Waits:
        """Take what a run takes when it begins, or nothing if any of its limits has a wait."""
        waits: Waits = {}
        if not self._away:
            try:
                waits = await self._ask(slot_id, limits)
                if any(limit.what == "runs" for limit in waits):
                    await asyncio.sleep(ASK_AGAIN_SECONDS)
                    waits = await self._ask(slot_id, limits)
            except StoreAway:
                waits = {}
                self._reached(False)
        if not waits and (counted := [_key(limit) for limit in limits if limit.what == "runs"]):
            self._slots[slot_id] = counted
        return waits

    async def _ask(self, slot_id: str, limits: Sequence[Limit]) -> Waits:
        arguments: list[str | float] = [slot_id, LEASE_SECONDS]
        for limit in limits:
            arguments += [limit.what, limit.most if limit.what == "runs" else limit.seconds_a_unit]
        refusals = await self._store.run(_BEGIN, [_key(limit) for limit in limits], arguments, within=ASK_SECONDS)
        return {limits[index - 1]: float(wait) for index, wait in refusals}

    def use(self, limits: Sequence[Limit], tokens: int) -> None:
        for limit in limits:
            if limit.what == "tokens" and tokens:
                key = _key(limit)
                self._taken[key] = self._taken.get(key, 0.0) + tokens * limit.seconds_a_unit
                self._is_news.set()

    def end(self, slot_id: str, limits: Sequence[Limit]) -> None:
        self._slots.pop(slot_id, None)
        for limit in limits:
            if limit.what == "runs":
                self._left.append((_key(limit), "leave", slot_id))
                self._is_news.set()

    async def _tell(self) -> None:
        """Until cancelled. One telling at a time: a slot that is left must not be renewed by an earlier one."""
        loop = asyncio.get_running_loop()
        renew_at = loop.time() + RENEW_SECONDS
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(renew_at):
                    await self._is_news.wait()
            if self._away:
                await asyncio.sleep(AGAIN_SECONDS)
            changes = self._news()
            # A store that was away may have lost all slots.
            if self._away or loop.time() >= renew_at:
                changes += [(key, "stay", slot_id) for slot_id, keys in self._slots.items() for key in keys]
                renew_at = loop.time() + RENEW_SECONDS
            self._reached(await self._told(changes))
            await asyncio.sleep(PAUSE_SECONDS)

    def _news(self) -> list[Change]:
        changes: list[Change] = [(key, "take", seconds) for key, seconds in self._taken.items()]
        changes += self._left
        self._taken, self._left = {}, []
        self._is_news.clear()
        return changes

    async def _told(self, changes: Sequence[Change]) -> bool:
        """Whether the store took them. Where there are none, it is asked all the same: is it there?"""
        try:
            for first in range(0, len(changes) or 1, MAX_CHANGES):
                some = changes[first : first + MAX_CHANGES]
                arguments = [LEASE_SECONDS, *(part for _, *rest in some for part in rest)]
                await self._store.run(_TELL, [key for key, *_ in some], arguments, within=TELL_SECONDS)
        except StoreAway:
            return False
        return True

    def _reached(self, is_there: bool) -> None:
        if not is_there:
            self._is_news.set()  # is it there again?
        if is_there == self._away:
            self._away = not is_there
            if self._away:
                log.warning("rate_limits_not_shared", hint="The store at REDIS_URL is away: each process counts alone.")
            else:
                log.info("rate_limits_shared_again")

    async def aclose(self) -> None:
        """After the last run has ended."""
        await self._tasks.aclose()
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS_SECONDS):
                await self._told(self._news())


def _key(limit: Limit) -> str:
    return f"amplify-chat:rate:{limit.name}"
