"""What is said to a model, in our words. Each provider translates it once, in its `to_wire`."""

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Text:
    text: str


class Verbatim(str):
    """A text that stands in JSON as it is: ASCII, with nothing in it to escape. `llm.vendor.wire_body` copies it, where
    it would have to look at every character of another one; of 30 MB that is the difference between 3 ms and 15."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image: its content, or an address that the vendor fetches it from (where the vendor does such things)."""

    media_type: str = ""
    """`image/png`, …; empty where only the address is known."""
    base64: str = field(default="", repr=False)
    """Its bytes, as text: so clients send them, and so every vendor wants them. Where it was checked, Verbatim."""
    url: str = ""

    @classmethod
    def of(cls, media_type: str, data: bytes) -> "Image":
        return cls(media_type=media_type, base64=Verbatim(base64.b64encode(data).decode()))


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A call that the model made in an earlier answer."""

    id: str
    name: str
    arguments: str
    """JSON, as the model wrote it."""
    signature: str = ""
    """What the vendor wants to see again with it (Gemini's thought signature); opaque."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResult:
    """What a tool gave back; said from the user's side."""

    call_id: str
    name: str = ""
    text: str
    is_error: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Reasoning:
    """The model's thinking in an earlier answer; some vendors demand it back, signed, when tools are used."""

    text: str
    signature: str = ""


Part = Text | Image | ToolCall | ToolResult | Reasoning


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message. Tool results stand in messages of the user, tool calls and reasoning in those of the assistant."""

    role: Role
    parts: tuple[Part, ...]

    @classmethod
    def of(cls, role: Role, text: str) -> "Message":
        return cls(role=role, parts=(Text(text),))

    @property
    def text(self) -> str:
        """Its text parts, joined."""
        return "".join(part.text for part in self.parts if isinstance(part, Text))

    def parts_of(self, kind: type[Any]) -> Iterable[Any]:
        return (part for part in self.parts if isinstance(part, kind))


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A function that the model may call."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=lambda: {"type": "object", "properties": {}})
    """JSON Schema of its arguments."""
    strict: bool = False


@dataclass(frozen=True, slots=True)
class ForcedTool:
    """The model must call this one."""

    name: str


ToolChoice = Literal["auto", "none", "required"] | ForcedTool


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputSchema:
    """The answer must be JSON that agrees with this schema; None for any JSON object."""

    name: str = "answer"
    schema: Mapping[str, Any] | None = None
    strict: bool = True


Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh"]
"""OpenAI's words, in ascending order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRequest:
    """One call of a model."""

    messages: tuple[Message, ...]
    max_output_tokens: int | None = None
    """None leaves it to the model's own limit."""
    temperature: float | None = None
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = "auto"
    parallel_tool_calls: bool | None = None
    output: OutputSchema | None = None
    effort: Effort | None = None
    """How much to think first; None leaves it to the model. Models that cannot reason are never told."""
    bodies: list[tuple[Any, Any, bytes]] = field(default_factory=list, init=False, repr=False, compare=False)
    """For `llm.vendor.wire_body`: what was made of it for vendors. A changed request (`replace`) has none."""

    @property
    def size(self) -> int:
        """Characters of its texts and images: how much work it is to put it on a wire."""
        return sum(_size(part) for message in self.messages for part in message.parts)


def _size(part: Part) -> int:
    match part:
        case Text() | Reasoning() | ToolResult():
            return len(part.text)
        case Image():
            return len(part.base64) + len(part.url)
        case ToolCall():
            return len(part.arguments)
