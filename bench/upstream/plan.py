"""What one call gets, read from its model name: `mock+tokens=50+ttft=100+gap=20+fault=cut`."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import lru_cache
from typing import Any

MAX_TOKENS = 25_000
FAMILY = "mock"


class Fault(StrEnum):
    """What goes wrong. The first group answers with a status, the second ends badly, the third is odd but whole.

    In every dialect: `no-done` leaves out the vendor's last word and ends cleanly (`[DONE]`, `response.completed`,
    Gemini's chunk with the finish reason, `message_stop`, Bedrock's messageStop and metadata); `overflow` refuses the
    prompt as longer than the context. Embeddings and other whole answers know the faults that a whole answer can have
    (`faults._WHOLE`) and are not touched by the rest.
    """

    BAD_REQUEST = "400"
    UNAUTHORIZED = "401"
    NOT_FOUND = "404"
    TOO_LARGE = "413"
    RATE_LIMITED = "429"
    SERVER_ERROR = "500"
    UNAVAILABLE = "503"
    OVERLOADED = "529"
    OVERFLOW = "overflow"

    MUTE = "mute"
    SILENT = "silent"
    HALF_SILENT = "half-silent"
    CUT = "cut"
    CLOSE = "close"
    NO_DONE = "no-done"
    GARBAGE = "garbage"
    CRC = "crc"  # Bedrock only: a frame whose checksum is wrong, good ones around it
    ERROR_EVENT = "error-event"
    HTML = "html"

    SLOW_HEADERS = "slow-headers"
    UTF8 = "utf8"
    TWO_IN_ONE = "two-in-one"
    SPLIT = "split"
    HUGE_LINE = "huge-line"
    EMPTY = "empty"
    LENGTH = "length"
    CONTENT_FILTER = "content-filter"
    GUARDRAIL = "guardrail"  # Bedrock only
    TOOLS = "tools"

    @property
    def status(self) -> int | None:
        """The HTTP status of a refusal, or None for a fault of the stream."""
        if self is Fault.OVERFLOW:
            return 400
        return int(self) if self.isdigit() else None

    @property
    def harmless(self) -> bool:
        """Whether the caller still gets a whole, well-formed answer."""
        return self in _HARMLESS


_HARMLESS = frozenset(list(Fault)[list(Fault).index(Fault.SLOW_HEADERS) :])

SPECIAL_FAULTS = frozenset({Fault.CRC, Fault.GUARDRAIL})
"""Faults that only some dialects can have; the others refuse a plan with them."""


class Trouble(StrEnum):
    """What a `fault=error-event` is about; `typical` is what the vendor's callers see most."""

    TYPICAL = "typical"
    SERVER = "server"
    RATE_LIMIT = "rate-limit"
    OVERLOADED = "overloaded"
    INVALID = "invalid"


class Text(StrEnum):
    """What the tokens say."""

    STAMP = "stamp"  # `<n>:<monotonic microseconds> `, taken when the token is sent
    PLAIN = "plain"  # `w<n> `
    EMOJI = "emoji"  # two- to four-byte characters
    ECHO = "echo"  # the words of the last user message, however many there are


