"""What goes wrong on the wire: one script per fault. Refusals with a status are in `refusal`."""

from collections.abc import Callable, Iterator
from itertools import islice

from bench.upstream.dialects.base import CONTEXT_LIMIT, Dialect, Refusal
from bench.upstream.dialects.eventstream import damaged
from bench.upstream.http import LAST_CHUNK, chunk, whole_response
from bench.upstream.pace import End, Script
from bench.upstream.plan import Fault, Plan
from bench.upstream.script import Call, chunked, closing, frames, head, streamed, tokens, whole, whole_body

TINY = 0.002  # seconds between two writes that must reach the reader as two segments
FLUSH = 0.02  # seconds for written bytes to reach the reader before a reset would discard them
PIECES = 10

_MESSAGES = {
    400: "Invalid value for 'messages'.",
    401: "Incorrect API key provided: {key}. You can find your API key in the vendor's console.",
    404: "The model does not exist or you do not have access to it.",
    413: "The request is larger than the server takes.",
    429: "Rate limit reached for requests.",
    500: "The server had an error while processing your request.",
    503: "The engine is currently overloaded, please try again later.",
    529: "The service is overloaded, please try again later.",
}
_WITH_RETRY_AFTER = (429, 503)


def refusal(dialect: Dialect, plan: Plan, status: int, key: str) -> Script:
    """An answer with an error status. The 401 echoes the whole key, as vendors did: it must not travel further."""
    yield plan.ttft
    if plan.fault is Fault.OVERFLOW:
        yield _refused(dialect.overflow(CONTEXT_LIMIT + plan.input_tokens), None)
        return
    retry_after = plan.retry_after if status in _WITH_RETRY_AFTER else None
    message = _MESSAGES[status].format(key=key or "sk-none")
    yield _refused(dialect.refusal(status, message, retry_after=retry_after), retry_after)


def rejection(dialect: Dialect, status: int, message: str) -> Script:
    """An answer to a request that the mock itself cannot follow."""
    yield _refused(dialect.refusal(status, message), None)


def _refused(answer: Refusal, retry_after: int | None) -> bytes:
    headers = answer.headers if retry_after is None else {**answer.headers, "retry-after": str(retry_after)}
    return whole_response(answer.body, status=answer.status, headers=headers)


def _mute(_call: Call) -> Script:
    yield End.HANG


def _silent(call: Call) -> Script:
    yield head(call)
    yield End.HANG


def _first_tokens(call: Call) -> Script:
    """Head, opening and the tokens before frame `at`."""
    yield head(call)
    yield call.plan.due(0)
    yield from chunked(iter((call.encoder.opening(),)))
    # A token is a deadline and a frame; the frame after the last one is fetched, so that the last one is counted.
    yield from chunked(islice(tokens(call), 2 * call.plan.fault_at))
    call.record.frames_sent = call.plan.fault_at


def _half_silent(call: Call) -> Script:
    yield from _first_tokens(call)
    yield End.HANG


