"""Answers in OpenAI's shapes: the chunks of a stream, the whole completion, errors.

Source: https://platform.openai.com/docs/api-reference/chat/object and /chat-streaming
"""

import time
from typing import Any, assert_never

import orjson

from chat.wire import Frame, tool_call_json
from core.errors import AmplifyError
from core.ids import new_uuid
from llm.events import (
    AnsweredBy,
    Event,
    Failed,
    Finished,
    FinishReason,
    ReasoningDelta,
    RefusalDelta,
    SourcesCited,
    StateChanged,
    Status,
    TextDelta,
    ToolCallDelta,
    Usage,
    UsageReported,
)

_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
}


def error_json(error: AmplifyError) -> dict[str, Any]:
    """The object that OpenAI's clients turn into an exception."""
    kind = _ERROR_TYPES.get(error.status, "api_error")
    return {"error": {"message": error.message, "type": kind, "param": None, "code": error.code}}


def usage_json(usage: Usage) -> dict[str, Any]:
    """Counted as OpenAI counts: cached tokens are part of the prompt's."""
    prompt = usage.input + usage.cache_read + usage.cache_write
    return {
        "prompt_tokens": prompt,
        "completion_tokens": usage.output,
        "total_tokens": prompt + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.cache_read},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }


class Chunks:
    """Encodes one streamed answer: the `Encoder` of one run."""

    def __init__(self, model_id: str, *, with_usage: bool) -> None:
        self._head = {
            "id": f"chatcmpl-{new_uuid().hex}",
            "object": "chat.completion.chunk",
            "created": int(time.time()),
        }
        self._with_usage = with_usage
        self._usage = Usage()
        self._name_model(model_id)
        self._begun = False

    def _name_model(self, model_id: str) -> None:
        """OpenAI's clients are told who really answers, which may be a stand-in."""
        self._head["model"] = model_id
        # The bytes around a text are the same for every token.
        self._before, self._after = self._delta({"content": "\0"}).split(b'"\\u0000"')

    def __call__(self, event: Event) -> tuple[Frame, ...]:  # noqa: PLR0911 - one per kind of event
        match event:
            case TextDelta(text):
                return (*self._opening(), self._before + orjson.dumps(text) + self._after)
            case RefusalDelta(text):
                return (*self._opening(), self._delta({"refusal": text}))
            case AnsweredBy(model_id=model_id):
                self._name_model(model_id)
                return ()
            case ReasoningDelta(text) if text:
                return (*self._opening(), self._delta({"reasoning_content": text}))
            case ToolCallDelta():
                return (*self._opening(), self._delta({"tool_calls": [tool_call_json(event)]}))
            case UsageReported(usage):
                self._usage = usage
                return ()
            case Finished(reason):
                return (*self._opening(), self._delta({}, reason), *self._usage_chunk())
            case Failed(error):
                return (orjson.dumps(error_json(error)),)
            case ReasoningDelta() | Status() | StateChanged() | SourcesCited():
                return ()  # these have no place in OpenAI's shapes
            case _:
                assert_never(event)

    def _opening(self) -> tuple[Frame, ...]:
        if self._begun:
            return ()
        self._begun = True
        return (self._delta({"role": "assistant", "content": ""}),)

    def _delta(self, delta: dict[str, Any], reason: FinishReason | None = None) -> Frame:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return orjson.dumps(self._head | {"choices": [choice]} | ({"usage": None} if self._with_usage else {}))

    def _usage_chunk(self) -> tuple[Frame, ...]:
        if not self._with_usage:
            return ()
        return (orjson.dumps(self._head | {"choices": [], "usage": usage_json(self._usage)}),)


class Completion:
    """Collects one answer that is not streamed; its frames are those of the stream, so that a resume is one."""

    def __init__(self, model_id: str) -> None:
        self._model_id = model_id
        self._chunks = Chunks(model_id, with_usage=True)
        self._text: list[str] = []
        self._refusal: list[str] = []
        self._reasoning: list[str] = []
        self._calls: dict[int, dict[str, Any]] = {}
        self._usage = Usage()
        self._reason: FinishReason = "stop"

    def __call__(self, event: Event) -> tuple[Frame, ...]:
        match event:
            case TextDelta(text):
                self._text.append(text)
            case RefusalDelta(text):
                self._refusal.append(text)
            case AnsweredBy(model_id=model_id):
                self._model_id = model_id
            case ReasoningDelta(text):
                self._reasoning.append(text)
            case ToolCallDelta():
                self._add_call(event)
            case UsageReported(usage):
                self._usage = usage
            case Finished(reason):
                self._reason = reason
            case _:
                pass  # the others have no place in a completion
        return self._chunks(event)

    def _add_call(self, delta: ToolCallDelta) -> None:
        piece = tool_call_json(delta)
        known = self._calls.get(delta.index)
        if known is None:
            self._calls[delta.index] = piece
        else:
            known["function"]["arguments"] += delta.arguments

    def json(self) -> dict[str, Any]:
        message: dict[str, Any] = {
            "role": "assistant",
            "content": "".join(self._text) or None,
            "refusal": "".join(self._refusal) or None,
        }
        if self._reasoning:
            message["reasoning_content"] = "".join(self._reasoning)
        if self._calls:
            calls = [self._calls[index] for index in sorted(self._calls)]
            message["tool_calls"] = [{name: value for name, value in call.items() if name != "index"} for call in calls]
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": self._reason}
        return {
            "id": f"chatcmpl-{new_uuid().hex}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": self._model_id,
            "choices": [choice],
            "usage": usage_json(self._usage),
        }
