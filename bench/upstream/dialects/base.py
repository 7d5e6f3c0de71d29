"""What the mock needs to know of a vendor's language. Pace, faults and HTTP are the same for all and live elsewhere."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson

from bench.upstream.http import Request
from bench.upstream.plan import Fault, Plan, Trouble, Usage, UsageStyle

CONTEXT_LIMIT = 8192  # tokens that an overflowing request is told the model takes
THOUGHT = "The mock thinks for a while."
SIGNATURE = "bW9jaw=="  # stands for what vendors sign their thoughts with


class BadRequestError(ValueError):
    """The request is not this dialect's; the message is for the caller."""

    def __init__(self, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class Embed:
    """What an embeddings call wants: vectors of `dimensions` for each of `inputs`, as floats or in base64."""

    inputs: list[bytes]
    dimensions: int
    base64: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What a request comes down to, in any dialect.

    `tool` names the tool a `fault=tools` call answers with; it is None once the conversation holds the tool's result,
    so that a tool loop ends. `embed` is None but for embeddings.
    """

    model: str
    stream: bool
    wants_usage: bool = True
    prompt: str = ""
    tool: str | None = None
    embed: Embed | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Brief:
    """What an encoder is told before its answer begins."""

    ask: Ask
    plan: Plan
    call_id: int

    @property
    def usage(self) -> Usage | None:
        """What this answer reports, or None. A whole answer does whether or not the caller asked for it."""
        if self.plan.usage is UsageStyle.NEVER or (self.ask.stream and not self.ask.wants_usage):
            return None
        return self.plan.counts

    @property
    def tool(self) -> str | None:
        """The tool that this answer calls instead of speaking."""
        return self.ask.tool if self.plan.fault is Fault.TOOLS else None

    @property
    def thinks(self) -> bool:
        """Whether a thought is shown first, in dialects that show thoughts."""
        return self.plan.reasoning > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How an answer ends. `reason`: stop, length, content_filter, guardrail or tool_calls; `mark`: with an end mark."""

    reason: str
    usage: Usage | None
    style: UsageStyle
    mark: bool

    @property
    def late(self) -> bool:
        """Whether usage comes a while after the finish reason: the encoder yields `PAUSE` in between."""
        return self.usage is not None and self.style is UsageStyle.LATE

    @property
    def times(self) -> int:
        """How often usage is reported."""
        if self.usage is None:
            return 0
        return 2 if self.style is UsageStyle.TWICE else 1


PAUSE = None
"""What `Encoder.ending` yields where usage that is `late` keeps the caller waiting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An answer with an error status; the vendor's headers, without Retry-After, which is the same for all."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


class WholeEncoder(Protocol):
    """Writes an answer that is not streamed."""

    def whole(self, text: str, reason: str, tool: tuple[str, str] | None) -> bytes:
        """The body; `tool` is a name and its JSON arguments."""


class Encoder(WholeEncoder, Protocol):
    """Writes one answer. Each `bytes` is one frame of the vendor's stream, or several that always leave together,
    without HTTP chunking; the calls come in the order of the methods here, since some vendors number their events."""

    @property
    def content_type(self) -> bytes: ...

    def opening(self) -> bytes:
        """What comes before the first token; empty where the vendor begins with it."""

    def token(self, text: bytes) -> bytes:
        """One text delta. `text` is UTF-8 and needs no JSON escape."""

    def tool_call(self, name: str, arguments: list[str]) -> Iterator[bytes]:
        """One tool call whose JSON arguments come in fragments."""

    def ending(self, ending: Ending) -> Iterator[bytes | None]:
        """The end of the text, usage and the end mark, in the vendor's order; `PAUSE` as `Ending.late` says."""

    def error(self, trouble: Trouble) -> bytes:
        """An error in the middle of a stream that began with 200."""

    def garbage(self) -> bytes:
        """A frame whose content is not what the vendor's format promises."""


class Dialect(Protocol):
    """One vendor's language."""

    @property
    def special_faults(self) -> frozenset[Fault]:
        """Those of `plan.SPECIAL_FAULTS` that this vendor can have."""

    def accepts(self, method: str, path: str) -> bool: ...

    def parse(self, request: Request) -> Ask:
        """Raises BadRequestError when the request is not this dialect's."""

    def encoder(self, brief: Brief) -> Encoder: ...

    def refusal(self, status: int, message: str, *, retry_after: int | None = None) -> Refusal: ...

    def overflow(self, asked: int) -> Refusal:
        """The refusal of a prompt of `asked` tokens, more than the model's context takes."""


def json_body(request: Request) -> dict[str, Any]:
    """The body as an object. Raises BadRequestError for anything else."""
    try:
        body = orjson.loads(request.body)
    except orjson.JSONDecodeError as error:
        raise BadRequestError("We could not parse the JSON body of your request.") from error
    if not isinstance(body, dict):
        raise BadRequestError("The JSON body of your request must be an object.")
    return body


def objects(body: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """The list of objects under `name`. Raises BadRequestError for anything else."""
    found = body.get(name)
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise BadRequestError(f"'{name}' must be an array of objects")
    return found


def text_of_content(content: Any) -> str:
    """The text of a message's content: a string, or parts of which some have a `text`."""
    if isinstance(content, str):
        return content
    return " ".join(str(part.get("text") or "") for part in content or [] if isinstance(part, dict)).strip()


def last_prompt(messages: list[dict[str, Any]], content: str = "content") -> str:
    """What the user said last, in dialects whose messages have a role."""
    prompts = [message.get(content) for message in messages if message.get("role") == "user"]
    return text_of_content(prompts[-1]) if prompts else ""
