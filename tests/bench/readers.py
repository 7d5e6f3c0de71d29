"""What a caller understands of each vendor's answers: readers written apart from the mock's writers.

Bedrock's frames are read with botocore's own decoder.
"""

from dataclasses import dataclass, field
from typing import Any

import orjson
from botocore.eventstream import EventStreamBuffer

Event = tuple[str, Any]
"""The name of an event (empty where it has none) and its JSON; the end mark `[DONE]` stays a string."""


@dataclass
class Heard:
    """What a caller understands. Usage is in OpenAI's counting: input, output, cached, cache writes, reasoning."""

    text: str = ""
    thoughts: str = ""
    reasons: list[str] = field(default_factory=list)
    usages: list[tuple[int, ...]] = field(default_factory=list)
    tool: str = ""
    arguments: str = ""
    errors: list[str] = field(default_factory=list)
    ended: bool = False


def sse(data: bytes) -> list[Event]:
    """Server-sent events; every one must be closed by an empty line."""
    *blocks, rest = data.decode().split("\n\n")
    assert rest == ""
    return [_sse_event(block.split("\n")) for block in blocks]


def _sse_event(lines: list[str]) -> Event:
    fields = dict(line.split(": ", 1) for line in lines)
    body = fields["data"] if fields["data"] == "[DONE]" else orjson.loads(fields["data"])
    assert "event" not in fields or fields["event"] == body["type"]
    return fields.get("event", ""), body


def aws(data: bytes) -> list[Event]:
    buffer = EventStreamBuffer()
    buffer.add_data(data)
    messages = list(buffer)
    assert sum(message.prelude.total_length for message in messages) == len(data)
    found: list[Event] = []
    for message in messages:
        kind = message.headers[":message-type"]
        assert message.headers[":content-type"] == "application/json"
        found.append((message.headers[f":{kind}-type"], orjson.loads(message.payload)))
    return found


# --- OpenAI chat and Azure


def _chat_usage(heard: Heard, usage: Any) -> None:
    if usage:
        cached = usage["prompt_tokens_details"]["cached_tokens"]
        reasoning = usage["completion_tokens_details"]["reasoning_tokens"]
        heard.usages.append((usage["prompt_tokens"], usage["completion_tokens"], cached, 0, reasoning))


def chat(heard: Heard, _name: str, event: Any) -> None:
    if event == "[DONE]":
        heard.ended = True
        return
    if error := event.get("error"):
        heard.errors.append(error["code"] or error["type"])
    _chat_usage(heard, event.get("usage"))
    for choice in event.get("choices") or ():
        heard.text += choice["delta"].get("content") or ""
        heard.reasons += [choice["finish_reason"]] if choice["finish_reason"] else []
        for call in choice["delta"].get("tool_calls") or ():
            heard.tool += call["function"].get("name") or ""
            heard.arguments += call["function"]["arguments"]


def chat_whole(heard: Heard, body: Any) -> None:
    choice = body["choices"][0]
    heard.text, heard.reasons = choice["message"]["content"] or "", [choice["finish_reason"]]
    for call in choice["message"].get("tool_calls") or ():
        heard.tool, heard.arguments = call["function"]["name"], call["function"]["arguments"]
    _chat_usage(heard, body.get("usage"))


# --- OpenAI Responses


def _responses_usage(heard: Heard, usage: Any) -> None:
    if usage:
        cached = usage["input_tokens_details"]["cached_tokens"]
        reasoning = usage["output_tokens_details"]["reasoning_tokens"]
        heard.usages.append((usage["input_tokens"], usage["output_tokens"], cached, 0, reasoning))


def responses(heard: Heard, name: str, event: Any) -> None:
    match name:
        case "response.output_text.delta":
            heard.text += event["delta"]
        case "response.output_text.done":
            assert event["text"] == heard.text
        case "response.reasoning_summary_text.delta":
            heard.thoughts += event["delta"]
        case "response.function_call_arguments.delta":
            heard.arguments += event["delta"]
        case "response.output_item.added" if event["item"]["type"] == "function_call":
            heard.tool = event["item"]["name"]
        case "response.completed" | "response.incomplete":
            assert name == f"response.{event['response']['status']}"
            told = Heard()
            responses_whole(told, event["response"])
            assert (told.text, told.thoughts, told.arguments) == (heard.text, heard.thoughts, heard.arguments)
            heard.usages += told.usages
            heard.reasons = told.reasons
            heard.ended = True
        case "error":
            heard.errors.append(event["code"])


