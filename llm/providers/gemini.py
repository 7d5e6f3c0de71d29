"""Google's Gemini by its own API, `models/…:streamGenerateContent`.

Sources of the shapes: https://ai.google.dev/api/generate-content, https://ai.google.dev/gemini-api/docs/function-calling,
https://ai.google.dev/gemini-api/docs/thinking, https://ai.google.dev/gemini-api/docs/thought-signatures.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import orjson

from core.errors import BadRequest, ModelFailed, ModelInvalidOutput, ModelRejectedKey
from core.ids import new_uuid
from llm.alternation import with_extra
from llm.endpoints import Endpoint
from llm.events import Event, Finished, FinishReason, ReasoningDelta, TextDelta, ToolCallDelta, Usage, UsageReported
from llm.messages import (
    Effort,
    ForcedTool,
    Image,
    Message,
    ModelRequest,
    Part,
    Reasoning,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from llm.model import ModelCard
from llm.refusals import MALFORMED_CALL, json_object, judge
from llm.sse import JsonEventReader
from llm.vendor import WireCall, wire_body

# What is neither in here nor malformed (STOP, OTHER, …) is a plain end.
_FINISH: Mapping[str, FinishReason] = {
    "MAX_TOKENS": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "IMAGE_SAFETY": "content_filter",
}
# The model has tried to call a tool and got it wrong; what was said before is no answer.
_MALFORMED = frozenset({"MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS", "MALFORMED_RESPONSE"})
# Tokens. Every model that takes a budget takes these (its table of ranges is in the page on thinking), but for the 0:
# the cards say which models cannot be kept from thinking.
_BUDGETS: Mapping[Effort, int] = {
    **{"none": 0, "minimal": 1024, "low": 1024, "medium": 4096, "high": 16384},
    "xhigh": 24576,
}
# No model told by a level can be kept from thinking, and there is none above "high".
_LEVELS: Mapping[Effort, str] = {"none": "low", "xhigh": "high"}
_MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY"}
# Stands for the signature of a call that Gemini did not make itself; its newer models refuse calls without one. The
# value is the one that the page on thought signatures gives for histories from elsewhere.
_FOREIGN_CALL = "skip_thought_signature_validator"
# Said where a conversation begins with the model's words: the first ones must be the user's.
_OPENING = {"role": "user", "parts": [{"text": "[The conversation begins with your words.]"}]}


def to_wire(card: ModelCard, request: ModelRequest) -> dict[str, Any]:
    """The JSON body of one call. Raises BadRequest for what Gemini cannot be told."""
    free = request.tools and not isinstance(request.tool_choice, ForcedTool)
    if free and request.parallel_tool_calls is False:
        raise BadRequest("Gemini cannot be kept to one tool call at a time. Leave `parallel_tool_calls` out.")
    body: dict[str, Any] = {"contents": _contents(card, request.messages)}
    if system := _system(card, request.messages):
        body["systemInstruction"] = {"parts": system}
    if config := _generation(card, request):
        body["generationConfig"] = config
    return with_extra(body | _tools(request), card.extra)


def _system(card: ModelCard, messages: Sequence[Message]) -> list[dict[str, Any]]:
    said = [part for message in messages if message.role == "system" for part in message.parts]
    return [wired for part in said for wired in _part(card, part, {})]


def _contents(card: ModelCard, messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Turns of user and model in alternation: neighbours of one role become one, as parallel results must."""
    names = {call.id: call.name for message in messages for call in message.parts_of(ToolCall)}
    contents: list[dict[str, Any]] = []
    for message in messages:
        if message.role == "system":
            continue
        role = "model" if message.role == "assistant" else "user"
        parts = [wired for part in message.parts for wired in _part(card, part, names)]
        if parts and contents and contents[-1]["role"] == role:
            contents[-1]["parts"] += parts
        elif parts:
            contents.append({"role": role, "parts": parts})
    if not contents:
        raise BadRequest("Gemini needs a message of the user to answer.")
    if card.thinking == "effort":
        _sign_foreign_calls(contents)
    return contents if contents[0]["role"] == "user" else [_OPENING, *contents]


def _sign_foreign_calls(contents: list[dict[str, Any]]) -> None:
    """Only the first call of a turn carries a signature."""
    for content in contents:
        if first := next((part for part in content["parts"] if "functionCall" in part), None):
            first.setdefault("thoughtSignature", _FOREIGN_CALL)


