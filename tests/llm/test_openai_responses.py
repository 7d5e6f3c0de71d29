"""The shapes of OpenAI's Responses API, both ways; and whole answers, however the network cuts them."""

import asyncio
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
)
from llm.endpoints import Endpoint
from llm.events import Event, Finished, ReasoningDelta, RefusalDelta, TextDelta, ToolCallDelta, Usage, UsageReported
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
    ToolChoice,
    ToolResult,
)
from llm.model import ModelCard
from llm.providers.openai_responses import OpenAIResponses, ResponsesAnswer, to_wire, usage_from_wire
from llm.testing import ReaderContract, read
from llm.vendor import Provider, StreamReader
from tests.harness import CANARY

CARD = ModelCard(id="m", name="M", provider="openai")
REASONER = ModelCard(id="m", name="M", provider="openai", thinking="effort", sampling=False)
ASK = Message.of("user", "2+2?")
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
WEATHER = Tool(name="weather", description="Weather of a city", parameters=SCHEMA)


def _message(role: Role, *parts: Part) -> Message:
    return Message(role=role, parts=parts)


def _wire(*messages: Message, card: ModelCard = CARD, **more: Any) -> dict[str, Any]:
    return to_wire(card, ModelRequest(messages=messages, **more))


def _item(role: str, kind: str, text: str) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": [{"type": kind, "text": text}]}


def test_request() -> None:
    said = (Message.of("system", "Be brief."), ASK, Message.of("assistant", "4"), Message.of("user", "Sure?"))
    assert _wire(*said, max_output_tokens=50, temperature=0.0, top_p=0.5) == {
        "model": "m",
        "input": [
            _item("system", "input_text", "Be brief."),
            _item("user", "input_text", "2+2?"),
            _item("assistant", "output_text", "4"),
            _item("user", "input_text", "Sure?"),
        ],
        "stream": True,
        "store": False,
        "temperature": 0.0,
        "top_p": 0.5,
        "max_output_tokens": 50,
    }


def test_the_call_is_signed_and_hides_the_key() -> None:
    endpoint = Endpoint(url="https://api.openai.com/v1/responses", key=CANARY, api="responses")
    call = asyncio.run(OpenAIResponses().call(CARD, endpoint, ModelRequest(messages=(ASK,))))
    assert call.url == endpoint.url
    assert call.headers == {"Authorization": f"Bearer {CANARY}"}
    assert orjson.loads(call.body) == _wire(ASK)
    assert CANARY not in repr(call)


def test_it_is_a_provider() -> None:
    provider: Provider = OpenAIResponses()
    reader: StreamReader = provider.reader()
    assert reader is not provider.reader()


@pytest.mark.parametrize(("wanted", "asked"), [(1, 16), (16, 16), (10**6, 300), (None, 300)])
def test_the_output_limit_is_clamped(wanted: int | None, asked: int) -> None:
    card = ModelCard(id="m", name="M", provider="openai", output_limit=300)
    assert _wire(ASK, card=card, max_output_tokens=wanted)["max_output_tokens"] == asked


def test_no_limit_is_no_limit() -> None:
    assert "max_output_tokens" not in _wire(ASK)


def test_tools_and_what_they_gave_back() -> None:
    body = _wire(
        ASK,
        _message(
            "assistant",
            Reasoning(text="hm", signature="encrypted"),
            Reasoning(text="unsigned"),
            Text("I look."),
            ToolCall(id="a", name="f", arguments='{"n":1}'),
            ToolCall(id="b", name="g", arguments=""),
        ),
        _message("user", ToolResult(call_id="a", text="4"), ToolResult(call_id="b", text="5"), Text("And?")),
        card=REASONER,
    )
    summary = [{"type": "summary_text", "text": "hm"}]
    assert body["input"][1:] == [
        {"type": "reasoning", "summary": summary, "encrypted_content": "encrypted"},
        _item("assistant", "output_text", "I look."),
        {"type": "function_call", "call_id": "a", "name": "f", "arguments": '{"n":1}'},
        {"type": "function_call", "call_id": "b", "name": "g", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "a", "output": "4"},
        {"type": "function_call_output", "call_id": "b", "output": "5"},
        _item("user", "input_text", "And?"),
    ]
    assert body["include"] == ["reasoning.encrypted_content"]


def test_reasoning_goes_back_only_with_tools_and_to_models_that_reason() -> None:
    thought = _message("assistant", Reasoning(text="", signature="encrypted"), Text("4"))
    for card, tools, signed in ((REASONER, (WEATHER,), True), (REASONER, (), False), (CARD, (WEATHER,), False)):
        body = _wire(ASK, thought, card=card, tools=tools)
        reasoning = {"type": "reasoning", "summary": [], "encrypted_content": "encrypted"}
        assert (reasoning in body["input"], "include" in body) == (signed, signed)


