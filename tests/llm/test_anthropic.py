"""Anthropic's shapes, both ways: pure functions, so tested as such; and whole answers, however the network cuts them.

What is the same for Bedrock (turns, budgets of thinking, broken arguments) is tested there.
"""

import asyncio
import base64
from typing import Any

import orjson
import pytest

from core.errors import (
    BadRequest,
    ModelBrokeOff,
    ModelBusy,
    ModelFailed,
    ModelFiltered,
    ModelOutOfQuota,
    ModelOverflowed,
    ModelRefused,
    ModelRejectedKey,
    ModelTimedOut,
)
from llm.endpoints import Endpoint
from llm.events import Event, Finished, ReasoningDelta, TextDelta, ToolCallDelta, Usage, UsageReported
from llm.messages import (
    ForcedTool,
    Image,
    Message,
    ModelRequest,
    OutputSchema,
    Part,
    Reasoning,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolResult,
)
from llm.model import ModelCard
from llm.providers.anthropic import Anthropic, AnthropicReader, to_wire, usage_from_wire
from llm.testing import ReaderContract, read
from llm.vendor import Provider, StreamReader
from tests.harness import CANARY

CARD = ModelCard(id="c", name="C", provider="anthropic", output_limit=8000, vendor_id="claude-x")
BUDGET = ModelCard(id="c", name="C", provider="anthropic", thinking="budget", output_limit=8000)
ADAPTIVE = ModelCard(id="c", name="C", provider="anthropic", thinking="adaptive")
ASK = Message.of("user", "2+2?")
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "additionalProperties": False}
WEATHER = Tool(name="weather", description="Weather of a city", parameters=SCHEMA)
CALL = ToolCall(id="a", name="weather", arguments='{"city":"Bonn"}')
RESULT = ToolResult(call_id="a", text="rain")


def _message(role: Role, *parts: Part) -> Message:
    return Message(role=role, parts=parts)


def _wire(*messages: Message, card: ModelCard = CARD, **more: Any) -> dict[str, Any]:
    return to_wire(card, ModelRequest(messages=messages, **more))


# The request.


def test_request() -> None:
    body = _wire(
        Message.of("system", "Be brief."),
        ASK,
        Message.of("system", "Be kind."),
        max_output_tokens=50,
        temperature=0.0,
        top_p=0.5,
        stop=("x",),
    )
    assert body == {
        "model": "claude-x",
        "max_tokens": 50,
        "system": [{"type": "text", "text": "Be brief."}, {"type": "text", "text": "Be kind."}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "2+2?"}]}],
        "stream": True,
        "temperature": 0.0,
        "top_p": 0.5,
        "stop_sequences": ["x"],
    }


def test_a_plain_request_says_no_more_than_it_must() -> None:
    assert _wire(ASK, card=ModelCard(id="c", name="C", provider="anthropic")) == {
        "model": "c",
        "max_tokens": 4096,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "2+2?"}]}],
        "stream": True,
    }


@pytest.mark.parametrize(("wanted", "asked"), [(None, 8000), (50, 50), (10**6, 8000)])
def test_a_limit_is_always_sent(wanted: int | None, asked: int) -> None:
    assert _wire(ASK, max_output_tokens=wanted)["max_tokens"] == asked


def test_turns_with_all_their_parts() -> None:
    messages = _wire(
        Message.of("assistant", "Hello!"),
        ASK,
        _message("assistant", Reasoning(text="hm", signature="sig"), Reasoning(text="", signature="redacted:QUJD")),
        _message("assistant", Reasoning(text="unsigned"), Text("I look."), CALL),
        Message.of("user", "And?"),
        _message("user", RESULT, ToolResult(call_id="b", text="", is_error=True)),
    )["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant", "user", "assistant", "user"]
    assert messages[3]["content"] == [
        {"type": "thinking", "thinking": "hm", "signature": "sig"},
        {"type": "redacted_thinking", "data": "QUJD"},
        {"type": "text", "text": "I look."},
        {"type": "tool_use", "id": "a", "name": "weather", "input": {"city": "Bonn"}},
    ]
    assert messages[4]["content"] == [
        {"type": "tool_result", "tool_use_id": "a", "content": "rain"},
        {"type": "tool_result", "tool_use_id": "b", "content": "[The tool gave no output.]", "is_error": True},
        {"type": "text", "text": "And?"},
    ]


