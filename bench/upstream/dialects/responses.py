"""OpenAI's Responses API (platform.openai.com/docs/api-reference/responses and /responses-streaming)."""

from collections.abc import Iterator
from typing import Any

import orjson

from bench.upstream.dialects import sse
from bench.upstream.dialects.base import (
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
from bench.upstream.dialects.openai import CREATED, model_of, openai_overflow, openai_refusal
from bench.upstream.http import Request
from bench.upstream.plan import Fault, Trouble, Usage

_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
_TROUBLES = {
    Trouble.RATE_LIMIT: ("rate_limit_exceeded", "Rate limit reached for requests."),
    Trouble.OVERLOADED: ("server_is_overloaded", "Our servers are overloaded at the moment."),
    Trouble.INVALID: ("invalid_prompt", "The prompt stopped being valid."),
}
_SERVER_ERROR = ("server_error", "The server had an error while processing your request.")
# Written out, since every token needs its number and its text put in.
_TOKEN = (
    b"event: response.output_text.delta\n"
    b'data: {"type":"response.output_text.delta","sequence_number":%d,"item_id":"msg_mock",'
    b'"output_index":%d,"content_index":0,"delta":"%b","logprobs":[]}\n\n'
)


def _message(text: str, status: str) -> dict[str, Any]:
    return {"id": "msg_mock", "type": "message", "status": status, "role": "assistant", "content": [_part(text)]}


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "annotations": [], "logprobs": [], "text": text}


def _function_call(name: str, arguments: str, status: str) -> dict[str, Any]:
    call = {"id": "fc_mock", "type": "function_call", "status": status, "call_id": "call_mock"}
    return call | {"name": name, "arguments": arguments}


def _summary(text: str) -> dict[str, Any]:
    return {"type": "summary_text", "text": text}


def _reasoning(*summary: dict[str, Any]) -> dict[str, Any]:
    signature = {"encrypted_content": SIGNATURE} if summary else {}
    return {"id": "rs_mock", "type": "reasoning", "summary": list(summary)} | signature


