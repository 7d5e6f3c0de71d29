"""Decode server-sent events as they arrive (https://html.spec.whatwg.org/multipage/server-sent-events.html).

Only `data` matters here: no vendor's stream needs `event`, `id` or `retry`.
"""

from collections.abc import Callable, Iterable
from typing import Any

import orjson

from core.errors import ModelBrokeOff, ModelFailed
from llm.events import Event

# No vendor sends an event near this; a server that does would eat our memory.
MAX_EVENT_BYTES = 8 * 1024 * 1024


# What reading trips over in an object of the right syntax and of another shape than the vendor promises.
WRONG_SHAPE = (AttributeError, IndexError, KeyError, TypeError, ValueError)


def failure_of(error: Exception) -> ModelFailed:
    """What an answer ended in whose reading raised this."""
    return error if isinstance(error, ModelFailed) else ModelBrokeOff()


class SseDecoder:
    """Feed it bytes as they come; it gives the payloads of the events that are complete."""

    __slots__ = ("_data", "_rest")

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []

    def feed(self, chunk: bytes) -> list[bytes]:
        """The payloads completed by `chunk`, in order. Raises ModelBrokeOff if an event outgrows MAX_EVENT_BYTES."""
        text = self._rest + chunk if self._rest else chunk
        if b"\r" in text:
            text = self._unify_newlines(text)
        head, newline, self._rest = text.rpartition(b"\n")
        if len(self._rest) > MAX_EVENT_BYTES:
            raise ModelBrokeOff
        return self._payloads(head) if newline else []

    def _unify_newlines(self, text: bytes) -> bytes:
        # A lone CR ends a line too; a CR at the very end waits for the LF that may follow.
        held = text.endswith(b"\r")
        unified = text.removesuffix(b"\r").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return unified + b"\r" if held else unified

    def _payloads(self, lines: bytes) -> list[bytes]:
        payloads = []
        for line in lines.split(b"\n"):
            if line.startswith(b"data:"):
                self._data.append(line[6:] if line.startswith(b"data: ") else line[5:])
            elif not line and self._data:
                payloads.append(self._data[0] if len(self._data) == 1 else b"\n".join(self._data))
                self._data = []
        return payloads


class JsonEventReader:
    """Reads a stream whose every `data` is a JSON object: the `StreamReader` of most vendors."""

    __slots__ = ("_decoder", "_translate", "done", "failure")

    def __init__(self, translate: Callable[[dict[str, Any]], Iterable[Event]]) -> None:
        """`translate` gives the events of one object; it may keep state from one to the next."""
        self._decoder = SseDecoder()
        self._translate = translate
        self.done = False
        """The vendor's mark of the end has come, or its failure."""
        self.failure: ModelFailed | None = None

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that `chunk` completes, those before a failure included."""
        events: list[Event] = []
        try:
            for payload in self._decoder.feed(chunk):
                if payload == b"[DONE]":
                    self.done = True
                else:
                    events.extend(self._translate(_object(payload)))
        except (*WRONG_SHAPE, ModelFailed) as error:
            self.failure, self.done = failure_of(error), True
        return events


def _object(payload: bytes) -> dict[str, Any]:
    try:
        content = orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        raise ModelBrokeOff from error
    if not isinstance(content, dict):
        raise ModelBrokeOff
    return content