def test_images_by_bytes_and_by_address() -> None:
    images = [Image.of("image/jpg", b"\xff\xd8"), Image(url="https://example.org/x.png")]
    content = _wire(_message("user", *images))["messages"][0]["content"]
    data = base64.b64encode(b"\xff\xd8").decode()
    assert content == [
        {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": data}},
        {"type": "image", "source": {"type": "url", "url": "https://example.org/x.png"}},
    ]
    with pytest.raises(BadRequest, match="PNG, JPEG"):
        _wire(_message("user", Image.of("image/svg+xml", b"x")))


@pytest.mark.parametrize(
    ("choice", "parallel", "wired"),
    [
        ("auto", None, {"type": "auto"}),
        ("auto", False, {"type": "auto", "disable_parallel_tool_use": True}),
        ("required", True, {"type": "any", "disable_parallel_tool_use": False}),
        (
            ForcedTool("weather"),
            False,
            {"type": "tool", "name": "weather", "disable_parallel_tool_use": True},
        ),
    ],
)
def test_tools(choice: Any, parallel: bool | None, wired: Any) -> None:
    body = _wire(ASK, tools=(WEATHER, Tool(name="now", strict=True)), tool_choice=choice, parallel_tool_calls=parallel)
    assert body["tool_choice"] == wired
    assert body["tools"] == [
        {"name": "weather", "description": "Weather of a city", "input_schema": SCHEMA},
        {"name": "now", "input_schema": {"type": "object", "properties": {}}, "strict": True},
    ]


def test_a_history_with_calls_is_never_sent_without_tools() -> None:
    loop = (ASK, _message("assistant", CALL), _message("user", RESULT))
    assert "tools" not in _wire(ASK, tools=(WEATHER,), tool_choice="none")
    offered: dict[str, Any] = {"tools": (WEATHER,), "tool_choice": "none", "parallel_tool_calls": False}
    for more in ({}, offered):
        body = _wire(*loop, **more)
        assert [tool["name"] for tool in body["tools"]] == ["weather"]
        assert body["tool_choice"] == {"type": "none"}


def test_thinking_by_budget() -> None:
    body = _wire(ASK, card=BUDGET, effort="high", temperature=0.2, top_p=0.9)
    assert body["thinking"] == {"type": "enabled", "budget_tokens": 4096}
    assert not {"temperature", "top_p", "output_config"} & set(body)
    off = _wire(ASK, card=BUDGET, effort="none", temperature=0.2)
    assert "thinking" not in off
    assert off["temperature"] == 0.2


def test_the_default_limit_leaves_room_for_thinking() -> None:
    card = ModelCard(id="c", name="C", provider="anthropic", thinking="budget")
    body = _wire(ASK, card=card, effort="high")
    assert body["thinking"]["budget_tokens"] < body["max_tokens"] == 4096


def test_adaptive_thinking_beside_a_schema() -> None:
    body = _wire(ASK, card=ADAPTIVE, effort="minimal", output=OutputSchema(schema=SCHEMA), temperature=1.0)
    assert body["thinking"] == {"type": "adaptive", "display": "summarized"}
    assert body["output_config"] == {"effort": "low", "format": {"type": "json_schema", "schema": SCHEMA}}
    assert "temperature" not in body
    forced = _wire(ASK, card=ADAPTIVE, effort="high", tools=(WEATHER,), tool_choice="required")
    assert "thinking" not in forced
    assert forced["output_config"] == {"effort": "high"}


def test_a_schema_is_sent_only_where_the_model_knows_schemas() -> None:
    assert _wire(ASK, output=OutputSchema(schema=SCHEMA))["output_config"]["format"]["schema"] == SCHEMA
    by_tool = ModelCard(id="c", name="C", provider="anthropic", structured_output="tool")
    assert "output_config" not in _wire(ASK, card=by_tool, output=OutputSchema(schema=SCHEMA))
    with pytest.raises(BadRequest, match="json_schema"):
        _wire(ASK, output=OutputSchema())


def test_the_cards_own_fields_join_and_win() -> None:
    extra = {"thinking": {"display": "omitted"}, "service_tier": "auto"}
    card = ModelCard(id="c", name="C", provider="anthropic", thinking="adaptive", extra=extra)
    body = _wire(ASK, card=card, effort="high")
    assert body["thinking"] == {"type": "adaptive", "display": "omitted"}
    assert body["service_tier"] == "auto"


def test_the_call_hides_the_key() -> None:
    provider: Provider = Anthropic()
    endpoint = Endpoint(url="https://api.anthropic.com/", key=CANARY, api="anthropic")
    call = asyncio.run(provider.call(CARD, endpoint, ModelRequest(messages=(ASK,))))
    assert call.url == "https://api.anthropic.com/v1/messages"
    assert call.headers == {"anthropic-version": "2023-06-01", "x-api-key": CANARY}
    assert orjson.loads(call.body) == _wire(ASK)
    assert CANARY not in repr(call)


# The answer.


def _sse(kind: str, **content: Any) -> bytes:
    return f"event: {kind}\n".encode() + b"data: " + orjson.dumps({"type": kind, **content}) + b"\n\n"


def _start(index: int, kind: str, **block: Any) -> bytes:
    return _sse("content_block_start", index=index, content_block={"type": kind, **block})


def _delta(index: int, kind: str, **delta: Any) -> bytes:
    return _sse("content_block_delta", index=index, delta={"type": kind, **delta})


FIRST_USAGE = {
    "input_tokens": 7,
    "cache_creation_input_tokens": 2,
    "cache_read_input_tokens": 20,
    "output_tokens": 1,
}
LAST_USAGE = {
    "output_tokens": 15,
    "output_tokens_details": {"thinking_tokens": 4},
    "cache_read_input_tokens": None,
}
STREAM = (
    _sse("message_start", message={"role": "assistant", "content": [], "usage": FIRST_USAGE}),
    _start(0, "thinking", thinking="", signature=""),
    _sse("ping"),
    _delta(0, "thinking_delta", thinking="hm"),
    _delta(0, "signature_delta", signature="sig"),
    _sse("content_block_stop", index=0),
    _start(1, "redacted_thinking", data="QUJD"),
    _start(2, "text", text=""),
    _delta(2, "text_delta", text="Grüße, "),
    _delta(2, "text_delta", text="Welt"),
    _delta(2, "citations_delta", citation={}),
    _start(3, "server_tool_use", id="s", name="web_search", input={}),
    _delta(3, "input_json_delta", partial_json='{"query":'),
    _start(4, "tool_use", id="a", name="weather", input={}),
    _delta(4, "input_json_delta", partial_json=""),
    _delta(4, "input_json_delta", partial_json='{"city":'),
    _delta(4, "input_json_delta", partial_json='"Bonn"}'),
    _start(5, "tool_use", id="b", name="weather", input={"city": "Ulm"}),
    _sse("something_new", x=1),
    _sse("message_delta", delta={"stop_reason": "tool_use", "stop_sequence": None}, usage=LAST_USAGE),
    _sse("message_stop"),
)
EVENTS: list[Event] = [
    UsageReported(usage_from_wire(FIRST_USAGE)),
    ReasoningDelta("hm"),
    ReasoningDelta("", "sig"),
    ReasoningDelta("", "redacted:QUJD"),
    TextDelta("Grüße, "),
    TextDelta("Welt"),
    ToolCallDelta(index=0, id="a", name="weather"),
    ToolCallDelta(index=0, arguments='{"city":'),
    ToolCallDelta(index=0, arguments='"Bonn"}'),
    ToolCallDelta(index=1, id="b", name="weather", arguments='{"city":"Ulm"}'),
    Finished("tool_calls"),
    UsageReported(
        Usage(
            input=7,
            cache_read=20,
            cache_write=2,
            output=15,
            reasoning=4,
            raw=FIRST_USAGE | {"output_tokens": 15, "output_tokens_details": {"thinking_tokens": 4}},
        )
    ),
]


class TestReader(ReaderContract):
    recorded, events, ending = STREAM, EVENTS, 2

    def reader(self) -> StreamReader:
        return AnthropicReader()


def _read(*chunks: bytes) -> list[Event]:
    return read(AnthropicReader(), chunks)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("pause_turn", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("refusal", "content_filter"),
        ("a new one", "stop"),
    ],
)
def test_stop_reasons(said: str, reason: Any) -> None:
    assert _read(_sse("message_delta", delta={"stop_reason": said})) == [Finished(reason)]