@pytest.mark.parametrize(
    ("choice", "wired"),
    [
        ("auto", "auto"),
        ("none", "none"),
        ("required", "required"),
        (ForcedTool("weather"), {"type": "function", "name": "weather"}),
    ],
)
def test_tools(choice: ToolChoice, wired: Any) -> None:
    body = _wire(ASK, tools=(WEATHER, Tool(name="n", strict=True)), tool_choice=choice, parallel_tool_calls=False)
    empty = {"type": "object", "properties": {}}
    assert body["tools"] == [
        {
            "type": "function",
            "name": "weather",
            "parameters": SCHEMA,
            "strict": False,
            "description": "Weather of a city",
        },
        {"type": "function", "name": "n", "parameters": empty, "strict": True},
    ]
    assert body["tool_choice"] == wired
    assert body["parallel_tool_calls"] is False


def test_images() -> None:
    body = _wire(_message("user", Text("?"), Image.of("image/png", b"abc"), Image(url="https://x/y.png")))
    assert body["input"][0]["content"] == [
        {"type": "input_text", "text": "?"},
        {"type": "input_image", "image_url": "data:image/png;base64,YWJj", "detail": "auto"},
        {"type": "input_image", "image_url": "https://x/y.png", "detail": "auto"},
    ]


def test_structured_output() -> None:
    form = {"type": "json_schema", "name": "answer", "schema": SCHEMA, "strict": True}
    assert _wire(ASK, output=OutputSchema(schema=SCHEMA))["text"] == {"format": form}
    assert _wire(ASK, output=OutputSchema())["text"] == {"format": {"type": "json_object"}}


def test_effort() -> None:
    for said in ("minimal", "high", "xhigh"):
        assert _wire(ASK, card=REASONER, effort=said)["reasoning"] == {"effort": said, "summary": "auto"}
    assert _wire(ASK, card=REASONER, effort="none")["reasoning"] == {"effort": "none"}
    assert "reasoning" not in _wire(ASK, card=REASONER)


def test_fields_of_the_card() -> None:
    card = ModelCard(id="m", name="M", provider="openai", extra={"service_tier": "flex"})
    assert _wire(ASK, card=card)["service_tier"] == "flex"


@pytest.mark.parametrize(
    "request_",
    [
        ModelRequest(messages=(ASK,), stop=("x",)),
        ModelRequest(messages=(_message("assistant", Image(url="https://x/y.png")),)),
        ModelRequest(messages=(_message("user", Image(base64="YWJj")),)),
    ],
)
def test_what_this_api_cannot_be_told(request_: ModelRequest) -> None:
    with pytest.raises(BadRequest):
        to_wire(CARD, request_)


# Answers.


def _added(index: int, **item: Any) -> dict[str, Any]:
    return {"type": "response.output_item.added", "output_index": index, "item": item}


def _done(index: int, **item: Any) -> dict[str, Any]:
    return {"type": "response.output_item.done", "output_index": index, "item": item}


def _delta(kind: str, text: str, index: int = 0) -> dict[str, Any]:
    return {"type": f"response.{kind}.delta", "delta": text, "output_index": index}


def _end(status: str = "completed", **response: Any) -> dict[str, Any]:
    return {"type": f"response.{status}", "response": {"id": "resp_1", "status": status, **response}}


def _events(*wired: dict[str, Any]) -> list[Event]:
    answer = ResponsesAnswer()
    return [event for one in wired for event in answer.translate(one)]


USAGE = {
    "input_tokens": 1000,
    "input_tokens_details": {"cached_tokens": 400},
    "output_tokens": 70,
    "output_tokens_details": {"reasoning_tokens": 20},
    "total_tokens": 1070,
}
ANSWER = [
    {"type": "response.created", "response": {"status": "in_progress", "usage": None}},
    _added(0, type="reasoning", id="rs_1", summary=[], encrypted_content="early"),
    {"type": "response.reasoning_summary_part.added", "summary_index": 0},
    _delta("reasoning_summary_text", "First"),
    {"type": "response.reasoning_summary_part.added", "summary_index": 1},
    _delta("reasoning_summary_text", "Then"),
    _done(0, type="reasoning", id="rs_1", encrypted_content="encrypted"),
    _added(1, type="message", role="assistant", content=[]),
    _delta("output_text", "Grüße ", 1),
    _delta("output_text", "🌍", 1),
    {"type": "response.output_text.done", "text": "Grüße 🌍"},
    _added(2, type="function_call", call_id="c1", name="f", arguments=""),
    _delta("function_call_arguments", '{"x":', 2),
    _added(3, type="function_call", call_id="c2", name="g", arguments=""),
    _delta("function_call_arguments", "{}", 3),
    _delta("function_call_arguments", '"ü"}', 2),
    _done(2, type="function_call", call_id="c1", name="f", arguments='{"x":"ü"}'),
    _end(usage=USAGE),
]
EXPECTED: list[Event] = [
    ReasoningDelta("First"),
    ReasoningDelta("\n\n"),
    ReasoningDelta("Then"),
    ReasoningDelta("", "encrypted"),
    TextDelta("Grüße "),
    TextDelta("🌍"),
    ToolCallDelta(index=0, id="c1", name="f"),
    ToolCallDelta(index=0, arguments='{"x":'),
    ToolCallDelta(index=1, id="c2", name="g"),
    ToolCallDelta(index=1, arguments="{}"),
    ToolCallDelta(index=0, arguments='"ü"}'),
    UsageReported(Usage(input=600, cache_read=400, output=70, reasoning=20, raw=USAGE)),
    Finished("tool_calls"),
]


