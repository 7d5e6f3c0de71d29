"""The measures: one function each, from a running subject to named figures. Which are targets stands in `report`."""

import statistics
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial

from bench import load, process
from bench.subjects import Subject
from bench.upstream.testing import Upstream

SHORT_TOKENS = 8
CONCURRENCY = 32
FRAMES_A_SECOND = 50
COSTED_STREAMS = 256  # where the CPU per frame is read
GROWTH_GAP = 0.2  # ms between tokens: five frames a millisecond, so that 25,000 take five seconds
RAMP_SECONDS = 1.0

Figures = dict[str, float]


class MeasureError(RuntimeError):
    """The subject did not answer as it should; the message says how."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How thorough a run is."""

    reps: int = 3
    short_seconds: float = 3.0
    first_tokens: int = 150
    steps: Sequence[int] = (128, 256, 400, 512, 640, 768, 1024, 1280)
    ceiling_steps: Sequence[int] = (512, 640, 768, 1024, 1280)
    attempts: int = 2  # of a step of the ramp: a neighbour's noise on a shared machine is not the subject's limit
    step_windows: int = 4
    window_seconds: float = 2.0
    idle_streams: int = 1000
    growth: Sequence[int] = (1_000, 10_000, 25_000)

    @property
    def stream_tokens(self) -> int:
        seconds = load.stream_seconds(ramp=RAMP_SECONDS, seconds=self.window_seconds, windows=self.step_windows)
        return round(seconds * FRAMES_A_SECOND)

    @property
    def models(self) -> list[str]:
        """Every model name that the measures use; the service has to know them beforehand."""
        growth = [growth_model(tokens) for tokens in self.growth]
        return [SHORT, FIRST_TOKEN, IDLE, FIFTY, paced_model(self.stream_tokens), *growth]


SHORT = f"mock+tokens={SHORT_TOKENS}"
FIRST_TOKEN = "mock+tokens=2"
IDLE = "mock+ttft=60000"
FIFTY = "mock+tokens=50+gap=5"


def paced_model(tokens: int) -> str:
    return f"mock+tokens={tokens}+gap={1000 // FRAMES_A_SECOND}"


def growth_model(tokens: int) -> str:
    return f"mock+tokens={tokens}+gap={GROWTH_GAP}"


def _whole(result: load.LoadResult) -> load.LoadResult:
    if not result.intact:
        raise MeasureError(
            f"{result.failed} of {result.answers} answers failed (statuses {result.statuses}), {result.lost} tokens "
            f"lost, {result.duplicated} doubled, {result.reordered} out of order, {result.error_events} error events"
        )
    return result


async def short_replies(subject: Subject, settings: Settings) -> Figures:
    """Requests a second and CPU a request, with short replies in a closed loop."""
    result = await load.closed_loop(
        subject.target(SHORT, SHORT_TOKENS),
        concurrency=CONCURRENCY,
        warm_up=1.0,
        seconds=settings.short_seconds,
        windows=settings.reps,
        probe=partial(process.cpu_seconds, subject.pid),
    )
    windows = [window for window in _whole(result).windows if window.answers]
    if not windows:
        raise MeasureError("no request was answered")
    return {
        "requests": statistics.median(window.answers_per_second for window in windows),
        "request_cpu": statistics.median(1000 * window.cpu_seconds / window.answers for window in windows),
    }


