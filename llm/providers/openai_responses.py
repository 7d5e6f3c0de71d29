"""OpenAI's Responses API, as OpenAI and Azure speak it; nothing is stored with the vendor.

Sources of the shapes: https://platform.openai.com/docs/api-reference/responses and …/responses-streaming; for
encrypted reasoning https://platform.openai.com/docs/guides/reasoning#encrypted-reasoning-items.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from core.errors import BadRequest, ModelBrokeOff, ModelFailed
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
)
from llm.messages import (
    Effort,
    ForcedTool,
    Image,
    Message,
    ModelRequest,
    OutputSchema,
    Reasoning,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from llm.model import ModelCard
from llm.providers.openai_chat import image_url, openai_refusal, spoken_effort, stream_error
from llm.refusals import judge
from llm.sse import JsonEventReader
from llm.vendor import WireCall, wire_body

# Tokens; the API refuses less.
MIN_OUTPUT_TOKENS = 16
_INCOMPLETE: Mapping[str, FinishReason] = {"max_output_tokens": "length", "content_filter": "content_filter"}


def to_wire(card: ModelCard, request: ModelRequest) -> dict[str, Any]:
    """The JSON body of one streamed call. Raises BadRequest for what this API cannot be told."""
    if request.stop:
        raise BadRequest(f"{card.name} takes no stop sequences. Leave `stop` out.")
    signed = bool(card.thinking) and _uses_tools(request)
    settings = {
        # Models that do not reason refuse this.
        "include": ["reasoning.encrypted_content"] if signed else None,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "max_output_tokens": _limit(card, request),
        "reasoning": _reasoning_effort(card, request.effort),
        "text": None if request.output is None else {"format": _format(request.output)},
    }
    return {
        "model": card.wire_id,
        "input": [item for message in request.messages for item in _items(message, signed=signed)],
        "stream": True,
        "store": False,
        **{name: value for name, value in settings.items() if value is not None},
        **_tools(request),
        **card.extra,
    }


def _uses_tools(request: ModelRequest) -> bool:
    return bool(request.tools) or any(True for message in request.messages for _ in message.parts_of(ToolCall))


def _limit(card: ModelCard, request: ModelRequest) -> int | None:
    limit = card.clamp_output(request.max_output_tokens)
    return None if limit is None else max(MIN_OUTPUT_TOKENS, limit)


def _reasoning_effort(card: ModelCard, wanted: Effort | None) -> dict[str, Any] | None:
    if wanted is None:
        return None
    effort = spoken_effort(card, wanted)
    return {"effort": effort} | ({} if effort == "none" else {"summary": "auto"})


def _format(output: OutputSchema) -> dict[str, Any]:
    if output.schema is None:
        return {"type": "json_object"}
    return {"type": "json_schema", "name": output.name, "schema": output.schema, "strict": output.strict}


def _tools(request: ModelRequest) -> dict[str, Any]:
    if not request.tools:
        return {}
    body: dict[str, Any] = {
        "tools": [_function(tool) for tool in request.tools],
        "tool_choice": _tool_choice(request.tool_choice),
    }
    if request.parallel_tool_calls is not None:
        body["parallel_tool_calls"] = request.parallel_tool_calls
    return body


def _function(tool: Tool) -> dict[str, Any]:
    # Here, other than in chat completions, functions are strict unless told otherwise.
    function = {"type": "function", "name": tool.name, "parameters": tool.parameters, "strict": tool.strict}
    return function | ({"description": tool.description} if tool.description else {})


def _tool_choice(choice: ToolChoice) -> Any:
    return {"type": "function", "name": choice.name} if isinstance(choice, ForcedTool) else choice


def _items(message: Message, *, signed: bool) -> Iterator[dict[str, Any]]:
    """One message as items in the order of its parts: calls, results and reasoning are items of their own here."""
    content: list[dict[str, Any]] = []
    for part in message.parts:
        if isinstance(part, Text | Image):
            content.append(_content(message.role, part))
            continue
        if content:
            yield _message(message.role, content)
            content = []
        match part:
            case ToolCall():
                arguments = part.arguments or "{}"
                yield {"type": "function_call", "call_id": part.id, "name": part.name, "arguments": arguments}
            case ToolResult():
                yield {"type": "function_call_output", "call_id": part.call_id, "output": part.text}
            case Reasoning() if signed and part.signature:
                yield _reasoning(part)
    if content:
        yield _message(message.role, content)


def _message(role: Role, content: list[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": content}


def _content(role: Role, part: Text | Image) -> dict[str, Any]:
    if isinstance(part, Text):
        return {"type": "output_text" if role == "assistant" else "input_text", "text": part.text}
    if role == "assistant":
        raise BadRequest("Images can only stand in messages of the user.")
    return {"type": "input_image", "image_url": image_url(part), "detail": "auto"}


def _reasoning(part: Reasoning) -> dict[str, Any]:
    # Without its id: nothing is stored that the id could be looked up in.
    summary = [{"type": "summary_text", "text": part.text}] if part.text else []
    return {"type": "reasoning", "summary": summary, "encrypted_content": part.signature}


class ResponsesAnswer:
    """Translates the events of one answer, and numbers its tool calls."""

    def __init__(self) -> None:
        self._calls: dict[Any, int] = {}
        """Output index of a call to its number among the calls."""
        self._with_arguments: set[Any] = set()

    def translate(self, event: Mapping[str, Any]) -> Iterator[Event]:
        """Our events for one of theirs; kinds that say nothing to us give none. Raises ModelFailed for errors."""
        match event.get("type"):
            case "response.output_text.delta":
                yield TextDelta(event.get("delta") or "")
            case "response.refusal.delta":
                yield RefusalDelta(event.get("delta") or "")
            case "response.reasoning_summary_text.delta" | "response.reasoning_text.delta":
                yield ReasoningDelta(event.get("delta") or "")
            case "response.reasoning_summary_part.added" if event.get("summary_index"):
                yield ReasoningDelta("\n\n")  # a summary's parts are paragraphs
            case "response.output_item.added" | "response.output_item.done" as kind:
                yield from self._item(event.get("output_index"), event.get("item") or {}, done=kind.endswith("done"))
            case "response.function_call_arguments.delta":
                yield self._arguments(event.get("output_index"), event.get("delta") or "")
            case "response.completed":
                yield from _end(event, "tool_calls" if self._calls else "stop")
            case "response.incomplete":
                yield from _end(event, _incomplete(event))
            case "response.failed":
                raise _failure((event.get("response") or {}).get("error"))
            case "error" | None:
                raise _failure(event.get("error") or event)

    def _item(self, index: Any, item: Mapping[str, Any], *, done: bool) -> Iterator[Event]:
        if item.get("type") == "function_call":
            yield from self._call(index, item)
        elif done and item.get("type") == "reasoning" and (signature := item.get("encrypted_content")):
            yield ReasoningDelta("", signature)

    def _call(self, index: Any, item: Mapping[str, Any]) -> Iterator[Event]:
        """A call is announced, then its arguments come; the finished item repeats both, for whom they did not."""
        arguments = item.get("arguments") or ""
        if index not in self._calls:
            self._calls[index] = len(self._calls)
            yield ToolCallDelta(index=self._calls[index], id=item.get("call_id"), name=item.get("name"))
        if arguments and index not in self._with_arguments:
            yield self._arguments(index, arguments)

    def _arguments(self, index: Any, text: str) -> ToolCallDelta:
        if index not in self._calls:
            raise ModelBrokeOff  # arguments of a call that was never announced
        self._with_arguments.add(index)
        return ToolCallDelta(index=self._calls[index], arguments=text)


def _incomplete(event: Mapping[str, Any]) -> FinishReason:
    details = (event.get("response") or {}).get("incomplete_details") or {}
    return _INCOMPLETE.get(details.get("reason") or "", "length")


def _end(event: Mapping[str, Any], reason: FinishReason) -> Iterator[Event]:
    if usage := (event.get("response") or {}).get("usage"):
        yield UsageReported(usage_from_wire(usage))
    yield Finished(reason)


def _failure(error: Any) -> ModelFailed:
    """What `{"code", "message"}` means: it comes inside a stream that was answered with 200."""
    if not isinstance(error, Mapping):
        return ModelBrokeOff()
    code, message = str(error.get("code") or ""), str(error.get("message") or "")
    if code.startswith(("rate_limit", "insufficient_quota")):
        return judge(429, {}, code, message)
    if code.startswith(("invalid_", "context_length", "content_filter", "unsupported_")) or "image" in code:
        return judge(400, {}, code, message)
    return stream_error(error)


def usage_from_wire(usage: Mapping[str, Any]) -> Usage:
    """Disjoint classes: cached tokens are counted inside `input_tokens`, reasoning inside `output_tokens`."""
    cached = (usage.get("input_tokens_details") or {}).get("cached_tokens") or 0
    return Usage(
        input=max(0, (usage.get("input_tokens") or 0) - cached),
        cache_read=cached,
        output=usage.get("output_tokens") or 0,
        reasoning=(usage.get("output_tokens_details") or {}).get("reasoning_tokens") or 0,
        raw=dict(usage),
    )


class OpenAIResponses:
    """The provider; an endpoint's URL is complete and ends in `/responses`."""

    async def call(self, card: ModelCard, endpoint: Endpoint, request: ModelRequest) -> WireCall:
        body = await wire_body(to_wire, card, request)
        return WireCall(url=endpoint.url, body=body, headers=endpoint.headers)

    def reader(self) -> JsonEventReader:
        return JsonEventReader(ResponsesAnswer().translate)

    def refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> ModelFailed:
        return openai_refusal(status, headers, body)