def responses_whole(heard: Heard, body: Any) -> None:
    heard.reasons = [(body["incomplete_details"] or {}).get("reason") or body["status"]]
    for item in body["output"]:
        match item["type"]:
            case "message":
                heard.text = item["content"][0]["text"]
            case "reasoning":
                heard.thoughts = item["summary"][0]["text"]
            case "function_call":
                heard.tool, heard.arguments = item["name"], item["arguments"]
    _responses_usage(heard, body["usage"])


def responses_sse(data: bytes) -> list[Event]:
    found = sse(data)
    assert [event["sequence_number"] for _, event in found] == list(range(len(found)))
    return found


# --- Gemini


def gemini(heard: Heard, _name: str, event: Any) -> None:
    if error := event.get("error"):
        heard.errors.append(error["status"])
        return
    for candidate in event["candidates"]:
        for part in candidate["content"]["parts"]:
            if "functionCall" in part:
                heard.tool = part["functionCall"]["name"]
                heard.arguments = orjson.dumps(part["functionCall"]["args"]).decode()
            elif part.get("thought"):
                heard.thoughts += part["text"]
            else:
                heard.text += part["text"]
        if reason := candidate.get("finishReason"):
            heard.reasons.append(reason)
            heard.ended = True
    if usage := event.get("usageMetadata"):
        thoughts = usage.get("thoughtsTokenCount", 0)
        assert usage["totalTokenCount"] == usage["promptTokenCount"] + usage["candidatesTokenCount"] + thoughts
        output = usage["candidatesTokenCount"] + thoughts
        heard.usages.append((usage["promptTokenCount"], output, usage.get("cachedContentTokenCount", 0), 0, thoughts))


# --- Bedrock


def _bedrock_usage(heard: Heard, usage: Any) -> None:
    if usage:
        cached, written = usage["cacheReadInputTokens"], usage["cacheWriteInputTokens"]
        heard.usages.append((usage["inputTokens"] + cached + written, usage["outputTokens"], cached, written, 0))
        assert usage["totalTokens"] == sum(heard.usages[-1][:2])


def bedrock(heard: Heard, name: str, event: Any) -> None:
    match name:
        case "contentBlockStart":
            heard.tool = event["start"]["toolUse"]["name"]
        case "contentBlockDelta":
            delta = event["delta"]
            heard.text += delta.get("text", "")
            heard.thoughts += delta.get("reasoningContent", {}).get("text", "")
            heard.arguments += delta.get("toolUse", {}).get("input", "")
        case "messageStop":
            heard.reasons.append(event["stopReason"])
            heard.ended = True
        case "metadata":
            _bedrock_usage(heard, event["usage"])
        case _ if name.endswith("Exception"):
            heard.errors.append(name)


def bedrock_whole(heard: Heard, body: Any) -> None:
    heard.reasons = [body["stopReason"]]
    for block in body["output"]["message"]["content"]:
        heard.text += block.get("text", "")
        heard.thoughts += block.get("reasoningContent", {}).get("reasoningText", {}).get("text", "")
        if use := block.get("toolUse"):
            heard.tool, heard.arguments = use["name"], orjson.dumps(use["input"]).decode()
    _bedrock_usage(heard, body.get("usage"))


# --- Anthropic


def _anthropic_usage(heard: Heard, usage: Any) -> None:
    if usage:
        cached, written = usage["cache_read_input_tokens"], usage["cache_creation_input_tokens"]
        heard.usages.append((usage["input_tokens"] + cached + written, usage["output_tokens"], cached, written, 0))


def anthropic(heard: Heard, name: str, event: Any) -> None:
    match name:
        case "message_start":
            _anthropic_usage(heard, event["message"].get("usage"))
        case "content_block_start" if event["content_block"]["type"] == "tool_use":
            heard.tool = event["content_block"]["name"]
        case "content_block_delta":
            delta = event["delta"]
            heard.text += delta.get("text", "")
            heard.thoughts += delta.get("thinking", "")
            heard.arguments += delta.get("partial_json", "")
        case "message_delta":
            heard.reasons = [event["delta"]["stop_reason"]]
            _anthropic_usage(heard, event.get("usage"))
        case "message_stop":
            heard.ended = True
        case "error":
            heard.errors.append(event["error"]["type"])


def anthropic_whole(heard: Heard, body: Any) -> None:
    heard.reasons = [body["stop_reason"]]
    for block in body["content"]:
        heard.text += block.get("text", "")
        heard.thoughts += block.get("thinking", "")
        if block["type"] == "tool_use":
            heard.tool, heard.arguments = block["name"], orjson.dumps(block["input"]).decode()
    _anthropic_usage(heard, body.get("usage"))
