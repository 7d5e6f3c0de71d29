"""Reads one streamed answer off the wire: HTTP/1.1, chunks, server-sent events, and the text in them."""

import orjson

OURS = b'data: {"d":"'  # the chat service: `{"d":"<text>","s":0}`
_OURS_END = b'","s":'
OPENAI = b'"content":"'
DONE = b"data: [DONE]"


class AnswerReader:
    """One HTTP response, fed as bytes come. `ended` is set by the body's end, not by the stream's own end mark.

    `status` is the HTTP status, 0 until the head is complete; `events` counts data lines, `errors` those that report an
    error or cannot be read.
    """

    __slots__ = ("_buffer", "_chunked", "_left", "_line", "ended", "errors", "events", "keep_alive", "status")

    def __init__(self) -> None:
        self.status = 0
        self.ended = False
        self.keep_alive = True
        self.events = 0
        self.errors = 0
        self._buffer = b""
        self._line = b""
        self._chunked = False
        self._left: int | None = None  # of a body with a Content-Length

    def feed(self, data: bytes) -> bytes:
        """The text that these bytes complete; empty when they carry none."""
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        if not self.status:
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self._buffer = data
                return b""
            self._read_head(data[:end])
            data = data[end + 4 :]
        return self._text(self._dechunk(data) if self._chunked else self._plain(data))

    def _read_head(self, head: bytes) -> None:
        first, *lines = head.lower().split(b"\r\n")
        self.status = int(first.split(b" ", 2)[1])
        headers = {name.strip(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
        self._chunked = headers.get(b"transfer-encoding") == b"chunked"
        self.keep_alive = headers.get(b"connection") != b"close"
        length = headers.get(b"content-length")
        self._left = None if length is None else int(length)
        self.ended = self._left == 0

    def _plain(self, data: bytes) -> bytes:
        if self._left is not None:
            self._left -= len(data)
            self.ended = self._left <= 0
        return data

    def _dechunk(self, data: bytes) -> bytes:
        parts = []
        position = 0
        while (line_end := data.find(b"\r\n", position)) >= 0:
            start = line_end + 2
            stop = start + int(data[position:line_end], 16)
            if len(data) < stop + 2:
                break
            position = stop + 2
            if stop == start:
                self.ended = True
                break
            parts.append(data[start:stop])
        self._buffer = data[position:]
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _text(self, body: bytes) -> bytes:
        if self._line:
            body = self._line + body
        end = body.rfind(b"\n") + 1
        self._line = body[end:]
        text = b""
        for line in body[:end].split(b"\n"):
            if line.startswith(b"data: ") and line != DONE:
                self.events += 1
                text += self._text_in(line)
        return text

    def _text_in(self, line: bytes) -> bytes:
        """The text of one data line. Two short cuts for the common shapes; all else is parsed as JSON."""
        if b"\\" not in line:
            if line.startswith(OURS):
                end = line.find(_OURS_END, len(OURS))
                if end > 0:
                    return line[len(OURS) : end]
            start = line.find(OPENAI) + len(OPENAI)
            if start >= len(OPENAI):
                return line[start : line.index(b'"', start)]
        return self._text_in_json(line)

    def _text_in_json(self, line: bytes) -> bytes:
        try:
            event = orjson.loads(line[len(b"data: ") :])
        except orjson.JSONDecodeError:
            self.errors += 1
            return b""
        if "error" in event:
            self.errors += 1
            return b""
        if "choices" in event:
            delta = event["choices"][0]["delta"] if event["choices"] else {}
            return (delta.get("content") or "").encode()
        text = event.get("d") if event.get("s") != "meta" else None
        return text.encode() if isinstance(text, str) else b""
