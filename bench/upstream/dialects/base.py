"""What the mock needs to know of a vendor's language. Pace, faults and HTTP are the same for all and live elsewhere."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from bench.upstream.http import Request


class BadRequestError(ValueError):
    """The body is not this dialect's; the message is for the caller."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What a request comes down to, in any dialect.

    `tool` names the tool a `fault=tools` call answers with; it is None once the conversation holds the tool's result,
    so that a tool loop ends.
    """

    model: str
    stream: bool
    wants_usage: bool
    prompt: str
    tool: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Token counts as OpenAI counts: `input` includes `cached`, `output` includes `reasoning`."""

    input: int
    output: int
    cached: int
    reasoning: int


class Encoder(Protocol):
    """Writes one answer. Each `bytes` is one whole frame of the vendor's stream, without HTTP chunking."""

    @property
    def content_type(self) -> bytes: ...

    def opening(self) -> bytes: ...

    def token(self, text: bytes) -> bytes:
        """One text delta. `text` is UTF-8 and needs no JSON escape."""

    def tool_call(self, name: str, arguments: list[str]) -> Iterator[bytes]:
        """One tool call whose JSON arguments come in fragments."""

    def finish(self, reason: str) -> bytes:
        """The end of the text. `reason`: stop, length, content_filter or tool_calls."""

    def usage(self, usage: Usage) -> bytes: ...

    def done(self) -> bytes:
        """The mark after which nothing follows; empty where the vendor has none."""

    def error(self) -> bytes:
        """An error in the middle of a stream that began with 200."""

    def garbage(self) -> bytes:
        """A frame whose content is not what the vendor's format promises."""

    def whole(self, text: str, reason: str, usage: Usage | None, tool: tuple[str, str] | None) -> bytes:
        """The body of an answer that is not streamed; `tool` is a name and its JSON arguments."""


class Dialect(Protocol):
    """One vendor's language."""

    def accepts(self, method: str, path: str) -> bool: ...

    def parse(self, request: Request) -> Ask:
        """Raises BadRequestError when the body is not this dialect's."""

    def encoder(self, ask: Ask, call_id: int) -> Encoder: ...

    def refusal(self, status: int, message: str) -> bytes:
        """The body of an error answer."""
