"""Anthropic's Messages API.

Sources: https://platform.claude.com/docs/en/api/messages, https://platform.claude.com/docs/en/build-with-claude/streaming,
https://platform.claude.com/docs/en/build-with-claude/structured-outputs, https://platform.claude.com/docs/en/api/errors,
https://platform.claude.com/docs/en/build-with-claude/handling-stop-reasons.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from core.errors import BadRequest, ModelFailed, ModelOutOfQuota
from llm.alternation import (
    REDACTED,
    arguments,
    fitting_id,
    image_format,
    listed_tools,
    result_text,
    system_texts,
    turns,
    with_extra,
)
from llm.endpoints import Endpoint
from llm.events import (
    Event,
    Finished,
    FinishReason,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    Usage,
    UsageReported,
    token_count,
)
from llm.messages import (
    ForcedTool,
    Image,
    ModelRequest,
    OutputSchema,
    Part,
    Reasoning,
    Text,
    Tool,
    ToolCall,
    ToolResult,
)
from llm.model import ModelCard
from llm.providers.openai_chat import stream_error
from llm.refusals import json_object, judge
from llm.sse import JsonEventReader
from llm.thinking import Thinking, thinking
from llm.vendor import WireCall, wire_body

API_VERSION = "2023-06-01"
# The vendor demands a limit: this one where neither caller nor card names any; every model can that much.
DEFAULT_OUTPUT_TOKENS = 4096

_FINISH: Mapping[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
_CHOICES = {"auto": "auto", "none": "none", "required": "any"}


def to_wire(card: ModelCard, request: ModelRequest) -> dict[str, Any]:
    """The JSON body of one streamed call. Raises BadRequest for what Anthropic cannot be told."""
    conversation = turns(request.messages)
    limit = card.clamp_output(request.max_output_tokens) or DEFAULT_OUTPUT_TOKENS
    thought = thinking(card, request, conversation, limit)
    optional = {
        "system": [{"type": "text", "text": text} for text in system_texts(request.messages)],
        "stop_sequences": list(request.stop),
        "thinking": thought.config,
        "output_config": _output_config(card, request.output, thought),
    }
    body = {
        "model": card.wire_id,
        "max_tokens": limit,
        "messages": [{"role": turn.role, "content": [_part(part) for part in turn.parts]} for turn in conversation],
        "stream": True,
    }
    body |= {name: value for name, value in optional.items() if value}
    return with_extra(body | _sampling(request, thought) | _tools(request), card.extra)


def _sampling(request: ModelRequest, thought: Thinking) -> dict[str, float]:
    wanted = {"temperature": request.temperature, "top_p": request.top_p} if thought.config is None else {}
    return {name: value for name, value in wanted.items() if value is not None}


def _part(part: Part) -> dict[str, Any]:
    match part:
        case Text(text):
            return {"type": "text", "text": text}
        case Image():
            return {"type": "image", "source": _image(part)}
        case ToolCall():
            return {"type": "tool_use", "id": fitting_id(part.id), "name": part.name, "input": arguments(part)}
        case ToolResult():
            wired = {"type": "tool_result", "tool_use_id": fitting_id(part.call_id), "content": result_text(part)}
            return wired | ({"is_error": True} if part.is_error else {})
        case Reasoning():
            return _reasoning(part)


def _image(image: Image) -> dict[str, str]:
    if image.url:
        return {"type": "url", "url": image.url}
    return {"type": "base64", "media_type": f"image/{image_format(image)}", "data": image.base64}


def _reasoning(part: Reasoning) -> dict[str, str]:
    if part.signature.startswith(REDACTED):
        return {"type": "redacted_thinking", "data": part.signature.removeprefix(REDACTED)}
    return {"type": "thinking", "thinking": part.text, "signature": part.signature}


def _tools(request: ModelRequest) -> dict[str, Any]:
    if not (tools := listed_tools(request)):
        return {}
    # Stand-ins for tools that the caller no longer offers must not be called.
    choice = request.tool_choice if request.tools else "none"
    return {"tools": [_tool(tool) for tool in tools], "tool_choice": _tool_choice(request, choice)}


def _tool(tool: Tool) -> dict[str, Any]:
    wired: dict[str, Any] = {"name": tool.name, "input_schema": tool.parameters}
    if tool.description:
        wired["description"] = tool.description
    return wired | ({"strict": True} if tool.strict else {})


def _tool_choice(request: ModelRequest, choice: Any) -> dict[str, Any]:
    if isinstance(choice, ForcedTool):
        wired: dict[str, Any] = {"type": "tool", "name": choice.name}
    else:
        wired = {"type": _CHOICES[choice]}
    if request.parallel_tool_calls is not None and wired["type"] != "none":
        wired["disable_parallel_tool_use"] = not request.parallel_tool_calls
    return wired


def _output_config(card: ModelCard, output: OutputSchema | None, thought: Thinking) -> dict[str, Any]:
    config: dict[str, Any] = {"effort": thought.effort} if thought.effort else {}
    if output is None or card.structured_output != "native":
        return config
    if output.schema is None:
        raise BadRequest(f"{card.name} gives JSON only by a schema. Send one as `json_schema`.")
    return config | {"format": {"type": "json_schema", "schema": output.schema}}


class AnthropicAnswer:
    """Translates the events of one answer, and keeps what spans them.

    Usage comes in two parts, the input at the start and the output, counted up, at the end. It is reported with the
    first content, so that a stream that breaks off can be settled, and again with the vendor's mark of the end.
    """

    def __init__(self) -> None:
        self._calls: dict[int, int] = {}
        """Which call of a tool the content block is, among the calls."""
        self._usage: dict[str, Any] = {}
        self._begun = False
        self.done = False

    def translate(self, event: Mapping[str, Any]) -> Iterator[Event]:
        """The events of one `data`; those that we do not know give none. Raises ModelFailed for an `error`."""
        match event["type"]:
            case "message_start":
                self._count(event["message"].get("usage"))
            case "content_block_start":
                if self._usage and not self._begun:
                    yield UsageReported(usage_from_wire(self._usage))
                self._begun = True
                yield from self._start(event["index"], event["content_block"])
            case "content_block_delta":
                yield from self._delta(event["index"], event["delta"])
            case "message_delta":
                self._count(event.get("usage"))
                if reason := event["delta"].get("stop_reason"):
                    yield Finished(_FINISH.get(reason, "stop"))
            case "message_stop":
                self.done = True
                if self._usage:
                    yield UsageReported(usage_from_wire(self._usage))
            case "error":
                raise stream_error(event["error"])

    def _count(self, usage: Mapping[str, Any] | None) -> None:
        """Counts are cumulative: the later one holds."""
        self._usage |= {name: value for name, value in (usage or {}).items() if value is not None}

    def _start(self, index: int, block: Mapping[str, Any]) -> Iterator[Event]:
        """Blocks begin empty, as a rule; calls that Anthropic makes itself are not ours to answer."""
        match block["type"]:
            case "text" if text := block.get("text"):
                yield TextDelta(text)
            case "thinking" if text := block.get("thinking"):
                yield ReasoningDelta(text)
            case "redacted_thinking":
                yield ReasoningDelta("", f"{REDACTED}{block['data']}")
            case "tool_use":
                call = self._calls.setdefault(index, len(self._calls))
                arguments = orjson.dumps(block["input"]).decode() if block.get("input") else ""
                yield ToolCallDelta(index=call, id=block["id"], name=block["name"], arguments=arguments)

    def _delta(self, index: int, delta: Mapping[str, Any]) -> Iterator[Event]:
        match delta["type"]:
            case "text_delta" if text := delta["text"]:
                yield TextDelta(text)
            case "thinking_delta" if text := delta["thinking"]:
                yield ReasoningDelta(text)
            case "signature_delta":
                yield ReasoningDelta("", delta["signature"])
            case "input_json_delta" if index in self._calls and (piece := delta["partial_json"]):
                yield ToolCallDelta(index=self._calls[index], arguments=piece)


def usage_from_wire(usage: Mapping[str, Any]) -> Usage:
    """Disjoint as Anthropic sends them: `input_tokens` counts none that the cache gave or took; thinking is output."""
    return Usage(
        input=token_count(usage.get("input_tokens")),
        cache_read=token_count(usage.get("cache_read_input_tokens")),
        cache_write=token_count(usage.get("cache_creation_input_tokens")),
        cache_write_1h=token_count((usage.get("cache_creation") or {}).get("ephemeral_1h_input_tokens")),
        output=token_count(usage.get("output_tokens")),
        reasoning=token_count((usage.get("output_tokens_details") or {}).get("thinking_tokens")),
        raw=dict(usage),
    )


class AnthropicReader(JsonEventReader):
    """Nothing follows `message_stop`."""

    __slots__ = ("_answer",)

    def __init__(self) -> None:
        self._answer = AnthropicAnswer()
        super().__init__(self._answer.translate)

    def feed(self, chunk: bytes) -> list[Event]:
        events = super().feed(chunk)
        self.done = self.done or self._answer.done
        return events


class Anthropic:
    """The provider; an endpoint's URL is the base, https://api.anthropic.com."""

    async def call(self, card: ModelCard, endpoint: Endpoint, request: ModelRequest) -> WireCall:
        return WireCall(
            url=f"{endpoint.url.rstrip('/')}/v1/messages",
            body=await wire_body(to_wire, card, request),
            headers={"anthropic-version": API_VERSION} | ({"x-api-key": endpoint.key} if endpoint.key else {}),
        )

    def reader(self) -> AnthropicReader:
        return AnthropicReader()

    def refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> ModelFailed:
        """`{"type": "error", "error": {"type", "message"}}`."""
        error = json_object(body).get("error")
        error = error if isinstance(error, dict) else {}
        kind, message = str(error.get("type") or ""), str(error.get("message") or "")
        # What is not paid for is answered with 400 or 402.
        if kind == "billing_error" or "credit balance is too low" in message.lower():
            return ModelOutOfQuota()
        return judge(status, headers, kind, message)