RECORDED = [b"event: " + str(e["type"]).encode() + b"\ndata: " + orjson.dumps(e) + b"\n\n" for e in ANSWER]


class TestReader(ReaderContract):
    recorded, events, ending, says_when_it_is_done = RECORDED, EXPECTED, 1, False

    def reader(self) -> StreamReader:
        return OpenAIResponses().reader()


def _read(*pieces: bytes) -> list[Event]:
    return read(OpenAIResponses().reader(), pieces)


def test_a_refusal() -> None:
    assert _events(_delta("refusal", "I cannot."), _end()) == [RefusalDelta("I cannot."), Finished()]


@pytest.mark.parametrize("announced", [True, False])
def test_a_call_whose_arguments_come_only_with_its_end(announced: bool) -> None:
    call = {"type": "function_call", "call_id": "c", "name": "f"}
    events = _events(*([_added(4, **call)] if announced else []), _done(4, **call, arguments="{}"), _end())
    assert events == [
        ToolCallDelta(index=0, id="c", name="f"),
        ToolCallDelta(index=0, arguments="{}"),
        Finished("tool_calls"),
    ]


@pytest.mark.parametrize(
    ("reason", "meant"), [("max_output_tokens", "length"), ("content_filter", "content_filter"), (None, "length")]
)
def test_incomplete_answers(reason: str | None, meant: Any) -> None:
    end = _end("incomplete", incomplete_details={"reason": reason} if reason else None, usage=USAGE)
    assert _events(end) == [UsageReported(usage_from_wire(USAGE)), Finished(meant)]


def test_usage_classes_are_disjoint() -> None:
    usage = usage_from_wire(USAGE)
    assert (usage.input, usage.cache_read, usage.output, usage.reasoning) == (600, 400, 70, 20)
    assert usage_from_wire({"input_tokens": 3, "output_tokens_details": None}).input == 3


@pytest.mark.parametrize(
    ("code", "message", "kind"),
    [
        ("server_error", "", ModelBrokeOff),
        ("rate_limit_exceeded", "", ModelBusy),
        ("insufficient_quota", "", ModelOutOfQuota),
        ("context_length_exceeded", "", ModelOverflowed),
        ("invalid_prompt", "", ModelRefused),
        ("invalid_prompt", "blocked by content_filter", ModelFiltered),
        ("image_content_policy_violation", "", ModelFiltered),
        ("a_new_one", "", ModelBrokeOff),
        (None, "", ModelBrokeOff),
    ],
)
def test_errors_inside_a_stream(code: str | None, message: str, kind: type[ModelFailed]) -> None:
    error = {"code": code, "message": f"{message} {CANARY}"}
    shapes: list[dict[str, Any]] = [
        _end("failed", error=error),
        {"type": "error", **error},
        {"type": "error", "error": error},
        {"error": error},
    ]
    for shape in shapes:
        with pytest.raises(kind) as raised:
            _read(b"data: " + orjson.dumps(shape) + b"\n\n")
        assert type(raised.value) is kind
        assert CANARY not in repr(raised.value) + str(raised.value)


@pytest.mark.parametrize(
    "event",
    [
        {},
        _end("failed"),
        _delta("function_call_arguments", "{}", 7),
        {"type": "response.output_item.done", "item": 7},
        {"type": "response.completed", "response": {"usage": 7}},
    ],
)
def test_what_is_not_of_its_shape(event: dict[str, Any]) -> None:
    with pytest.raises(ModelBrokeOff):
        _read(b"data: " + orjson.dumps(event) + b"\n\n")


def test_refusals_are_openais() -> None:
    body = orjson.dumps({"error": {"code": "context_length_exceeded", "message": CANARY}})
    failure = OpenAIResponses().refusal(400, {}, body)
    assert type(failure) is ModelOverflowed
    assert CANARY not in repr(failure)
