"""OpenAI's chat completions, as OpenAI, Azure, vLLM, Ollama, llama.cpp and many others speak them.

Source of the shapes: https://platform.openai.com/docs/api-reference/chat
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from core.errors import BadRequest, ModelBrokeOff, ModelBusy, ModelFailed
from llm.endpoints import Endpoint
from llm.events import (
    Event,
    Finished,
    FinishReason,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
    Usage,
    UsageReported,
    token_count,
)
from llm.messages import (
    Effort,
    ForcedTool,
    Image,
    Message,
    ModelRequest,
    OutputSchema,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Verbatim,
)
from llm.model import ModelCard
from llm.refusals import json_object, judge
from llm.sse import JsonEventReader
from llm.vendor import WireCall, wire_body

_FINISH: Mapping[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}
# These replaced `max_tokens`; the servers that follow OpenAI's API still know the old name best.
_NEW_LIMIT_NAME = frozenset({"openai", "azure"})


_MEDIA_TYPE = re.compile(r"[a-z0-9.+/-]+", re.IGNORECASE | re.ASCII)


def to_wire(card: ModelCard, request: ModelRequest) -> dict[str, Any]:
    """The JSON body of one streamed call."""
    body: dict[str, Any] = {
        "model": card.wire_id,
        "messages": [wired for message in request.messages for wired in _message(message)],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if request.temperature is not None:
        body["temperature"] = request.temperature
    if request.top_p is not None:
        body["top_p"] = request.top_p
    if request.stop:
        body["stop"] = list(request.stop)
    if (limit := card.clamp_output(request.max_output_tokens)) is not None:
        body["max_completion_tokens" if card.provider in _NEW_LIMIT_NAME else "max_tokens"] = limit
    if request.effort is not None:
        body["reasoning_effort"] = spoken_effort(card, request.effort)
    if request.output is not None:
        body["response_format"] = _response_format(request.output)
    return body | _tools(request) | dict(card.extra)


def _tools(request: ModelRequest) -> dict[str, Any]:
    if not request.tools:
        return {}
    body: dict[str, Any] = {
        "tools": [{"type": "function", "function": _function(tool)} for tool in request.tools],
        "tool_choice": _tool_choice(request.tool_choice),
    }
    if request.parallel_tool_calls is not None:
        body["parallel_tool_calls"] = request.parallel_tool_calls
    return body


def _function(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name, "parameters": tool.parameters}
    if tool.description:
        function["description"] = tool.description
    return function | ({"strict": True} if tool.strict else {})


def _tool_choice(choice: ToolChoice) -> Any:
    return {"type": "function", "function": {"name": choice.name}} if isinstance(choice, ForcedTool) else choice


def _response_format(output: OutputSchema) -> dict[str, Any]:
    if output.schema is None:
        return {"type": "json_object"}
    schema = {"name": output.name, "schema": output.schema, "strict": output.strict}
    return {"type": "json_schema", "json_schema": schema}


def _message(message: Message) -> Iterator[dict[str, Any]]:
    """One message as one or several: each tool result stands alone here."""
    content: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []
    for part in message.parts:
        match part:
            case Text(text):
                content.append({"type": "text", "text": text})
            case Image():
                content.append({"type": "image_url", "image_url": {"url": image_url(part)}})
            case ToolCall():
                calls.append(_call(part))
            case ToolResult():
                yield {"role": "tool", "tool_call_id": part.call_id, "content": part.text}
    if not content and not calls:
        return
    wired: dict[str, Any] = {"role": message.role, "content": _plain(content)}
    yield wired | ({"tool_calls": calls} if calls else {})


def _plain(content: list[dict[str, Any]]) -> Any:
    """Text alone as a string: every compatible server knows that form, not all know lists."""
    if all(part["type"] == "text" for part in content):
        return "".join(part["text"] for part in content) or None
    return content


def _call(call: ToolCall) -> dict[str, Any]:
    wired = {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments or "{}"}}
    # Gemini's compatible endpoint gives and wants its signature here.
    return wired | ({"extra_content": {"google": {"thought_signature": call.signature}}} if call.signature else {})


def image_url(image: Image) -> str:
    """The image's address, or its bytes as a data URL."""
    if image.url:
        return image.url
    if not image.media_type:
        raise BadRequest("An image needs its media type, such as image/png.")
    url = f"data:{image.media_type};base64,{image.base64}"
    is_checked = isinstance(image.base64, Verbatim) and _MEDIA_TYPE.fullmatch(image.media_type)
    return Verbatim(url) if is_checked else url


