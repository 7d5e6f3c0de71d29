"""The shapes of Amazon Bedrock's ConverseStream, both ways.

Sources: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html,
https://docs.aws.amazon.com/bedrock/latest/userguide/structured-output.html,
https://docs.aws.amazon.com/bedrock/latest/userguide/claude-messages-extended-thinking.html.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from core.errors import BadRequest, ModelInvalidOutput
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
    Message,
    ModelRequest,
    OutputSchema,
    Part,
    Reasoning,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from llm.model import ModelCard
from llm.refusals import MALFORMED_CALL
from llm.thinking import Thinking, thinking

MAX_IMAGES = 20  # in one message, says the reference of `Message`

_FINISH: Mapping[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "content_filtered": "content_filter",
    "guardrail_intervened": "content_filter",
}
_MALFORMED = frozenset({"malformed_model_output", "malformed_tool_use"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Guardrail:
    """An administrator's filter of what goes in and comes out."""

    id: str
    version: str


def to_wire(card: ModelCard, request: ModelRequest, guardrail: Guardrail | None = None) -> dict[str, Any]:
    """The JSON body of one call. Raises BadRequest for what Bedrock cannot be told."""
    conversation = turns(request.messages)
    limit = card.clamp_output(request.max_output_tokens)
    thought = thinking(card, request, conversation, limit)
    body = {
        "messages": [_turn(turn) for turn in conversation],
        "system": [{"text": text} for text in system_texts(request.messages)],
        "inferenceConfig": _inference(request, limit, thought),
        "toolConfig": _tool_config(request),
        "guardrailConfig": guardrail and {"guardrailIdentifier": guardrail.id, "guardrailVersion": guardrail.version},
        "outputConfig": _output_config(card, request.output),
        "additionalModelRequestFields": with_extra(_model_fields(thought), card.extra),
    }
    return {name: value for name, value in body.items() if value}


def _turn(turn: Message) -> dict[str, Any]:
    if sum(1 for _ in turn.parts_of(Image)) > MAX_IMAGES:
        raise BadRequest(f"Amazon Bedrock takes at most {MAX_IMAGES} images in one message. Send fewer of them.")
    return {"role": turn.role, "content": [_part(part) for part in turn.parts]}


def _part(part: Part) -> dict[str, Any]:
    match part:
        case Text(text):
            return {"text": text}
        case Image():
            return {"image": _image(part)}
        case ToolCall():
            return {"toolUse": {"toolUseId": fitting_id(part.id), "name": part.name, "input": arguments(part)}}
        case ToolResult():
            return {"toolResult": _result(part)}
        case Reasoning():
            return {"reasoningContent": _reasoning(part)}


def _image(image: Image) -> dict[str, Any]:
    if image.url:
        raise BadRequest("Amazon Bedrock does not fetch images from addresses. Send the image itself, as a data URL.")
    return {"format": image_format(image), "source": {"bytes": image.base64}}


def _result(result: ToolResult) -> dict[str, Any]:
    wired = {"toolUseId": fitting_id(result.call_id), "content": [{"text": result_text(result)}]}
    return wired | ({"status": "error"} if result.is_error else {})


def _reasoning(part: Reasoning) -> dict[str, Any]:
    if part.signature.startswith(REDACTED):
        return {"redactedContent": part.signature.removeprefix(REDACTED)}
    return {"reasoningText": {"text": part.text, "signature": part.signature}}


def _inference(request: ModelRequest, limit: int | None, thought: Thinking) -> dict[str, Any]:
    settings: dict[str, Any] = {"maxTokens": limit, "stopSequences": list(request.stop) or None}
    if thought.config is None:
        settings |= {"temperature": request.temperature, "topP": request.top_p}
    return {name: value for name, value in settings.items() if value is not None}


def _model_fields(thought: Thinking) -> dict[str, Any]:
    """Budgets go by the name that Bedrock's guide gave them, what is newer by the name that Anthropic did."""
    fields: dict[str, Any] = {}
    if thought.config is not None:
        fields["reasoning_config" if thought.config["type"] == "enabled" else "thinking"] = dict(thought.config)
    if thought.effort is not None:
        fields["output_config"] = {"effort": thought.effort}
    return fields


