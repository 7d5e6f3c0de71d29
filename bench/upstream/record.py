"""What the mock remembers of its calls: who asked, what left, and whether and when the caller hung up."""

import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import orjson

KEPT_CALLS = 10_000
KEPT_BODIES = 200
MAX_BODY = 64 * 1024  # bytes; a longer one is not kept
KEY_TAIL = 4  # characters of the caller's key that are shown


class Outcome(StrEnum):
    COMPLETE = "complete"
    HUNG_UP = "hung_up"
    FAULT = "fault"


@dataclass(slots=True, kw_only=True)
class Record:
    """One call, filled in while it runs. Times are seconds of `time.monotonic`; a frame is a token or tool fragment."""

    id: int
    model: str
    key_tail: str
    started: float
    first_frame: float | None = None
    frames_sent: int = 0
    bytes_sent: int = 0
    ended: float | None = None
    outcome: Outcome | None = None
    hung_up_at: float | None = None
    body: bytes | None = None

    def end(self, outcome: Outcome) -> None:
        self.ended = time.monotonic()
        self.outcome = outcome
        if outcome is Outcome.HUNG_UP:
            self.hung_up_at = self.ended

    def shown(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "model": self.model,
            "key_tail": self.key_tail,
            "started": self.started,
            "first_frame": self.first_frame,
            "frames_sent": self.frames_sent,
            "bytes_sent": self.bytes_sent,
            "ended": self.ended,
            "outcome": self.outcome,
            "hung_up_at_frame": self.frames_sent if self.hung_up_at is not None else None,
            "hung_up_at": self.hung_up_at,
            "body": orjson.loads(self.body) if self.body is not None else None,
        }


@dataclass(slots=True)
class Book:
    """The bounded list of calls, and the counters behind deterministic shares."""

    calls: deque[Record] = field(default_factory=lambda: deque(maxlen=KEPT_CALLS))
    _with_body: deque[Record] = field(default_factory=deque)
    _numbers: Counter[str] = field(default_factory=Counter)
    _last_id: int = 0
    total_calls: int = 0
    total_frames: int = 0
    total_bytes: int = 0
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    connections: int = 0

    def open(self, *, model: str, key: str, body: bytes | None) -> Record:
        self._last_id += 1
        self.total_calls += 1
        record = Record(id=self._last_id, model=model, key_tail=key[-KEY_TAIL:], started=time.monotonic())
        self.calls.append(record)
        if body is not None and len(body) < MAX_BODY:
            self._keep_body(record, body)
        return record

    def _keep_body(self, record: Record, body: bytes) -> None:
        record.body = body
        self._with_body.append(record)
        if len(self._with_body) > KEPT_BODIES:
            self._with_body.popleft().body = None

    def number(self, name: str) -> int:
        """How many calls this model name and key had before: the counter behind `share` and `first`."""
        number = self._numbers[name]
        self._numbers[name] = number + 1
        return number

    def close(self, record: Record, outcome: Outcome) -> None:
        record.end(outcome)
        self.outcomes[outcome] += 1
        self.total_frames += record.frames_sent
        self.total_bytes += record.bytes_sent

    def clear(self) -> None:
        """Forget every call and restart the counters; calls that still run are finished but no longer listed."""
        self.calls.clear()
        self._with_body.clear()
        self._numbers.clear()

    def shown(self) -> Iterator[dict[str, Any]]:
        return (record.shown() for record in self.calls)

    def stats(self) -> dict[str, Any]:
        """Totals of ended calls since the start (`DELETE /_calls` keeps them), and what is open now."""
        return {
            "calls": self.total_calls,
            "live": self.total_calls - self.outcomes.total(),
            "outcomes": {outcome.value: count for outcome, count in self.outcomes.items()},
            "frames_sent": self.total_frames,
            "bytes_sent": self.total_bytes,
            "connections": self.connections,
            "cpu_seconds": time.process_time(),
        }
