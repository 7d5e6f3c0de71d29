"""Server-sent events, as the vendors write them (html.spec.whatwg.org/multipage/server-sent-events.html)."""

from typing import Any

import orjson

CONTENT_TYPE = b"text/event-stream; charset=utf-8"
_HOLE = "\0"
_HOLE_IN_JSON = b"\\u0000"


def data_event(data: bytes) -> bytes:
    """An event without a name."""
    return b"data: %b\n\n" % data


def typed_event(body: dict[str, Any]) -> bytes:
    """An event named after its body's `type`, as OpenAI's Responses and Anthropic's Messages have it."""
    return b"event: %b\ndata: %b\n\n" % (str(body["type"]).encode(), orjson.dumps(body))


def hole() -> str:
    """Text to put where a token's will stand; `around_hole` finds it."""
    return _HOLE


def around_hole(event: bytes) -> tuple[bytes, bytes]:
    """The bytes before and behind the hole: encoded once per call, not once per token."""
    before, _, behind = event.partition(_HOLE_IN_JSON)
    return before, behind
