"""Turns a call into a script: what is written when. Pure generators; `pace` plays them, `faults` bends them."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bench.upstream.dialects.base import PAUSE, Brief, Encoder, Ending
from bench.upstream.http import LAST_CHUNK, chunk, stream_head, whole_response
from bench.upstream.pace import Script
from bench.upstream.plan import Fault, Plan, Text
from bench.upstream.record import Record

Frames = Iterator[bytes | float]
"""The frames of an answer, not yet chunked, with the deadlines (seconds since the call's start) between them."""

TOOL_ARGUMENTS = ['{"que', 'ry":', ' "mo', 'ck"}']
_EMOJI = (
    "\N{GRINNING FACE}",
    "\N{LATIN SMALL LETTER E WITH ACUTE}",
    "\N{EURO SIGN}",
    "\N{FLEXED BICEPS}\N{EMOJI MODIFIER FITZPATRICK TYPE-4}",
)
_FINISH: dict[Fault | None, str] = {
    Fault.LENGTH: "length",
    Fault.CONTENT_FILTER: "content_filter",
    Fault.GUARDRAIL: "guardrail",
}


@dataclass(frozen=True, slots=True)
class Call:
    """One call to answer."""

    brief: Brief
    plan: Plan
    encoder: Encoder
    record: Record

    def elapsed(self) -> float:
        return time.monotonic() - self.record.started

    @property
    def finish_reason(self) -> str:
        return "tool_calls" if self.brief.tool else _FINISH.get(self.plan.fault, "stop")


def _stamp(n: int) -> bytes:
    return b"%d:%d " % (n, time.monotonic_ns() // 1000)


def _plain(n: int) -> bytes:
    return b"w%d " % n


def _emoji(n: int) -> bytes:
    return f"{_EMOJI[n % len(_EMOJI)]}{n} ".encode()


def _echo(prompt: str) -> Callable[[int], bytes]:
    words = [word.replace("\\", "/").replace('"', "'").encode() for word in prompt.split()]
    return lambda n: words[n] + b" "


def text_of(call: Call) -> tuple[int, Callable[[int], bytes]]:
    """How many tokens the answer has, and the function that makes token `n` at the moment when it is sent."""
    plan = call.plan
    if plan.fault is Fault.EMPTY:
        return 0, _plain
    if plan.fault is Fault.UTF8:
        return plan.tokens, _emoji
    if plan.text is Text.ECHO:
        prompt = call.brief.ask.prompt
        return len(prompt.split()), _echo(prompt)
    return plan.tokens, {Text.STAMP: _stamp, Text.PLAIN: _plain, Text.EMOJI: _emoji}[plan.text]


def tokens(call: Call) -> Frames:
    """The text, each token made and sent at its deadline."""
    count, text = text_of(call)
    due, token, record = call.plan.due, call.encoder.token, call.record
    for n in range(count):
        yield due(n)
        if n == 0:
            record.first_frame = time.monotonic()
        yield token(text(n))
        record.frames_sent = n + 1


def tool_call(call: Call, name: str) -> Frames:
    """One tool call in fragments, paced as tokens are."""
    for n, frame in enumerate(call.encoder.tool_call(name, TOOL_ARGUMENTS)):
        yield call.plan.due(n)
        if n == 0:
            call.record.first_frame = time.monotonic()
        yield frame
        call.record.frames_sent = n + 1


def closing(call: Call) -> Frames:
    """Finish reason, usage as the plan and the caller have it, and the end mark."""
    plan = call.plan
    mark = plan.fault is not Fault.NO_DONE
    ending = Ending(reason=call.finish_reason, usage=call.brief.usage, style=plan.usage, mark=mark)
    for part in call.encoder.ending(ending):
        yield call.elapsed() + plan.late if part is PAUSE else part


def frames(call: Call) -> Frames:
    """The whole answer. The opening waits for the first token, as OpenAI's does."""
    yield call.plan.due(0)
    yield call.encoder.opening()
    yield from tool_call(call, call.brief.tool) if call.brief.tool else tokens(call)
    yield from closing(call)


def head(call: Call) -> bytes:
    # A close that was not announced would fail the caller's next request, on a connection it still believes in.
    keep_alive = call.plan.fault is not Fault.CLOSE
    return stream_head(call.encoder.content_type, request_id(call), keep_alive=keep_alive)


def request_id(call: Call) -> bytes:
    return b"req_mock_%d" % call.record.id


def streamed(call: Call) -> Script:
    """An answer without a fault on the wire: one write a frame."""
    yield head(call)
    for step in frames(call):  # as `chunked` does, without a second generator on the way of every token
        yield chunk(step) if type(step) is bytes and step else step
    yield LAST_CHUNK


def chunked(steps: Frames) -> Script:
    """The steps with every frame in a chunk of its own; an empty one stays empty, as its chunk would end the body."""
    for step in steps:
        yield chunk(step) if type(step) is bytes and step else step


def whole(call: Call) -> Script:
    """An answer that is not streamed: due when the last token of a stream would be."""
    yield call.plan.due(max(0, call.plan.tokens - 1))
    yield whole_body(call)
    call.record.frames_sent = call.plan.tokens


def whole_body(call: Call) -> bytes:
    count, text = text_of(call)
    name = call.brief.tool
    said = b"".join(text(n) for n in range(0 if name else count)).decode()
    body = call.encoder.whole(said, call.finish_reason, (name, "".join(TOOL_ARGUMENTS)) if name else None)
    call.record.first_frame = time.monotonic()
    return whole_response(body, headers={"x-request-id": request_id(call).decode()})
