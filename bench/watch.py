"""Judges streams: each token's order, loss and lateness, each stream's first token and stalls."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

STALL_SECONDS = 0.2  # ten frames at 50 a second: a reader sees the text stop


def now_us() -> int:
    """Microseconds of the clock that the mock stamps its tokens with (CLOCK_MONOTONIC, one per machine)."""
    return time.monotonic_ns() // 1000


@dataclass(frozen=True, slots=True)
class Spread:
    """A distribution in milliseconds; all zero when nothing was measured."""

    count: int = 0
    p50: float = 0.0
    p99: float = 0.0
    worst: float = 0.0

    @classmethod
    def of(cls, microseconds: Sequence[int]) -> "Spread":
        if not microseconds:
            return cls()
        ordered = sorted(microseconds)
        last = len(ordered) - 1
        p50, p99 = ordered[round(last * 0.5)] / 1000, ordered[round(last * 0.99)] / 1000
        return cls(len(ordered), p50, p99, ordered[-1] / 1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """One stretch of measurement. `cpu_seconds` is what the probed process used in it."""

    seconds: float
    answers: int
    tokens: int
    cpu_seconds: float

    @property
    def answers_per_second(self) -> float:
        return self.answers / self.seconds

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadResult:
    """What a load run found. Times and stalls are of the measured windows; losses and failures of the whole run.

    `stalls` counts gaps above 200 ms between two receipts of one stream, and `source_stalls` those among them that the
    mock's own stamps show too. `failed` counts answers that had another status than 200 or no proper end.
    """

    answers: int
    failed: int
    statuses: dict[int, int]
    error_events: int
    ttft: Spread
    lateness: Spread
    worst_gap: float
    stalls: int
    source_stalls: int
    lost: int
    duplicated: int
    reordered: int
    unreadable: int
    bytes_in: int
    windows: tuple[Window, ...]

    @property
    def intact(self) -> bool:
        """Whether every answer came whole, once and in order."""
        wrong = (self.failed, self.error_events, self.lost, self.duplicated, self.reordered, self.unreadable)
        return not any(wrong)

    @property
    def smooth(self) -> bool:
        return self.intact and not self.stalls


@dataclass(slots=True)
class Tally:
    """The running counts of one load run, shared by its streams."""

    answers: int = 0
    tokens: int = 0
    failed: int = 0
    error_events: int = 0
    lost: int = 0
    duplicated: int = 0
    reordered: int = 0
    unreadable: int = 0
    bytes_in: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    # Of the measured windows only:
    timing: bool = True
    ttfts: list[int] = field(default_factory=list)
    lateness: list[int] = field(default_factory=list)
    worst_gap: int = 0
    stalls: int = 0
    source_stalls: int = 0

    def begin_timing(self) -> None:
        """Forget the times of the warm-up, but none of its losses."""
        self.timing = True
        self.ttfts.clear()
        self.lateness.clear()
        self.worst_gap = self.stalls = self.source_stalls = 0

    def gap(self, gap: int, source_gap: int) -> None:
        """Note the time between two receipts and, of the same tokens, between their stamps (microseconds)."""
        if not self.timing:
            return
        self.worst_gap = max(self.worst_gap, gap)
        if gap > STALL_SECONDS * 1_000_000:
            self.stalls += 1
            self.source_stalls += source_gap > STALL_SECONDS * 1_000_000

    def result(self, windows: Sequence[Window] = ()) -> LoadResult:
        return LoadResult(
            answers=self.answers,
            failed=self.failed,
            statuses=dict(self.statuses),
            error_events=self.error_events,
            ttft=Spread.of(self.ttfts),
            lateness=Spread.of(self.lateness),
            worst_gap=self.worst_gap / 1000,
            stalls=self.stalls,
            source_stalls=self.source_stalls,
            lost=self.lost,
            duplicated=self.duplicated,
            reordered=self.reordered,
            unreadable=self.unreadable,
            bytes_in=self.bytes_in,
            windows=tuple(windows),
        )


class Watch:
    """Judges one answer's text: `<n>:<microseconds> ` tokens, however the network cut or joined them."""

    __slots__ = ("_expected", "_last", "_last_stamp", "_missing", "_rest", "_sent", "_tally")

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._sent = now_us()
        self._expected = 0
        self._missing: set[int] = set()
        self._rest = b""
        self._last = 0
        self._last_stamp = 0

    @property
    def started(self) -> bool:
        return self._last > 0

    def receive(self, text: bytes) -> None:
        """Take in text that has just arrived."""
        now, previous_stamp = now_us(), self._last_stamp
        *words, self._rest = (self._rest + text).split(b" ")
        first_stamp = 0
        for word in words:
            stamp = self._token(word, now)
            first_stamp = first_stamp or stamp
            self._last_stamp = stamp
        self._note_arrival(now, first_stamp - previous_stamp)

    def _token(self, word: bytes, now: int) -> int:
        tally = self._tally
        number, _, stamp_text = word.partition(b":")
        try:
            n, stamp = int(number), int(stamp_text)
        except ValueError:
            tally.unreadable += 1
            return 0
        tally.tokens += 1
        if tally.timing:
            tally.lateness.append(now - stamp)
        if n == self._expected:
            self._expected = n + 1
        else:
            self._out_of_turn(n)
        return stamp

    def _out_of_turn(self, n: int) -> None:
        tally = self._tally
        if n > self._expected:
            self._missing.update(range(self._expected, n))
            self._expected = n + 1
        elif n in self._missing:
            self._missing.discard(n)
            tally.reordered += 1
        else:
            tally.duplicated += 1

    def _note_arrival(self, now: int, source_gap: int) -> None:
        if self._last:
            self._tally.gap(now - self._last, source_gap)
        else:
            self._tally.ttfts.append(now - self._sent)
        self._last = now

    def still_waiting(self) -> None:
        """Count the gap that is open at this moment: a stream that fell silent has no later token to show it."""
        if self._last:
            self._tally.gap(now_us() - self._last, 0)

    def finish(self, tokens: int | None) -> None:
        """The answer is over; `tokens` is how many it should have had, if that is known."""
        missing = len(self._missing)
        if tokens is not None:
            missing += max(0, tokens - self._expected)
        self._tally.lost += missing
        self._tally.unreadable += bool(self._rest)