def _part(card: ModelCard, part: Part, names: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    match part:
        case Text(text):
            yield {"text": text}
        case Image():
            yield _image(card, part)
        case ToolCall():
            yield _call(part)
        case ToolResult():
            yield _result(part, names)
        case Reasoning():
            return  # Gemini does not want its thoughts back; what it does want stands with the call


def _image(card: ModelCard, image: Image) -> dict[str, Any]:
    if image.url:
        if not card.image_urls:
            raise BadRequest(f"{card.name} does not fetch images from addresses. Send the image itself, as a data URL.")
        file = {"mimeType": image.media_type} if image.media_type else {}
        return {"fileData": {**file, "fileUri": image.url}}
    if not image.media_type:
        raise BadRequest("An image needs its media type, such as image/png.")
    return {"inlineData": {"mimeType": image.media_type, "data": image.base64}}


def _call(call: ToolCall) -> dict[str, Any]:
    function = {"id": call.id, "name": call.name, "args": _arguments(call)}
    return {"functionCall": function} | ({"thoughtSignature": call.signature} if call.signature else {})


def _arguments(call: ToolCall) -> dict[str, Any]:
    try:
        arguments = orjson.loads(call.arguments or "{}")
    except orjson.JSONDecodeError:
        arguments = None
    if not isinstance(arguments, dict):
        raise BadRequest(f"The arguments of the tool call {call.id[:100]!r} are not a JSON object.")
    return arguments


def _result(result: ToolResult, names: Mapping[str, str]) -> dict[str, Any]:
    """The answer as an object: `output` and `error` are the keys that Gemini looks for."""
    name = result.name or names.get(result.call_id)
    if not name:
        raise BadRequest(f"There is no tool call {result.call_id[:100]!r} for this tool's answer.")
    response = {"error" if result.is_error else "output": result.text}
    return {"functionResponse": {"id": result.call_id, "name": name, "response": response}}


def _generation(card: ModelCard, request: ModelRequest) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "maxOutputTokens": card.clamp_output(request.max_output_tokens),
        "temperature": request.temperature,
        "topP": request.top_p,
        "stopSequences": list(request.stop) or None,
        "thinkingConfig": _thinking(card, request.effort),
    }
    if request.output is not None and card.structured_output == "native":
        settings |= {"responseMimeType": "application/json", "responseJsonSchema": request.output.schema}
    return {name: value for name, value in settings.items() if value is not None}


def _thinking(card: ModelCard, effort: Effort | None) -> dict[str, Any] | None:
    if not card.thinking:
        return None
    if effort is None:
        return {"includeThoughts": True}
    if card.thinking == "budget":
        budget = _BUDGETS[effort]
        return {"thinkingBudget": budget, "includeThoughts": budget > 0}
    return {"thinkingLevel": _LEVELS.get(effort, effort), "includeThoughts": True}


def _tools(request: ModelRequest) -> dict[str, Any]:
    if not request.tools:
        return {}
    return {
        "tools": [{"functionDeclarations": [_function(tool) for tool in request.tools]}],
        "toolConfig": {"functionCallingConfig": _tool_choice(request.tool_choice)},
    }


def _function(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name, "description": tool.description or tool.name}
    # Without parameters it is left unset, as the reference says.
    return function | ({"parametersJsonSchema": tool.parameters} if tool.parameters.get("properties") else {})


def _tool_choice(choice: ToolChoice) -> dict[str, Any]:
    if isinstance(choice, ForcedTool):
        return {"mode": "ANY", "allowedFunctionNames": [choice.name]}
    return {"mode": _MODES[choice]}


