"""OpenAI chat completions (platform.openai.com/docs/api-reference/chat and /chat-streaming)."""

from collections.abc import Iterator
from typing import Any

import orjson

from bench.upstream.dialects.base import Ask, BadRequestError, Usage
from bench.upstream.http import Request

CREATED = 1_700_000_000  # a fixed time: two runs of one test see the same bytes

_ERROR_TYPES = {
    400: ("invalid_request_error", None),
    401: ("invalid_request_error", "invalid_api_key"),
    404: ("invalid_request_error", "model_not_found"),
    429: ("requests", "rate_limit_exceeded"),
}


def _event(data: bytes) -> bytes:
    return b"data: %b\n\n" % data


class ChatEncoder:
    """Server-sent `chat.completion.chunk` events. The bytes around a token's text are encoded once per call."""

    __slots__ = ("_common", "_prefix", "_suffix")
    content_type = b"text/event-stream; charset=utf-8"

    def __init__(self, model: str, call_id: int) -> None:
        self._common = {
            "id": f"chatcmpl-mock-{call_id}",
            "object": "chat.completion.chunk",
            "created": CREATED,
            "model": model,
            "system_fingerprint": "fp_mock",
        }
        self._prefix, self._suffix = self._delta({"content": "\0"}).split(b"\\u0000")

    def _chunk(self, choices: list[dict[str, Any]], **more: Any) -> bytes:
        return _event(orjson.dumps(self._common | {"choices": choices} | more))

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

    def finish(self, reason: str) -> bytes:
        return self._delta({}, reason)

    def usage(self, usage: Usage) -> bytes:
        return self._chunk([], usage=_usage(usage))

    def done(self) -> bytes:
        return _event(b"[DONE]")

    def error(self) -> bytes:
        return _event(_error("The server had an error while processing your request.", "server_error", None))

    def garbage(self) -> bytes:
        return _event(b'{"id":"chatcmpl-mock","choices":[{"delta":{"content":')

    def whole(self, text: str, reason: str, usage: Usage | None, tool: tuple[str, str] | None) -> bytes:
        message: dict[str, Any] = {"role": "assistant", "content": text or None, "refusal": None}
        if tool is not None:
            function = {"name": tool[0], "arguments": tool[1]}
            message["tool_calls"] = [{"id": "call_mock", "type": "function", "function": function}]
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
        answer = self._common | {"object": "chat.completion", "choices": [choice]}
        return orjson.dumps(answer if usage is None else answer | {"usage": _usage(usage)})


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.cached, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning, "audio_tokens": 0},
    }


def _error(message: str, kind: str, code: str | None) -> bytes:
    return orjson.dumps({"error": {"message": message, "type": kind, "param": None, "code": code}})


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return " ".join(part.get("text", "") for part in content or [] if isinstance(part, dict))


def _tool(body: dict[str, Any], messages: list[dict[str, Any]]) -> str | None:
    if messages and messages[-1].get("role") == "tool":
        return None
    tools = body.get("tools") or [{"function": {"name": "lookup"}}]
    return str(tools[0].get("function", {}).get("name", "lookup"))


def _body(request: Request) -> dict[str, Any]:
    try:
        body = orjson.loads(request.body)
    except orjson.JSONDecodeError as error:
        raise BadRequestError("We could not parse the JSON body of your request.") from error
    if not isinstance(body, dict) or not isinstance(body.get("model"), str):
        raise BadRequestError("you must provide a model parameter")
    messages = body.get("messages")
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise BadRequestError("'messages' must be an array of objects")
    return body


class OpenAIChat:
    """`POST /v1/chat/completions`, streamed and whole."""

    def accepts(self, method: str, path: str) -> bool:
        return method == "POST" and path == "/v1/chat/completions"

    def parse(self, request: Request) -> Ask:
        body = _body(request)
        messages = body["messages"]
        prompts = [message.get("content") for message in messages if message.get("role") == "user"]
        return Ask(
            model=body["model"],
            stream=bool(body.get("stream")),
            wants_usage=bool((body.get("stream_options") or {}).get("include_usage")),
            prompt=_text(prompts[-1]) if prompts else "",
            tool=_tool(body, messages),
        )

    def encoder(self, ask: Ask, call_id: int) -> ChatEncoder:
        return ChatEncoder(ask.model, call_id)

    def refusal(self, status: int, message: str) -> bytes:
        kind, code = _ERROR_TYPES.get(status, ("server_error", None))
        return _error(message, kind, code)