def _tool_config(request: ModelRequest) -> dict[str, Any]:
    if not (tools := listed_tools(request)):
        return {}
    if request.parallel_tool_calls is False and not isinstance(request.tool_choice, ForcedTool):
        raise BadRequest("Amazon Bedrock cannot be kept to one tool call at a time. Leave `parallel_tool_calls` out.")
    config: dict[str, Any] = {"tools": [{"toolSpec": _tool_spec(tool)} for tool in tools]}
    # There is no way to forbid calls: "none", and stand-ins, are listed without a choice.
    choice = _tool_choice(request.tool_choice) if request.tools else None
    return config | ({"toolChoice": choice} if choice else {})


def _tool_spec(tool: Tool) -> dict[str, Any]:
    spec: dict[str, Any] = {"name": tool.name, "inputSchema": {"json": tool.parameters}}
    if tool.description.strip():
        spec["description"] = tool.description
    return spec | ({"strict": True} if tool.strict else {})


def _tool_choice(choice: ToolChoice) -> dict[str, Any] | None:
    match choice:
        case ForcedTool(name):
            return {"tool": {"name": name}}
        case "required":
            return {"any": {}}
        case "auto":
            return {"auto": {}}
        case "none":
            return None


def _output_config(card: ModelCard, output: OutputSchema | None) -> dict[str, Any]:
    if output is None or card.structured_output != "native":
        return {}
    if output.schema is None:
        raise BadRequest(f"{card.name} gives JSON only by a schema. Send one as `json_schema`.")
    schema = {"name": output.name, "schema": orjson.dumps(output.schema, default=dict).decode()}
    return {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": schema}}}


class ConverseAnswer:
    """Translates the events of one answer, and keeps what spans them."""

    def __init__(self) -> None:
        self._calls: dict[int, int] = {}
        """Which call of a tool the content block is, among the calls."""

    def translate(self, kind: str, event: Mapping[str, Any]) -> Iterator[Event]:
        """The events of one member of `ConverseStreamOutput`; those that we do not know give none."""
        match kind:
            case "contentBlockStart":
                yield from self._start(event)
            case "contentBlockDelta":
                yield from self._delta(event["contentBlockIndex"], event["delta"])
            case "messageStop":
                yield _finished(event["stopReason"])
            case "metadata":
                yield UsageReported(usage_from_wire(event["usage"]))

    def _start(self, event: Mapping[str, Any]) -> Iterator[Event]:
        call = event["start"].get("toolUse")
        if call is None or call.get("type") == "server_tool_use":
            return  # what Amazon calls itself is not ours to answer
        index = self._calls.setdefault(event["contentBlockIndex"], len(self._calls))
        yield ToolCallDelta(index=index, id=call["toolUseId"], name=call["name"])

    def _delta(self, block: int, delta: Mapping[str, Any]) -> Iterator[Event]:
        if text := delta.get("text"):
            yield TextDelta(text)
        if (call := delta.get("toolUse")) and (index := self._calls.get(block)) is not None:
            yield ToolCallDelta(index=index, arguments=call["input"])
        if reasoning := delta.get("reasoningContent"):
            redacted = reasoning.get("redactedContent")
            signature = f"{REDACTED}{redacted}" if redacted else reasoning.get("signature") or ""
            yield ReasoningDelta(reasoning.get("text") or "", signature)


def _finished(reason: str) -> Finished:
    if reason in _MALFORMED:
        raise ModelInvalidOutput(MALFORMED_CALL)
    return Finished(_FINISH.get(reason, "stop"))


def usage_from_wire(usage: Mapping[str, Any]) -> Usage:
    """Disjoint as Bedrock sends them: `inputTokens` counts none that the cache gave or took."""
    return Usage(
        input=token_count(usage.get("inputTokens")),
        cache_read=token_count(usage.get("cacheReadInputTokens")),
        cache_write=token_count(usage.get("cacheWriteInputTokens")),
        cache_write_1h=sum(
            token_count(detail.get("inputTokens"))
            for detail in usage.get("cacheDetails") or ()
            if detail.get("ttl") == "1h"
        ),
        output=token_count(usage.get("outputTokens")),
        raw=dict(usage),
    )