class ResponsesEncoder:
    """Typed, numbered events; an item is announced, filled and closed, and the whole answer stands in the last event.

    Usage is inside that last event: reported `twice`, the event comes twice.
    """

    __slots__ = ("_brief", "_output", "_sequence", "_text")
    content_type = sse.CONTENT_TYPE

    def __init__(self, brief: Brief) -> None:
        self._brief = brief
        self._sequence = -1
        self._output: list[dict[str, Any]] = []  # the items that are closed
        self._text: list[bytes] = []

    def _next(self) -> int:
        self._sequence += 1
        return self._sequence

    def _event(self, kind: str, **more: Any) -> bytes:
        return sse.typed_event({"type": kind, "sequence_number": self._next()} | more)

    def _at(self, kind: str, item: str, **more: Any) -> bytes:
        return self._event(kind, item_id=item, output_index=len(self._output), **more)

    def _added(self, item: dict[str, Any]) -> bytes:
        return self._event("response.output_item.added", output_index=len(self._output), item=item)

    def _closed(self, item: dict[str, Any]) -> bytes:
        self._output.append(item)
        return self._event("response.output_item.done", output_index=len(self._output) - 1, item=item)

    def _response(self, status: str, usage: Usage | None, reason: str | None = None) -> dict[str, Any]:
        return {
            "id": f"resp_mock_{self._brief.call_id}",
            "object": "response",
            "created_at": CREATED,
            "status": status,
            "error": None,
            "incomplete_details": reason and {"reason": reason},
            "model": self._brief.ask.model,
            "output": self._output,
            "parallel_tool_calls": True,
            "store": False,
            "usage": _usage(usage),
        }

    def opening(self) -> bytes:
        begun = self._response("in_progress", None)
        return b"".join(
            [
                self._event("response.created", response=begun),
                self._event("response.in_progress", response=begun),
                *(self._thought() if self._brief.thinks else ()),
                *(() if self._brief.tool else self._message_opening()),
            ]
        )

    def _thought(self) -> Iterator[bytes]:
        kind = "response.reasoning_summary"
        yield self._added(_reasoning())
        yield self._at(f"{kind}_part.added", "rs_mock", summary_index=0, part=_summary(""))
        yield self._at(f"{kind}_text.delta", "rs_mock", summary_index=0, delta=THOUGHT)
        yield self._at(f"{kind}_text.done", "rs_mock", summary_index=0, text=THOUGHT)
        yield self._at(f"{kind}_part.done", "rs_mock", summary_index=0, part=_summary(THOUGHT))
        yield self._closed(_reasoning(_summary(THOUGHT)))

    def _message_opening(self) -> Iterator[bytes]:
        yield self._added(_message("", "in_progress") | {"content": []})
        yield self._at("response.content_part.added", "msg_mock", content_index=0, part=_part(""))

    def token(self, text: bytes) -> bytes:
        self._text.append(text)
        return _TOKEN % (self._next(), len(self._output), text)

    def tool_call(self, name: str, arguments: list[str]) -> Iterator[bytes]:
        kind = "response.function_call_arguments"
        whole = "".join(arguments)
        yield self._added(_function_call(name, "", "in_progress"))
        for fragment in arguments:
            yield self._at(f"{kind}.delta", "fc_mock", delta=fragment)
        done = self._at(f"{kind}.done", "fc_mock", arguments=whole)
        yield done + self._closed(_function_call(name, whole, "completed"))

    def ending(self, ending: Ending) -> Iterator[bytes | None]:
        incomplete = _INCOMPLETE.get(ending.reason)
        status = "incomplete" if incomplete else "completed"
        if not self._brief.tool:
            yield b"".join(self._message_ending(status))
        if not ending.mark:
            return
        if ending.late:
            yield PAUSE
        for _ in range(max(1, ending.times)):
            yield self._event(f"response.{status}", response=self._response(status, ending.usage, incomplete))

    def _message_ending(self, status: str) -> Iterator[bytes]:
        text = b"".join(self._text).decode()
        yield self._at("response.output_text.done", "msg_mock", content_index=0, text=text, logprobs=[])
        yield self._at("response.content_part.done", "msg_mock", content_index=0, part=_part(text))
        yield self._closed(_message(text, status))

    def error(self, trouble: Trouble) -> bytes:
        code, message = _TROUBLES.get(trouble, _SERVER_ERROR)
        return self._event("error", code=code, message=message, param=None)

    def garbage(self) -> bytes:
        return b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","delta":\n\n'

    def whole(self, text: str, reason: str, tool: tuple[str, str] | None) -> bytes:
        incomplete = _INCOMPLETE.get(reason)
        status = "incomplete" if incomplete else "completed"
        thought = [_reasoning(_summary(THOUGHT))] if self._brief.thinks else []
        self._output = [*thought, _function_call(*tool, "completed") if tool else _message(text, status)]
        return orjson.dumps(self._response(status, self._brief.usage, incomplete))


def _usage(usage: Usage | None) -> dict[str, Any] | None:
    if usage is None:
        return None
    return {
        "input_tokens": usage.input,
        "input_tokens_details": {"cached_tokens": usage.cached},
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.input + usage.output,
    }


def _input(body: dict[str, Any]) -> list[dict[str, Any]]:
    if isinstance(body.get("input"), str):
        return [{"role": "user", "content": body["input"]}]
    if "messages" in body:
        raise BadRequestError("Unsupported parameter: 'messages'. In the Responses API this is 'input'.")
    return objects(body, "input")


def _tool(body: dict[str, Any], items: list[dict[str, Any]]) -> str | None:
    if items and items[-1].get("type") == "function_call_output":
        return None
    names = [tool.get("name") for tool in body.get("tools") or [] if tool.get("type") == "function"]
    return str(names[0]) if names else "lookup"


class Responses:
    """`POST /v1/responses`, streamed and whole. Key: a bearer token."""

    path = "/v1/responses"
    special_faults: frozenset[Fault] = frozenset()

    def accepts(self, method: str, path: str) -> bool:
        return method == "POST" and path == self.path

    def parse(self, request: Request) -> Ask:
        body = json_body(request)
        items = _input(body)
        return Ask(
            model=model_of(body), stream=bool(body.get("stream")), prompt=last_prompt(items), tool=_tool(body, items)
        )

    def encoder(self, brief: Brief) -> ResponsesEncoder:
        return ResponsesEncoder(brief)

    def refusal(self, status: int, message: str, *, retry_after: int | None = None) -> Refusal:
        return openai_refusal(status, message)

    def overflow(self, asked: int) -> Refusal:
        return openai_overflow(f"Your input of {asked} tokens exceeds this model's context window.", "input")