# What every server knows that speaks OpenAI's API for other vendors' models.
_COMMON_EFFORTS: Mapping[Effort, Effort] = {"none": "low", "minimal": "low", "xhigh": "high"}


def spoken_effort(card: ModelCard, effort: Effort) -> Effort:
    """A level as it is said in OpenAI's API. Cards of models told by a budget know more of them than a server may."""
    return effort if card.thinking == "effort" else _COMMON_EFFORTS.get(effort, effort)


def from_wire(chunk: Mapping[str, Any]) -> list[Event]:
    """The events of one `chat.completion.chunk`, in order. Raises ModelFailed for an error sent inside the stream."""
    if "error" in chunk and not chunk.get("choices"):
        raise stream_error(chunk["error"])
    events: list[Event] = []
    for choice in chunk.get("choices") or ():
        delta = choice.get("delta") or {}
        if text := delta.get("content"):
            events.append(TextDelta(text))
        if reasoning := delta.get("reasoning_content") or delta.get("reasoning"):
            events.append(ReasoningDelta(reasoning))
        if refusal := delta.get("refusal"):
            events.append(RefusalDelta(refusal))
        if calls := delta.get("tool_calls"):
            events.extend(_tool_call(call) for call in calls)
        if reason := choice.get("finish_reason"):
            events.append(Finished(_FINISH.get(reason, "stop")))
    if usage := chunk.get("usage"):
        events.append(UsageReported(usage_from_wire(usage)))
    return events


def _tool_call(call: Mapping[str, Any]) -> ToolCallDelta:
    function = call.get("function") or {}
    google = (call.get("extra_content") or {}).get("google") or {}
    return ToolCallDelta(
        index=call.get("index") or 0,
        id=call.get("id"),
        name=function.get("name"),
        arguments=function.get("arguments") or "",
        signature=google.get("thought_signature") or "",
    )


def usage_from_wire(usage: Mapping[str, Any]) -> Usage:
    """Disjoint classes: OpenAI counts cached tokens inside `prompt_tokens`, reasoning inside `completion_tokens`."""
    prompt = token_count(usage.get("prompt_tokens"))
    cached = min(token_count((usage.get("prompt_tokens_details") or {}).get("cached_tokens")), prompt)
    return Usage(
        input=prompt - cached,
        cache_read=cached,
        output=token_count(usage.get("completion_tokens")),
        reasoning=token_count((usage.get("completion_tokens_details") or {}).get("reasoning_tokens")),
        raw=dict(usage),
    ).plausible()


def stream_error(error: Any) -> ModelFailed:
    """What an error object inside a stream means."""
    code = str(error.get("code") or error.get("type") or "") if isinstance(error, Mapping) else ""
    return ModelBusy() if "rate_limit" in code or "overloaded" in code else ModelBrokeOff()


class OpenAIChat:
    """The provider."""

    async def call(self, card: ModelCard, endpoint: Endpoint, request: ModelRequest) -> WireCall:
        body = await wire_body(to_wire, card, request)
        return WireCall(url=endpoint.url, body=body, headers=endpoint.headers)

    def reader(self) -> JsonEventReader:
        return JsonEventReader(from_wire)

    def refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> ModelFailed:
        return openai_refusal(status, headers, body)


def openai_refusal(status: int, headers: Mapping[str, str], body: bytes) -> ModelFailed:
    """OpenAI and Azure: `{"error": {"code", "type", "message"}}`; compatible servers also `{"message"}`."""
    content = json_object(body)
    error = content.get("error")
    error = error if isinstance(error, dict) else content
    code = str(error.get("code") or error.get("type") or "")
    return judge(status, headers, code, str(error.get("message") or ""))