class UsageStyle(StrEnum):
    """How a stream reports usage. In OpenAI's chat all but `never` do so only when the caller asked for it.

    Each means what the vendor could do: where usage and the finish reason share an event, `twice` sends that event
    twice; `late` holds it back (Responses), or sends it with what is counted so far and the final figures behind it
    (Gemini, Anthropic); `never` leaves usage out wherever it would stand.
    """

    END = "end"  # as the vendor does when all is well
    NEVER = "never"
    TWICE = "twice"  # the same figures in two events: must be counted once
    LATE = "late"  # `late` ms after the finish reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Token counts as OpenAI counts: `input` includes `cached` and `cache_write`, `output` includes `reasoning`.

    Every dialect translates them into its vendor's counting.
    """

    input: int
    output: int
    cached: int
    cache_write: int
    reasoning: int

    @property
    def uncached(self) -> int:
        """Input tokens that are neither read from a cache nor written to one: what Anthropic and Bedrock call input."""
        return self.input - self.cached - self.cache_write

    @property
    def visible(self) -> int:
        """Output tokens that the reader sees: what Gemini calls the candidates'."""
        return self.output - self.reasoning


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One call's script. In the model name times are milliseconds; here they are seconds.

    `at` counts token frames (default: half of them); `share` is the share of this model name's calls that get the
    fault, spread evenly by a call counter, and `first` gives it to the first N calls only; `ttft_p99` is the time to
    the first token of every hundredth call; `error` is what an `error-event` is about.

    Usage follows OpenAI: input includes cached and cache_write, output includes reasoning; each dialect translates it
    into its vendor's counting. Vendors that do not report cache writes leave them inside the input. Where a vendor
    shows thoughts, a plan with `reasoning` shows one.
    """

    tokens: int = 8
    ttft: float = 0.0
    ttft_p99: float | None = None
    gap: float = 0.0
    gap_jitter: float = 0.0
    text: Text = Text.STAMP
    fault: Fault | None = None
    share: float = 1.0
    first: int | None = None
    at: int | None = None
    error: Trouble = Trouble.TYPICAL
    retry_after: int = 1
    headers: float = 2.0
    size: int = 300_000
    usage: UsageStyle = UsageStyle.END
    late: float = 0.5
    input_tokens: int = 10
    output_tokens: int | None = None
    cached: int = 0
    cache_write: int = 0
    reasoning: int = 0
    counts: Usage = field(init=False)

    def __post_init__(self) -> None:
        """Raises PlanError for parts that are more than the whole: no vendor could report them."""
        if self.cached + self.cache_write > self.input_tokens:
            raise PlanError(f"cached + cache_write is more than in={self.input_tokens}, which includes both")
        if self.reasoning > self.completion_tokens:
            raise PlanError(f"reasoning is more than out={self.completion_tokens}, which includes it")
        counts = Usage(
            input=self.input_tokens,
            output=self.completion_tokens,
            cached=self.cached,
            cache_write=self.cache_write,
            reasoning=self.reasoning,
        )
        object.__setattr__(self, "counts", counts)  # once a plan: plans are kept, calls are many

    @property
    def fault_at(self) -> int:
        return self.tokens // 2 if self.at is None else self.at

    @property
    def completion_tokens(self) -> int:
        return self.tokens if self.output_tokens is None else self.output_tokens

    def due(self, n: int) -> float:
        """Seconds after the call's start at which token `n` leaves: a deadline, so lateness never accumulates."""
        due = self.ttft + n * self.gap
        if self.gap_jitter:
            due += self.gap_jitter * (n * 2_654_435_761 % 65_536) / 65_536  # Knuth's multiplier: spread, repeatable
        return due

    def for_call(self, number: int) -> "Plan":
        """The plan of this model name's call `number` (from 0): with or without the fault, slow or not."""
        plan = self
        if self.fault is not None and not self._struck(number):
            plan = replace(plan, fault=None)
        if self.ttft_p99 is not None and number % 100 == 99:
            plan = replace(plan, ttft=self.ttft_p99)
        return plan

    def _struck(self, number: int) -> bool:
        if self.first is not None:
            return number < self.first
        return int((number + 1) * self.share) > int(number * self.share)


class PlanError(ValueError):
    """The model name asks for something the mock does not know. The message says what it knows."""


def _milliseconds(value: str) -> float:
    return float(value) / 1000


def _tokens(value: str) -> int:
    count = int(value)
    if not 0 <= count <= MAX_TOKENS:
        raise ValueError(f"at most {MAX_TOKENS}")
    return count


_KEYS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "tokens": ("tokens", _tokens),
    "ttft": ("ttft", _milliseconds),
    "ttft_p99": ("ttft_p99", _milliseconds),
    "gap": ("gap", _milliseconds),
    "gap_jitter": ("gap_jitter", _milliseconds),
    "text": ("text", Text),
    "fault": ("fault", Fault),
    "share": ("share", float),
    "first": ("first", int),
    "at": ("at", int),
    "error": ("error", Trouble),
    "retry_after": ("retry_after", int),
    "headers": ("headers", _milliseconds),
    "size": ("size", int),
    "usage": ("usage", UsageStyle),
    "late": ("late", _milliseconds),
    "in": ("input_tokens", int),
    "out": ("output_tokens", int),
    "cached": ("cached", int),
    "cache_write": ("cache_write", int),
    "reasoning": ("reasoning", int),
}


def _settings(name: str) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for pair in name.split("+")[1:]:
        key, _, value = pair.partition("=")
        if key not in _KEYS:
            raise PlanError(f"unknown key {key!r} in the model name; known: {', '.join(_KEYS)}")
        field, convert = _KEYS[key]
        try:
            settings[field] = convert(value)
        except ValueError as error:
            raise PlanError(f"bad value in {pair!r}: {error}") from None
    return settings


@lru_cache(maxsize=4096)
def parse_plan(model: str, key: str = "") -> Plan:
    """The plan that a model name asks for; a bearer key of the form `mock+...` gives the defaults.

    Raises PlanError for an unknown key or value: a test with a typing error must not pass by accident.
    """
    defaults = _settings(key) if key.partition("+")[0] == FAMILY else {}
    return Plan(**(defaults | _settings(model)))