@pytest.mark.parametrize(
    "chunk",
    [
        b"data: {\n\n",
        b"data: []\n\n",
        b"data: {}\n\n",
        _sse("content_block_delta", index=0),
        _sse("content_block_start", index=0, content_block="x"),
        _sse("message_start", message={"usage": 3}),
        _sse("message_delta", delta=None),
    ],
)
def test_events_of_another_shape(chunk: bytes) -> None:
    with pytest.raises(ModelBrokeOff):
        _read(chunk)


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("overloaded_error", ModelBusy),
        ("rate_limit_error", ModelBusy),
        ("api_error", ModelBrokeOff),
        ("invalid_request_error", ModelBrokeOff),
    ],
)
def test_errors_inside_a_stream(kind: str, error: type[ModelFailed]) -> None:
    with pytest.raises(error) as raised:
        _read(_sse("error", error={"type": kind, "message": CANARY}))
    assert CANARY not in str(raised.value)


def test_what_is_kept_for_an_hour_is_told_apart() -> None:
    split = {"ephemeral_5m_input_tokens": 456, "ephemeral_1h_input_tokens": 100}
    usage = usage_from_wire({"cache_creation_input_tokens": 556, "cache_creation": split})
    assert (usage.cache_write, usage.cache_write_1h) == (556, 100)
    assert usage_from_wire({"cache_creation_input_tokens": 556, "cache_creation": None}).cache_write_1h == 0


