"""The closed union of what happens during an answer. Everything inside speaks it; translate at the edges only.

A model yields AnsweredBy where several may answer, TextDelta, RefusalDelta, ReasoningDelta, ToolCallDelta, then
UsageReported (always, estimated if need be), then Finished exactly once; it raises a `core.errors.ModelFailed` instead
of Finished when it could not.
Assistants add Status, StateChanged and SourcesCited. Failed is how a run tells its readers about an error.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from core.errors import AmplifyError
from core.ids import new_uuid

FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]


@dataclass(frozen=True, slots=True)
class TextDelta:
    """A piece of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class RefusalDelta:
    """A piece of the model's own words that it will not answer. No answer: it need not agree with any schema."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AnsweredBy:
    """Who answers, said before the answer's first piece: by a pool, whose endpoints may belong to several vendors."""

    model_id: str
    provider: str
    """As in `llm.model.ModelCard`: by whose price list it is billed."""


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """A piece of the model's thinking, shown beside the answer."""

    text: str
    signature: str = ""
    """What some vendors want to see again with it when tools are used; opaque."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCallDelta:
    """A piece of a tool call; pieces of one call share `index`."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""
    signature: str = ""
    """As in `llm.messages.ToolCall`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What is going on; the same id again updates the earlier one."""

    message: str = ""
    summary: str = ""
    id: str = field(default_factory=lambda: str(new_uuid()))
    in_progress: bool = False
    extras: Mapping[str, Any] = field(default_factory=dict)
    """`icon`, `sticky`, `animated`, … in the order they are sent."""


@dataclass(frozen=True, slots=True)
class StateChanged:
    """A patch of the assistant message's state; clients merge it deeply."""

    patch: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SourcesCited:
    """What was read for the answer: category to its entry."""

    sources: Mapping[str, Any]


# Far more than any model reads or writes, and exact in every JSON reader and database.
_MAX_TOKENS = 2**40


def token_count(value: Any) -> int:
    """A count as a vendor sent it, as a number that can be reckoned with: 0 for what is none."""
    return min(max(value, 0), _MAX_TOKENS) if type(value) is int else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one call in disjoint classes: no token is counted in two of them.

    Reasoning tokens are part of `output`; `reasoning` only says how many of those they were.
    """

    input: int = 0
    """Uncached input tokens."""
    cache_read: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    """Of `cache_write`, what is kept for an hour and not for some minutes: vendors charge more for it."""
    output: int = 0
    reasoning: int = 0
    estimated: bool = False
    """True when the vendor did not say and we counted ourselves."""
    raw: Mapping[str, Any] = field(default_factory=dict)
    """The vendor's own words."""

    def plausible(self) -> "Usage":
        """The same with counts that the books can hold, whatever a vendor has sent."""
        output, reasoning = token_count(self.output), token_count(self.reasoning)
        written = token_count(self.cache_write)
        return replace(
            self,
            input=token_count(self.input),
            cache_read=token_count(self.cache_read),
            cache_write=written,
            cache_write_1h=min(token_count(self.cache_write_1h), written),
            # Some servers count reasoning beside the output, not as a part of it.
            output=output + reasoning if reasoning > output else output,
            reasoning=reasoning,
        )

    def __add__(self, other: "Usage") -> "Usage":
        """The tokens of both, without the vendors' words."""
        return Usage(
            input=self.input + other.input,
            cache_read=self.cache_read + other.cache_read,
            cache_write=self.cache_write + other.cache_write,
            cache_write_1h=self.cache_write_1h + other.cache_write_1h,
            output=self.output + other.output,
            reasoning=self.reasoning + other.reasoning,
            estimated=self.estimated or other.estimated,
        )


@dataclass(frozen=True, slots=True)
class UsageReported:
    usage: Usage


@dataclass(frozen=True, slots=True)
class Finished:
    reason: FinishReason = "stop"


@dataclass(frozen=True, slots=True)
class Failed:
    error: AmplifyError


Event = (
    TextDelta
    | RefusalDelta
    | AnsweredBy
    | ReasoningDelta
    | ToolCallDelta
    | Status
    | StateChanged
    | SourcesCited
    | UsageReported
    | Finished
    | Failed
)
