"""Just enough HTTP/1.1 for a trusted caller on loopback: requests in, response heads and chunks out (RFC 9112)."""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

LAST_CHUNK = b"0\r\n\r\n"
_KEY_HEADERS = ("api-key", "x-goog-api-key", "x-api-key")
_UNREGISTERED = {529: "Site Is Overloaded"}  # statuses in use that IANA does not list


@dataclass(frozen=True, slots=True)
class Request:
    """One request. Header names are lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def key(self) -> str:
        """The caller's API key, from a bearer token or the headers other vendors use; of an AWS signature, its id."""
        said = self.headers.get("authorization", "")
        if said[:7].lower() == "bearer ":
            return said[7:]
        if said.startswith("AWS4-HMAC-SHA256 "):
            return said.partition("Credential=")[2].partition("/")[0]
        return next((self.headers[name] for name in _KEY_HEADERS if self.headers.get(name)), "")


class RequestReader:
    """Cuts a byte stream into requests; takes keep-alive, pipelining, Content-Length and chunked bodies."""

    __slots__ = ("_buffer", "_wanted")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._wanted = 0  # bytes to wait for before parsing again, so that a large body is parsed once

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def take(self) -> Request | None:
        """The next whole request, or None until more bytes arrive. Raises ValueError for what is not HTTP."""
        buffer = self._buffer
        if not buffer or len(buffer) < self._wanted:
            return None
        end = buffer.find(b"\r\n\r\n")
        if end < 0:
            return None
        method, path, headers = _parse_head(buffer[:end].decode("latin-1"))
        body = self._body(end + 4, headers)
        return None if body is None else Request(method, path, headers, body)

    def _body(self, start: int, headers: Mapping[str, str]) -> bytes | None:
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return self._chunked_body(start)
        stop = start + int(headers.get("content-length", 0))
        if len(self._buffer) < stop:
            self._wanted = stop
            return None
        return self._cut(start, stop)

    def _cut(self, start: int, stop: int) -> bytes:
        body = bytes(self._buffer[start:stop])
        del self._buffer[:stop]
        self._wanted = 0
        return body

    def _chunked_body(self, start: int) -> bytes | None:
        parts: list[bytes] = []
        while True:
            line_end = self._buffer.find(b"\r\n", start)
            if line_end < 0:
                return None
            size = int(self._buffer[start:line_end].partition(b";")[0], 16)
            start = line_end + 2 + size + 2
            if len(self._buffer) < start:
                self._wanted = start
                return None
            if size == 0:
                self._cut(0, start)
                return b"".join(parts)
            parts.append(bytes(self._buffer[line_end + 2 : start - 2]))


def _parse_head(head: str) -> tuple[str, str, dict[str, str]]:
    first, *lines = head.split("\r\n")
    method, path, _ = first.split(" ", 2)
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    return method, path, headers


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def stream_head(content_type: bytes, request_id: bytes, *, keep_alive: bool = True) -> bytes:
    """The head of a chunked 200."""
    return b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncache-control: no-cache\r\nx-request-id: %b\r\n%b%b" % (
        content_type,
        request_id,
        b"" if keep_alive else b"connection: close\r\n",
        b"transfer-encoding: chunked\r\n\r\n",
    )


def whole_response(
    body: bytes, *, status: int = 200, content_type: str = "application/json", headers: Mapping[str, str] | None = None
) -> bytes:
    """A whole response with a Content-Length."""
    phrase = _UNREGISTERED.get(status) or HTTPStatus(status).phrase
    lines = [f"HTTP/1.1 {status} {phrase}", f"content-type: {content_type}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    lines.append(f"content-length: {len(body)}")
    return "\r\n".join(lines).encode("ascii") + b"\r\n\r\n" + body