def test_odd_counts_do_no_harm() -> None:
    usage = usage_from_wire({"input_tokens": "7", "output_tokens": -1, "cache_read_input_tokens": None})
    assert (usage.input, usage.cache_read, usage.output) == (0, 0, 0)


# Refusals.


@pytest.mark.parametrize(
    ("status", "kind", "message", "error"),
    [
        (400, "invalid_request_error", "max_tokens: must be positive", ModelRefused),
        (400, "invalid_request_error", "prompt is too long: 200001 tokens > 200000 maximum", ModelOverflowed),
        (400, "invalid_request_error", "Output blocked by content filtering: content_policy", ModelFiltered),
        (400, "invalid_request_error", "Your credit balance is too low to access the API", ModelOutOfQuota),
        (402, "billing_error", "", ModelOutOfQuota),
        (401, "authentication_error", "invalid x-api-key", ModelRejectedKey),
        (403, "permission_error", "", ModelRejectedKey),
        (404, "not_found_error", "", ModelFailed),
        (413, "request_too_large", "", ModelOverflowed),
        (429, "rate_limit_error", "", ModelBusy),
        (500, "api_error", "", ModelFailed),
        (504, "timeout_error", "", ModelTimedOut),
        (529, "overloaded_error", "", ModelBusy),
    ],
)
def test_refusals(status: int, kind: str, message: str, error: type[ModelFailed]) -> None:
    body = orjson.dumps({"type": "error", "error": {"type": kind, "message": f"{message} {CANARY}"}})
    refused = Anthropic().refusal(status, {"Retry-After": "3"}, body)
    assert type(refused) is error
    assert CANARY not in str(refused)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"error":"x"}'])
def test_refusals_of_any_shape(body: bytes) -> None:
    refused = Anthropic().refusal(529, {"retry-after": "3"}, body)
    assert isinstance(refused, ModelBusy)
    assert refused.retry_after == 3.0
