"""What is said to a model, in our words. Each provider translates it once, in its `to_wire`."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Text:
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image: its bytes, or an address that the vendor fetches it from (where the vendor does such things)."""

    media_type: str = ""
    """`image/png`, …; empty where only the address is known."""
    data: bytes = field(default=b"", repr=False)
    url: str = ""


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


Effort = Literal["none", "minimal", "low", "medium", "high"]


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
