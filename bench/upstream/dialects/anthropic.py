"""Anthropic's Messages.

Sources: platform.claude.com/docs/en/api/messages, …/build-with-claude/streaming (events),
…/build-with-claude/prompt-caching (the three kinds of input token are disjoint), …/build-with-claude/extended-thinking,
…/api/errors (statuses and error types).
"""

from collections.abc import Iterator
from typing import Any

import orjson

from bench.upstream.dialects import sse
from bench.upstream.dialects.base import (
    CONTEXT_LIMIT,
    PAUSE,
    SIGNATURE,
    THOUGHT,
    Ask,
    BadRequestError,
    Brief,
    Ending,
    Refusal,
    json_body,
    last_prompt,
    objects,
)
from bench.upstream.dialects.openai import model_of
from bench.upstream.http import Request
from bench.upstream.plan import Fault, Trouble, Usage

_STOP = {"length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}
_TROUBLES = {
    Trouble.SERVER: ("api_error", "Something went wrong on our side."),
    Trouble.RATE_LIMIT: ("rate_limit_error", "The account's rate limit is used up."),
    Trouble.INVALID: ("invalid_request_error", "The request stopped being valid."),
}
_OVERLOADED = ("overloaded_error", "Overloaded for the moment.")


class AnthropicEncoder:
    """Typed events: blocks are announced, filled and closed. Input is counted in the first event and, with the output,
    in `message_delta`, whose figures are totals and not increments."""

    __slots__ = ("_around", "_block", "_brief")
    content_type = sse.CONTENT_TYPE

    def __init__(self, brief: Brief) -> None:
        self._brief = brief
        self._block = int(brief.thinks)  # the thought's is 0
        self._around = sse.around_hole(self._delta(self._block, type="text_delta", text=sse.hole()))

    def _start(self, block: int, **content: Any) -> bytes:
        return sse.typed_event({"type": "content_block_start", "index": block, "content_block": content})

    def _delta(self, block: int, **delta: Any) -> bytes:
        return sse.typed_event({"type": "content_block_delta", "index": block, "delta": delta})

    def _stop(self, block: int) -> bytes:
        return sse.typed_event({"type": "content_block_stop", "index": block})

    def _message(self, content: list[dict[str, Any]], reason: str | None, usage: Usage | None, output: int) -> Any:
        message = {
            "id": f"msg_mock_{self._brief.call_id}",
            "type": "message",
            "role": "assistant",
            "model": self._brief.ask.model,
            "content": content,
            "stop_reason": reason,
            "stop_sequence": None,
        }
        return message if usage is None else message | {"usage": _usage(usage, output)}

    def opening(self) -> bytes:
        usage = self._brief.usage
        message = self._message([], None, usage, _begun(usage))
        return b"".join(
            [
                sse.typed_event({"type": "message_start", "message": message}),
                *(self._thought() if self._brief.thinks else ()),
                b"" if self._brief.tool else self._start(self._block, type="text", text=""),
                sse.typed_event({"type": "ping"}),
            ]
        )

    def _thought(self) -> Iterator[bytes]:
        yield self._start(0, type="thinking", thinking="", signature="")
        yield self._delta(0, type="thinking_delta", thinking=THOUGHT)
        yield self._delta(0, type="signature_delta", signature=SIGNATURE)
        yield self._stop(0)

    def token(self, text: bytes) -> bytes:
        before, behind = self._around
        return before + text + behind

    def tool_call(self, name: str, arguments: list[str]) -> Iterator[bytes]:
        yield self._start(self._block, type="tool_use", id="toolu_mock", name=name, input={})
        for fragment in arguments:
            yield self._delta(self._block, type="input_json_delta", partial_json=fragment)

    def ending(self, ending: Ending) -> Iterator[bytes | None]:
        yield self._stop(self._block)
        reason, usage = _STOP.get(ending.reason, "end_turn"), ending.usage
        if ending.late:
            yield self._message_delta(reason, usage, _begun(usage))
            yield PAUSE
        for _ in range(max(1, ending.times)):
            yield self._message_delta(reason, usage, usage.output if usage else 0)
        if ending.mark:
            yield sse.typed_event({"type": "message_stop"})

    def _message_delta(self, reason: str, usage: Usage | None, output: int) -> bytes:
        event: dict[str, Any] = {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None}}
        return sse.typed_event(event if usage is None else event | {"usage": _usage(usage, output)})

    def error(self, trouble: Trouble) -> bytes:
        kind, message = _TROUBLES.get(trouble, _OVERLOADED)
        return sse.typed_event(_error(kind, message))

    def garbage(self) -> bytes:
        return b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":\n\n'

    def whole(self, text: str, reason: str, tool: tuple[str, str] | None) -> bytes:
        content: list[dict[str, Any]] = []
        if self._brief.thinks:
            content.append({"type": "thinking", "thinking": THOUGHT, "signature": SIGNATURE})
        if tool:
            use = {"type": "tool_use", "id": "toolu_mock", "name": tool[0]}
            content.append(use | {"input": orjson.loads(tool[1])})
        elif text:
            content.append({"type": "text", "text": text})
        usage = self._brief.usage
        output = usage.output if usage else 0
        return orjson.dumps(self._message(content, _STOP.get(reason, "end_turn"), usage, output))


def _begun(usage: Usage | None) -> int:
    """The output tokens counted when the message begins."""
    return min(1, usage.output) if usage else 0


def _usage(usage: Usage, output: int) -> dict[str, Any]:
    return {
        "input_tokens": usage.uncached,
        "cache_creation_input_tokens": usage.cache_write,
        "cache_read_input_tokens": usage.cached,
        "output_tokens": output,
    }


def _error(kind: str, message: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_mock"}


def _tool(body: dict[str, Any], messages: list[dict[str, Any]]) -> str | None:
    last = messages[-1].get("content") if messages else None
    if isinstance(last, list) and any(block.get("type") == "tool_result" for block in last):
        return None
    tools = body.get("tools") or [{}]
    return str(tools[0].get("name", "lookup"))


class Anthropic:
    """`POST /v1/messages`, streamed and whole. Key: `x-api-key`."""

    special_faults: frozenset[Fault] = frozenset()

    def accepts(self, method: str, path: str) -> bool:
        return method == "POST" and path == "/v1/messages"

    def parse(self, request: Request) -> Ask:
        if "anthropic-version" not in request.headers:
            raise BadRequestError("anthropic-version: header is required")
        body = json_body(request)
        messages = objects(body, "messages")
        if not isinstance(body.get("max_tokens"), int):
            raise BadRequestError("max_tokens: Field required")
        return Ask(
            model=model_of(body),
            stream=bool(body.get("stream")),
            prompt=last_prompt(messages),
            tool=_tool(body, messages),
        )

    def encoder(self, brief: Brief) -> AnthropicEncoder:
        return AnthropicEncoder(brief)

    def refusal(self, status: int, message: str, *, retry_after: int | None = None) -> Refusal:
        kind = _ERROR_TYPES.get(status, "api_error")
        return Refusal(status=status, body=orjson.dumps(_error(kind, message)))

    def overflow(self, asked: int) -> Refusal:
        return self.refusal(400, f"prompt is too long: {asked} tokens > {CONTEXT_LIMIT} that fit")
