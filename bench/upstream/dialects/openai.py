"""OpenAI chat completions (platform.openai.com/docs/api-reference/chat and /chat-streaming)."""

from collections.abc import Iterator
from typing import Any

import orjson

from bench.upstream.dialects import sse
from bench.upstream.dialects.base import (
    CONTEXT_LIMIT,
    PAUSE,
    Ask,
    BadRequestError,
    Brief,
    Ending,
    Refusal,
    json_body,
    last_prompt,
    objects,
)
from bench.upstream.http import Request
from bench.upstream.plan import Fault, Trouble, Usage

CREATED = 1_700_000_000  # a fixed time: two runs of one test see the same bytes

_ERROR_TYPES = {
    400: ("invalid_request_error", None),
    401: ("invalid_request_error", "invalid_api_key"),
    404: ("invalid_request_error", "model_not_found"),
    413: ("invalid_request_error", None),
    429: ("requests", "rate_limit_exceeded"),
}
_TROUBLES = {
    Trouble.RATE_LIMIT: ("Rate limit reached for requests.", "requests", "rate_limit_exceeded"),
    Trouble.OVERLOADED: ("The engine is currently overloaded.", "server_error", "server_is_overloaded"),
    Trouble.INVALID: ("The request stopped being valid.", "invalid_request_error", None),
}
_SERVER_ERROR = ("The server had an error while processing your request.", "server_error", None)


class ChatEncoder:
    """Server-sent `chat.completion.chunk` events. The bytes around a token's text are encoded once per call."""

    __slots__ = ("_brief", "_common", "_prefix", "_suffix")
    content_type = sse.CONTENT_TYPE

    def __init__(self, brief: Brief) -> None:
        self._brief = brief
        self._common = {
            "id": f"chatcmpl-mock-{brief.call_id}",
            "object": "chat.completion.chunk",
            "created": CREATED,
            "model": brief.ask.model,
            "system_fingerprint": "fp_mock",
        }
        self._prefix, self._suffix = sse.around_hole(self._delta({"content": sse.hole()}))

    def _chunk(self, choices: list[dict[str, Any]], **more: Any) -> bytes:
        return sse.data_event(orjson.dumps(self._common | {"choices": choices} | more))

    def _delta(self, delta: dict[str, Any], reason: str | None = None) -> bytes:
        return self._chunk([{"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}])

    def opening(self) -> bytes:
        return self._delta({"role": "assistant", "content": "", "refusal": None})

    def token(self, text: bytes) -> bytes:
        return self._prefix + text + self._suffix

    def tool_call(self, name: str, arguments: list[str]) -> Iterator[bytes]:
        start = {"index": 0, "id": "call_mock", "type": "function", "function": {"name": name, "arguments": ""}}
        yield self._delta({"tool_calls": [start]})
        for fragment in arguments:
            yield self._delta({"tool_calls": [{"index": 0, "function": {"arguments": fragment}}]})

    def ending(self, ending: Ending) -> Iterator[bytes | None]:
        yield self._delta({}, ending.reason)
        if ending.late:
            yield PAUSE
        for _ in range(ending.times):
            yield self._chunk([], usage=_usage(ending.usage))
        if ending.mark:
            yield sse.data_event(b"[DONE]")

    def error(self, trouble: Trouble) -> bytes:
        return sse.data_event(error_body(*_TROUBLES.get(trouble, _SERVER_ERROR)))

    def garbage(self) -> bytes:
        return sse.data_event(b'{"id":"chatcmpl-mock","choices":[{"delta":{"content":')

    def whole(self, text: str, reason: str, tool: tuple[str, str] | None) -> bytes:
        message: dict[str, Any] = {"role": "assistant", "content": text or None, "refusal": None}
        if tool is not None:
            function = {"name": tool[0], "arguments": tool[1]}
            message["tool_calls"] = [{"id": "call_mock", "type": "function", "function": function}]
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
        answer = self._common | {"object": "chat.completion", "choices": [choice]}
        return orjson.dumps(answer if self._brief.usage is None else answer | {"usage": _usage(self._brief.usage)})


def _usage(usage: Usage | None) -> dict[str, Any] | None:
    if usage is None:
        return None
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.cached, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning, "audio_tokens": 0},
    }


def error_body(message: str, kind: str, code: str | None, param: str | None = None) -> bytes:
    """The body of OpenAI's errors (platform.openai.com/docs/guides/error-codes)."""
    return orjson.dumps({"error": {"message": message, "type": kind, "param": param, "code": code}})


def openai_refusal(status: int, message: str) -> Refusal:
    kind, code = _ERROR_TYPES.get(status, ("server_error", None))
    return Refusal(status=status, body=error_body(message, kind, code))


def overflow_message(asked: int) -> str:
    return f"This model's maximum context length is {CONTEXT_LIMIT} tokens, and your messages came to {asked} tokens."


def openai_overflow(message: str, param: str) -> Refusal:
    return Refusal(
        status=400, body=error_body(message, "invalid_request_error", "context_length_exceeded", param=param)
    )


def model_of(body: dict[str, Any], default: str | None = None) -> str:
    """The model's name. Raises BadRequestError when there is none."""
    model = body.get("model", default)
    if not isinstance(model, str):
        raise BadRequestError("you must provide a model parameter")
    return model


def _tool(body: dict[str, Any], messages: list[dict[str, Any]]) -> str | None:
    if messages and messages[-1].get("role") == "tool":
        return None
    tools = body.get("tools") or [{"function": {"name": "lookup"}}]
    return str(tools[0].get("function", {}).get("name", "lookup"))


def parse_chat(request: Request, *, model: str | None = None) -> Ask:
    """The ask of a chat completion. `model` is for a body that names none."""
    body = json_body(request)
    model = model_of(body, model)
    messages = objects(body, "messages")
    return Ask(
        model=model,
        stream=bool(body.get("stream")),
        wants_usage=bool((body.get("stream_options") or {}).get("include_usage")),
        prompt=last_prompt(messages),
        tool=_tool(body, messages),
    )


class OpenAIChat:
    """`POST /v1/chat/completions`, streamed and whole. Key: a bearer token."""

    special_faults: frozenset[Fault] = frozenset()

    def accepts(self, method: str, path: str) -> bool:
        return method == "POST" and path == "/v1/chat/completions"

    def parse(self, request: Request) -> Ask:
        return parse_chat(request)

    def encoder(self, brief: Brief) -> ChatEncoder:
        return ChatEncoder(brief)

    def refusal(self, status: int, message: str, *, retry_after: int | None = None) -> Refusal:
        return openai_refusal(status, message)

    def overflow(self, asked: int) -> Refusal:
        return openai_overflow(overflow_message(asked), "messages")
