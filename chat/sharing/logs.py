"""A run's log in the store: a stream of its own, written by the process that conducts the run.

An entry holds the frames up to a number, which is the first half of its id; so a reader asks for what comes after the
last frame that it has. The first entry also says whose run it is, the last one how it ended. A stream outlives its run
by as long as ended runs are kept, and a process that dies by as long as a run may last.
"""

import asyncio
import time
from dataclasses import asdict
from typing import Any

import orjson
import structlog

from chat.runs import ConductedRun, RunLimits
from chat.wire import Frame
from core.shared_store import Addition, Fields, SharedStore, StoreAway, Written

log = structlog.get_logger(__name__)

# A write takes what all runs have said since the last one; what that costs: docs/performance.md.
PAUSE_SECONDS = 0.2
AGAIN_SECONDS = 0.3


def stream_of(run_id: str) -> str:
    return f"amplify-chat:run:{run_id}"


def number_of(entry_id: str) -> int:
    """Of the last frame that the log has with this entry."""
    return int(entry_id.partition("-")[0])


def frames_of(fields: Fields) -> list[Frame]:
    """JSON on one line each, as it is written."""
    frames = fields.get(b"frames")
    return frames.split(b"\n") if frames else []


class LogWriter:
    """Writes the logs of this process's runs to the store, behind the runs' backs."""

    def __init__(self, store: SharedStore, process_id: str, limits: RunLimits) -> None:
        self._store = store
        self._process_id = process_id
        self._limits = limits
        self._news: dict[_Shared, None] = {}
        self._is_news = asyncio.Event()
        self.away = False
        """The last attempt to write failed."""

    def share(self, run: ConductedRun, *, if_lost: tuple[Frame, ...]) -> None:
        """Keep it written until it ends. `if_lost`: what readers elsewhere are told if this process dies before."""
        head = {"owner": run.owner, "process": self._process_id, "if_lost": [frame.decode() for frame in if_lost]}
        shared = _Shared(run, orjson.dumps(head), self._limits)

        def on_news() -> None:
            self._news[shared] = None
            self._is_news.set()

        run.log.watch(on_news)
        on_news()

    async def write(self) -> None:
        """Until cancelled."""
        while True:
            await self._is_news.wait()
            await self.write_news()
            await asyncio.sleep(AGAIN_SECONDS if self.away else PAUSE_SECONDS)

    async def write_news(self) -> None:
        """All that is not in the store yet; what cannot be written now is left for the next time."""
        news, self._news = list(self._news), {}
        self._is_news.clear()
        written: list[Written] = ["refused"] * len(news)
        try:
            written = await self._store.add_all([shared.addition() for shared in news])
        except StoreAway:
            pass
        finally:
            left = [shared for shared, how in zip(news, written, strict=True) if not shared.settle(how)]
            if left:
                self._news = dict.fromkeys(left) | self._news
                self._is_news.set()
        self._note(away="refused" in written)

    def _note(self, *, away: bool) -> None:
        if away and not self.away:
            log.warning(
                "runs_not_shared",
                hint="REDIS_URL does not take them: a run is found by the process alone that answers.",
            )
        elif self.away and not away:
            log.info("runs_shared_again")
        self.away = away


class _Shared:
    """How far one run's log is in the store."""

    __slots__ = ("_head", "_limits", "_offered", "_run", "_until", "_written")

    def __init__(self, run: ConductedRun, head: bytes, limits: RunLimits) -> None:
        self._run = run
        self._head = head
        self._limits = limits
        self._written: int | None = None
        """The number of the last frame there; None before the head is."""
        self._offered = 0
        self._until: float | None = None

    def addition(self) -> Addition:
        """All that is new; `settle` says what has become of it."""
        run, ended, begins = self._run, self._run.log.closed, self._written is None
        frames = run.log.since(self._written or 0)
        self._offered = (self._written or 0) + len(frames)
        fields: dict[str, Any] = {"head": self._head} if begins else {}
        if frames:
            fields["frames"] = b"\n".join(frames)
        if ended:
            fields["end"] = orjson.dumps({"reason": run.reason, "usage": asdict(run.usage)})
            self._until = self._until or time.monotonic() + self._limits.keep
        return Addition(
            stream_of(run.id), f"{self._offered}-{2 if ended else 1}", fields, begins, self._expires(begins, ended)
        )

    def _expires(self, begins: bool, ended: bool) -> int | None:
        if ended:
            return int(self._limits.keep) + 1
        return int(self._limits.deadline + self._limits.grace + self._limits.keep) + 1 if begins else None

    def settle(self, how: Written) -> bool:
        """Whether nothing is left to write for now. What nobody could read any more is not tried again: while the store
        is away, the logs of ended runs must not pile up."""
        match how:
            case "written":
                self._written = self._offered
            case "gone":  # a store that was emptied gets it whole
                self._written = None
            case "refused":
                pass
        return how == "written" or (self._until is not None and time.monotonic() > self._until)
