"""Events as the JSON objects that today's clients read: the same on every transport.

Two text forms: seed's `{"d":"…","s":0}` and head's `{"s":"answer","d":"…"}` (wire protocol, section 4). One event gives
no, one or several frames; a frame is one compact JSON object in UTF-8.
"""

from collections.abc import Callable, Mapping
from typing import Any, assert_never

import orjson

from core.errors import AmplifyError
from llm.events import (
    AnsweredBy,
    Event,
    Failed,
    Finished,
    ReasoningDelta,
    RefusalDelta,
    SourcesCited,
    StateChanged,
    Status,
    TextDelta,
    ToolCallDelta,
    UsageReported,
)

Frame = bytes
Encoder = Callable[[Event], tuple[Frame, ...]]


class _Form:
    """How one of the two forms writes text, tool calls and the end."""

    def __init__(self, *, before: bytes, after: bytes, end: bytes) -> None:
        self._before = before
        self._after = after
        self._end = end

    def __call__(self, event: Event) -> tuple[Frame, ...]:  # noqa: PLR0911 - one per kind of event
        # Text first: nine events in ten are text.
        match event:
            case TextDelta(text) | RefusalDelta(text):
                return (self._delta(text),)
            case ReasoningDelta(text):
                return (_meta("st", _REASONING | {"message": text}),)
            case ToolCallDelta():
                return (self._delta({"tool_calls": [tool_call_json(event)]}),)
            case Status():
                return (_meta("st", _status(event)),)
            case StateChanged(patch):
                return (_meta("state", patch),)
            case SourcesCited(sources):
                return (_meta("state", {"sources": sources}),)
            case UsageReported() | AnsweredBy():
                return ()  # clients of this wire are never told
            case Finished("content_filter"):
                return (self._delta(_FILTERED), self._end)
            case Finished():
                return (self._end,)
            case Failed(error):
                return self._failed(error)
            case _:
                assert_never(event)

    def _delta(self, value: Any) -> Frame:
        return self._before + orjson.dumps(value) + self._after

    def _failed(self, error: AmplifyError) -> tuple[Frame, ...]:
        # The web client shows only text; the Python client raises on a line with a top-level `error`.
        line = orjson.dumps({"error": error.message, "code": error.code})
        return (self._delta(error.message), self._end, line)


SEED = _Form(before=b'{"d":', after=b',"s":0}', end=b'{"s":0,"type":"end"}')
ANSWER = _Form(before=b'{"s":"answer","d":', after=b"}", end=b'{"s":"result","type":"end"}')

FORMS: Mapping[str, Encoder] = {"seed": SEED, "answer": ANSWER}

# The one reason to end that people must be told: without it the answer would seem to be complete.
_FILTERED = "\nThe rest of this answer was blocked by the content filter of the model's vendor."

_REASONING = {
    "id": "reasoning",
    "summary": "Thinking Details:",
    "message": "",
    "type": "info",
    "inProgress": True,
    "animated": True,
    "icon": "bolt",
}


def _meta(kind: str, value: Any) -> Frame:
    # Joined, not dumped as a whole: what orjson returns keeps its working buffer of several kB, and logs keep frames.
    return b'{"s":"meta","%b":%b}' % (kind.encode(), orjson.dumps(value))


def _status(status: Status) -> dict[str, Any]:
    return {
        "id": status.id,
        "summary": status.summary,
        "message": status.message,
        "type": "info",
        "inProgress": status.in_progress,
        **status.extras,
    }


def tool_call_json(delta: ToolCallDelta) -> dict[str, Any]:
    """A piece of a tool call in OpenAI's shape; the first piece of a call carries its id, type and name."""
    call: dict[str, Any] = {"index": delta.index}
    function: dict[str, Any] = {"arguments": delta.arguments}
    if delta.id is not None:
        call |= {"id": delta.id, "type": "function"}
    if delta.name is not None:
        function = {"name": delta.name} | function
    if delta.signature:
        call["extra_content"] = {"google": {"thought_signature": delta.signature}}
    return call | {"function": function}