class GeminiAnswer:
    """Translates the chunks of one answer, and keeps what spans them.

    Usage stands on every chunk and counts up. It is reported with the first chunk, so that a stream that breaks off can
    be settled, with Finished, and once more if it changes behind it.
    """

    def __init__(self) -> None:
        self._calls = 0
        self._finished = False
        self._told = False
        self._usage: Mapping[str, Any] = {}

    def translate(self, chunk: Mapping[str, Any]) -> Iterator[Event]:
        """The events of one `GenerateContentResponse`. Raises ModelFailed for an error sent inside the stream."""
        if "error" in chunk:
            raise _stream_failure(chunk["error"])
        candidate: Mapping[str, Any] = next(iter(chunk.get("candidates") or ()), {})
        for part in (candidate.get("content") or {}).get("parts") or ():
            yield from self._part(part)
        usage_changed = self._usage != (usage := chunk.get("usageMetadata") or self._usage)
        self._usage = usage
        said = None if self._finished else self._said(chunk, candidate)
        if usage and (said or not self._told or (self._finished and usage_changed)):
            self._told = True
            yield UsageReported(usage_from_wire(usage))
        if said:
            self._finished = True
            yield Finished(self._reason(said))

    def _part(self, part: Mapping[str, Any]) -> Iterator[Event]:
        if call := part.get("functionCall"):
            yield self._call(call, part.get("thoughtSignature") or "")
        elif text := part.get("text"):
            yield ReasoningDelta(text) if part.get("thought") else TextDelta(text)

    def _call(self, call: Mapping[str, Any], signature: str) -> ToolCallDelta:
        """Calls come whole, not in pieces; not every model gives them an id."""
        index, self._calls = self._calls, self._calls + 1
        return ToolCallDelta(
            index=index,
            id=call.get("id") or f"call_{new_uuid()}",
            name=call.get("name"),
            arguments=orjson.dumps(call.get("args") or {}).decode(),
            signature=signature,
        )

    def _said(self, chunk: Mapping[str, Any], candidate: Mapping[str, Any]) -> str | None:
        """Why it ends, in Gemini's words; None while it goes on."""
        blocked = (chunk.get("promptFeedback") or {}).get("blockReason")
        return "PROHIBITED_CONTENT" if blocked else candidate.get("finishReason")

    def _reason(self, said: str) -> FinishReason:
        if said in _MALFORMED:
            raise ModelInvalidOutput(MALFORMED_CALL)
        return _FINISH.get(said, "tool_calls" if self._calls else "stop")


def usage_from_wire(usage: Mapping[str, Any]) -> Usage:
    """Disjoint classes: cached tokens are inside `promptTokenCount`, thoughts are not inside `candidatesTokenCount`.

    Source: https://ai.google.dev/api/generate-content#UsageMetadata
    """
    cached, thoughts = usage.get("cachedContentTokenCount") or 0, usage.get("thoughtsTokenCount") or 0
    prompt = (usage.get("promptTokenCount") or 0) + (usage.get("toolUsePromptTokenCount") or 0)
    return Usage(
        input=max(0, prompt - cached),
        cache_read=cached,
        output=(usage.get("candidatesTokenCount") or 0) + thoughts,
        reasoning=thoughts,
        raw=dict(usage),
    )


class Gemini:
    """The provider; an endpoint's URL is the base, https://generativelanguage.googleapis.com/v1beta."""

    async def call(self, card: ModelCard, endpoint: Endpoint, request: ModelRequest) -> WireCall:
        # The key goes into a header: addresses end up in logs.
        return WireCall(
            url=f"{endpoint.url.rstrip('/')}/models/{quote(card.wire_id, safe='')}:streamGenerateContent?alt=sse",
            body=await wire_body(to_wire, card, request),
            headers={"x-goog-api-key": endpoint.key} if endpoint.key else {},
        )

    def reader(self) -> JsonEventReader:
        return JsonEventReader(GeminiAnswer().translate)

    def refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> ModelFailed:
        return _failure(status, headers, json_object(body).get("error"))


def _failure(status: int, headers: Mapping[str, str], error: Any) -> ModelFailed:
    """What `{"code", "status", "message", "details"}` means (https://google.aip.dev/193)."""
    error = error if isinstance(error, Mapping) else {}
    details = error.get("details")
    details = [detail for detail in details if isinstance(detail, Mapping)] if isinstance(details, list) else []
    # A wrong key is answered with 400.
    if any(detail.get("reason") == "API_KEY_INVALID" for detail in details):
        return ModelRejectedKey()
    if delay := next((detail["retryDelay"] for detail in details if detail.get("retryDelay")), None):
        headers = {**headers, "Retry-After": str(delay).removesuffix("s")}
    return judge(status, headers, str(error.get("status") or ""), str(error.get("message") or ""))


def _stream_failure(error: Any) -> ModelFailed:
    """Inside a stream, that was answered with 200, the error's own code stands for the status."""
    code = error.get("code")
    return _failure(code if isinstance(code, int) else 500, {}, error)