async def first_token(subject: Subject, settings: Settings) -> Figures:
    """Time to the first token at one stream, from the request; and how long after the mock's stamp it arrived."""
    target = subject.target(FIRST_TOKEN, 2)
    _whole(await load.answers(target, settings.first_tokens // 5))  # warms connections and caches
    runs = [_whole(await load.answers(target, settings.first_tokens)) for _ in range(settings.reps)]
    return {
        "ttft_p50": statistics.median(run.ttft.p50 for run in runs),
        "ttft_p99": statistics.median(run.ttft.p99 for run in runs),
        "behind_p50": statistics.median(run.lateness.p50 for run in runs),
        "behind_p99": statistics.median(run.lateness.p99 for run in runs),
    }


async def _step(subject: Subject, settings: Settings, count: int) -> load.LoadResult:
    tokens = settings.stream_tokens
    return await load.streams(
        subject.target(paced_model(tokens), tokens),
        count,
        ramp=RAMP_SECONDS,
        seconds=settings.window_seconds,
        windows=settings.step_windows,
        probe=partial(process.cpu_seconds, subject.pid),
    )


def _frame_cost(result: load.LoadResult) -> Figures:
    windows = [window for window in result.windows if window.tokens]
    costs = [1e6 * window.cpu_seconds / window.tokens for window in windows]
    return {
        "frame_cpu": statistics.median(costs) if costs else 0.0,
        "late_p50": result.lateness.p50,
        "late_p99": result.lateness.p99,
    }


async def stall_free_streams(
    subject: Subject, settings: Settings, *, ceiling: bool = False, say: Callable[[str], None] = lambda _line: None
) -> Figures:
    """The most streams at 50 frames a second without a stall or a loss; and, on the way, what a frame costs."""
    figures: Figures = {"streams": 0}
    for count in settings.ceiling_steps if ceiling else settings.steps:
        for _attempt in range(settings.attempts):
            result = await _step(subject, settings, count)
            say(f"{count} streams: {describe(result)}")
            if result.smooth:
                break
        # Starved frames join into fewer writes and look cheap: a cost is comparable only where nothing stalled.
        if count == COSTED_STREAMS and result.smooth:
            figures |= _frame_cost(result)
        if not result.smooth:
            break
        figures["streams"] = count
    return figures


def describe(result: load.LoadResult) -> str:
    """A step of the ramp in one line."""
    verdict = "smooth" if result.smooth else "not smooth"
    return (
        f"{verdict}, late p50 {result.lateness.p50:.1f} p99 {result.lateness.p99:.1f} ms, worst gap "
        f"{result.worst_gap:.0f} ms, stalls {result.stalls} (the mock's own {result.source_stalls}), "
        f"lost {result.lost}, failed {result.failed}"
    )


async def idle_streams(subject: Subject, settings: Settings) -> Figures:
    """Memory per open stream that waits for its first token, and the threads that many of them take.

    For a subject that has just started: one that has held many streams before has their memory to give again.
    """
    count = settings.idle_streams
    _whole(await load.answers(subject.target(FIRST_TOKEN, 2), settings.first_tokens))  # loads what every call needs
    before = process.resident_kb(subject.pid)
    async with load.hold(subject.target(IDLE), count, ramp=count / 500, settle=1.0) as alive:
        if alive() < count:
            raise MeasureError(f"only {alive()} of {count} idle streams stayed open")
        grown = process.resident_kb(subject.pid) - before
        return {"idle_kb": max(0, grown) / count, "threads": process.threads(subject.pid)}


async def fifty_tokens(subject: Subject) -> Figures:
    """Bytes on the wire, headers included, for an answer of 50 tokens."""
    result = _whole(await load.answers(subject.target(FIFTY, 50), 1))
    return {"fifty_bytes": result.bytes_in}


async def growth(subject: Subject, settings: Settings, upstream: Upstream) -> Figures:
    """Bytes that the reader gets for each byte that the mock sent, at several lengths."""
    figures: Figures = {}
    for tokens in settings.growth:
        upstream.clear()
        result = _whole(await load.answers(subject.target(growth_model(tokens), tokens), 1))
        sent = upstream.wait_until_ended()[-1]["bytes_sent"]
        figures[f"growth_{tokens}"] = result.bytes_in / sent
    return figures


Measure = Callable[[], Coroutine[None, None, Figures]]


def all_measures(
    subject: Subject, settings: Settings, upstream: Upstream, say: Callable[[str], None]
) -> dict[str, Measure]:
    """The measures of a subject that may be taken one after the other."""
    return {
        "short replies": partial(short_replies, subject, settings),
        "first token": partial(first_token, subject, settings),
        "50-token answer": partial(fifty_tokens, subject),
        "long answers": partial(growth, subject, settings, upstream),
        "stall-free streams": partial(stall_free_streams, subject, settings, say=say),
    }


def fresh_measures(subject: Subject, settings: Settings) -> dict[str, Measure]:
    """The measures of a subject that has just started."""
    return {"idle streams": partial(idle_streams, subject, settings)}


def ceiling_measures(subject: Subject, settings: Settings, say: Callable[[str], None]) -> dict[str, Measure]:
    """What the mock and the load generator can do by themselves."""
    return {
        "short replies": partial(short_replies, subject, settings),
        "first token": partial(first_token, subject, settings),
        "50-token answer": partial(fifty_tokens, subject),
        "stall-free streams": partial(stall_free_streams, subject, settings, ceiling=True, say=say),
    }