def _cut(call: Call) -> Script:
    yield from _first_tokens(call)
    frame = chunk(call.encoder.token(b"never whole "))
    yield call.plan.due(call.plan.fault_at)
    yield frame[: len(frame) // 2]
    yield call.elapsed() + FLUSH
    yield End.RESET


def _close(call: Call) -> Script:
    yield from _first_tokens(call)
    yield LAST_CHUNK
    yield End.CLOSE


def _error_event(call: Call) -> Script:
    yield from _first_tokens(call)
    yield chunk(call.encoder.error(call.plan.error))
    yield LAST_CHUNK


def _html(_call: Call) -> Script:
    yield whole_response(b"<html><body><h1>Welcome to the proxy</h1></body></html>", content_type="text/html")


def _slow_headers(call: Call) -> Script:
    yield call.plan.headers
    yield from streamed(call)


def _with_frame_at(call: Call, odd: Callable[[], bytes]) -> Script:
    """A whole answer with one odd frame, made when it is due, before token `at`."""
    yield head(call)
    position = 2 + 2 * call.plan.fault_at  # opening and each token are a deadline and a frame
    for number, step in enumerate(frames(call)):
        if number == position:
            yield chunk(odd())
        yield chunk(step) if type(step) is bytes and step else step
    yield LAST_CHUNK


def _garbage(call: Call) -> Script:
    return _with_frame_at(call, call.encoder.garbage)


def _crc(call: Call) -> Script:
    return _with_frame_at(call, lambda: damaged(call.encoder.token(b"never right ")))


def _huge_line(call: Call) -> Script:
    return _with_frame_at(call, lambda: call.encoder.token(b"x" * call.plan.size))


def _no_done(call: Call) -> Script:
    return streamed(call)  # `script.closing` leaves the mark out


def _in_pieces(call: Call, cut: Callable[[bytes], Iterator[bytes]]) -> Script:
    """Every frame in several chunks, each in a segment of its own."""
    yield head(call)
    for step in frames(call):
        if type(step) is not bytes:
            yield step
            continue
        for piece in filter(None, cut(step)):  # a chunk of nothing would end the body
            yield chunk(piece)
            yield call.elapsed() + TINY
    yield LAST_CHUNK


def _ten_pieces(frame: bytes) -> Iterator[bytes]:
    size = -(-len(frame) // PIECES) or 1
    return (frame[start : start + size] for start in range(0, len(frame), size))


def _inside_characters(frame: bytes) -> Iterator[bytes]:
    """Cut after the first byte of every multi-byte character (bytes of 0b11xxxxxx begin one)."""
    start = 0
    for index, byte in enumerate(frame):
        if byte >= 0xC0:
            yield frame[start : index + 1]
            start = index + 1
    yield frame[start:]


def _split(call: Call) -> Script:
    return _in_pieces(call, _ten_pieces)


def _utf8(call: Call) -> Script:
    return _in_pieces(call, _inside_characters)


def _two_in_one(call: Call) -> Script:
    """Two tokens share one chunk and one segment; a last odd one goes alone."""
    yield head(call)
    yield call.plan.due(0)
    yield from chunked(iter((call.encoder.opening(),)))
    held = b""
    for step in tokens(call):
        if type(step) is not bytes:
            yield step
        elif held:
            yield chunk(held + step)
            held = b""
        else:
            held = step
    if held:
        yield chunk(held)
    yield from chunked(closing(call))
    yield LAST_CHUNK


_STREAMED: dict[Fault, Callable[[Call], Script]] = {
    Fault.MUTE: _mute,
    Fault.SILENT: _silent,
    Fault.HALF_SILENT: _half_silent,
    Fault.CUT: _cut,
    Fault.CLOSE: _close,
    Fault.NO_DONE: _no_done,
    Fault.GARBAGE: _garbage,
    Fault.CRC: _crc,
    Fault.ERROR_EVENT: _error_event,
    Fault.HTML: _html,
    Fault.SLOW_HEADERS: _slow_headers,
    Fault.UTF8: _utf8,
    Fault.TWO_IN_ONE: _two_in_one,
    Fault.SPLIT: _split,
    Fault.HUGE_LINE: _huge_line,
}


def _half_body(call: Call, end: End) -> Script:
    body = whole_body(call)
    yield call.plan.due(max(0, call.plan.tokens - 1))
    yield body[: len(body) // 2]
    yield call.elapsed() + FLUSH
    yield end


def _late_whole(call: Call) -> Script:
    yield call.plan.headers
    yield from whole(call)


_WHOLE: dict[Fault, Callable[[Call], Script]] = {
    Fault.MUTE: _mute,
    Fault.SILENT: lambda call: iter((whole_body(call).partition(b"\r\n\r\n")[0] + b"\r\n\r\n", End.HANG)),
    Fault.HALF_SILENT: lambda call: _half_body(call, End.HANG),
    Fault.CUT: lambda call: _half_body(call, End.RESET),
    Fault.CLOSE: lambda call: _half_body(call, End.CLOSE),
    Fault.HTML: _html,
    Fault.GARBAGE: lambda _call: iter((whole_response(b'{"choices": ['),)),
    Fault.SLOW_HEADERS: _late_whole,
}
"""Faults that a whole answer can have; the others leave it as it is."""


def script_for(call: Call) -> Script:
    """The script of a call that is not refused."""
    fault = call.plan.fault
    if not call.brief.ask.stream:
        return _WHOLE.get(fault, whole)(call) if fault else whole(call)
    return _STREAMED.get(fault, streamed)(call) if fault else streamed(call)
