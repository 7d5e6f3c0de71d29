"""Gemini's shapes, both ways: pure functions, so tested as such; and whole answers, however the network cuts them."""

import asyncio
from contextlib import aclosing
from typing import Any

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import given
from hypothesis import strategies as st

from core.errors import (
    BadRequest,
    ModelBrokeOff,
    ModelBusy,
    ModelFailed,
    ModelInvalidOutput,
    ModelOverflowed,
    ModelRefused,
    ModelRejectedKey,
    ModelTimedOut,
)
from core.http import HttpClient, HttpTimeouts
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
    ToolChoice,
    ToolResult,
)
from llm.model import ModelCard
from llm.providers.gemini import Gemini, GeminiAnswer, to_wire, usage_from_wire
from llm.testing import ReaderContract, read
from llm.vendor import Provider, StreamReader, VendorModel
from tests.harness import CANARY

CARD = ModelCard(id="g", name="G", provider="gemini", output_limit=300, vendor_id="gemini-x")
THINKS_BY_BUDGET = ModelCard(id="g", name="G", provider="gemini", thinking="budget")
THINKS_BY_LEVEL = ModelCard(id="g", name="G", provider="gemini", thinking="effort")
ASK = Message.of("user", "2+2?")
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
WEATHER = Tool(name="weather", description="Weather of a city", parameters=SCHEMA)


def _message(role: Role, *parts: Part) -> Message:
    return Message(role=role, parts=parts)


def _wire(*messages: Message, card: ModelCard = CARD, **more: Any) -> dict[str, Any]:
    return to_wire(card, ModelRequest(messages=messages, **more))


def test_request() -> None:
    body = _wire(
        Message.of("system", "Be brief."),
        ASK,
        Message.of("system", "Be kind."),
        max_output_tokens=10**6,
        temperature=0.0,
        top_p=0.5,
        stop=("x",),
    )
    assert body == {
        "systemInstruction": {"parts": [{"text": "Be brief."}, {"text": "Be kind."}]},
        "contents": [{"role": "user", "parts": [{"text": "2+2?"}]}],
        "generationConfig": {"maxOutputTokens": 300, "temperature": 0.0, "topP": 0.5, "stopSequences": ["x"]},
    }


def test_a_plain_request_says_no_more_than_it_must() -> None:
    card = ModelCard(id="g", name="G", provider="gemini")
    assert _wire(ASK, card=card) == {"contents": [{"role": "user", "parts": [{"text": "2+2?"}]}]}


def test_the_call_names_the_model_and_hides_the_key() -> None:
    endpoint = Endpoint(url="https://generativelanguage.googleapis.com/v1beta/", key=CANARY, api="gemini")
    call = asyncio.run(Gemini().call(CARD, endpoint, ModelRequest(messages=(ASK,))))
    assert call.url == (
        "https://generativelanguage.googleapis.com/v1beta/models/gemini-x:streamGenerateContent?alt=sse"
    )
    assert call.headers == {"x-goog-api-key": CANARY}
    assert orjson.loads(call.body) == _wire(ASK)
    assert CANARY not in repr(call)


def test_it_is_a_provider() -> None:
    provider: Provider = Gemini()
    reader: StreamReader = provider.reader()
    assert reader is not provider.reader()


def test_neighbours_of_one_role_become_one_and_tools_answer_by_name() -> None:
    calls = [ToolCall(id=c, name=f"tool-{c}", arguments='{"n":1}', signature=s) for c, s in (("a", "sig"), ("b", ""))]
    body = _wire(
        ASK,
        _message("assistant", Reasoning(text="hm", signature="other"), Text("I look."), *calls),
        _message("user", ToolResult(call_id="a", text="4")),
        _message("user", ToolResult(call_id="b", name="named", text="broken", is_error=True)),
        Message.of("user", "And?"),
    )
    call_a = {"functionCall": {"id": "a", "name": "tool-a", "args": {"n": 1}}, "thoughtSignature": "sig"}
    call_b = {"functionCall": {"id": "b", "name": "tool-b", "args": {"n": 1}}}
    assert body["contents"][1:] == [
        {"role": "model", "parts": [{"text": "I look."}, call_a, call_b]},
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"id": "a", "name": "tool-a", "response": {"output": "4"}}},
                {"functionResponse": {"id": "b", "name": "named", "response": {"error": "broken"}}},
                {"text": "And?"},
            ],
        },
    ]


def test_calls_of_another_vendor_are_signed_where_signatures_are_demanded() -> None:
    foreign = _message("assistant", *(ToolCall(id=c, name="f", arguments="") for c in "ab"))
    signed = _message("assistant", ToolCall(id="c", name="f", arguments="{}", signature="own"))
    results = [_message("user", ToolResult(call_id=c, text="")) for c in "abc"]
    contents = _wire(ASK, foreign, *results[:2], signed, results[2], card=THINKS_BY_LEVEL)["contents"]
    signatures = [part.get("thoughtSignature") for turn in (contents[1], contents[3]) for part in turn["parts"]]
    assert signatures == ["skip_thought_signature_validator", None, "own"]
    contents = _wire(ASK, foreign, *results[:2], card=THINKS_BY_BUDGET)["contents"]
    assert "thoughtSignature" not in contents[1]["parts"][0]


def test_the_first_words_are_the_users() -> None:
    contents = _wire(Message.of("assistant", "Hello!"), ASK)["contents"]
    assert [content["role"] for content in contents] == ["user", "model", "user"]


@given(st.lists(st.tuples(st.sampled_from(["system", "user", "assistant"]), st.text(min_size=1)), min_size=1))
def test_roles_alternate_and_nothing_is_lost(said: list[tuple[Role, str]]) -> None:
    messages = [Message.of(role, text) for role, text in said]
    if all(role == "system" for role, _ in said):
        with pytest.raises(BadRequest):
            _wire(*messages)
        return
    body = _wire(*messages)
    roles = [content["role"] for content in body["contents"]]
    assert roles == (["user", "model"] * len(roles))[: len(roles)]
    texts = [part["text"] for content in body["contents"] for part in content["parts"]]
    spoken = [text for role, text in said if role != "system"]
    assert texts[-len(spoken) :] == spoken
    assert [part["text"] for part in body.get("systemInstruction", {"parts": []})["parts"]] == [
        text for role, text in said if role == "system"
    ]


def test_images() -> None:
    image, address = Image.of("image/png", b"abc"), Image(url="https://x/y.png")
    parts = _wire(_message("user", image, address, Image(url="u", media_type="image/gif")))["contents"][0]["parts"]
    assert parts == [
        {"inlineData": {"mimeType": "image/png", "data": "YWJj"}},
        {"fileData": {"fileUri": "https://x/y.png"}},
        {"fileData": {"mimeType": "image/gif", "fileUri": "u"}},
    ]
    with pytest.raises(BadRequest):
        _wire(_message("user", address), card=ModelCard(id="g", name="G", provider="gemini", image_urls=False))
    with pytest.raises(BadRequest):
        _wire(_message("user", Image(base64="YWJj")))


@pytest.mark.parametrize(
    ("card", "effort", "config"),
    [
        (CARD, "high", None),
        (THINKS_BY_BUDGET, None, {"includeThoughts": True}),
        (THINKS_BY_BUDGET, "none", {"thinkingBudget": 0, "includeThoughts": False}),
        (THINKS_BY_BUDGET, "minimal", {"thinkingBudget": 1024, "includeThoughts": True}),
        (THINKS_BY_BUDGET, "medium", {"thinkingBudget": 4096, "includeThoughts": True}),
        (THINKS_BY_BUDGET, "high", {"thinkingBudget": 16384, "includeThoughts": True}),
        (THINKS_BY_LEVEL, "none", {"thinkingLevel": "low", "includeThoughts": True}),
        (THINKS_BY_BUDGET, "xhigh", {"thinkingBudget": 24576, "includeThoughts": True}),
        (THINKS_BY_LEVEL, "minimal", {"thinkingLevel": "minimal", "includeThoughts": True}),
        (THINKS_BY_LEVEL, "xhigh", {"thinkingLevel": "high", "includeThoughts": True}),
        (THINKS_BY_LEVEL, "high", {"thinkingLevel": "high", "includeThoughts": True}),
    ],
)
def test_thinking(card: ModelCard, effort: Any, config: dict[str, Any] | None) -> None:
    assert _wire(ASK, card=card, effort=effort).get("generationConfig", {}).get("thinkingConfig") == config


def test_structured_output() -> None:
    native = _wire(ASK, output=OutputSchema(schema=SCHEMA))["generationConfig"]
    assert native == {
        "maxOutputTokens": 300,
        "responseMimeType": "application/json",
        "responseJsonSchema": SCHEMA,
    }
    assert "responseJsonSchema" not in _wire(ASK, output=OutputSchema())["generationConfig"]
    card = ModelCard(id="g", name="G", provider="gemini", structured_output="prompt")
    assert "generationConfig" not in _wire(ASK, card=card, output=OutputSchema(schema=SCHEMA))


@pytest.mark.parametrize(
    ("choice", "config"),
    [
        ("auto", {"mode": "AUTO"}),
        ("none", {"mode": "NONE"}),
        ("required", {"mode": "ANY"}),
        (ForcedTool("weather"), {"mode": "ANY", "allowedFunctionNames": ["weather"]}),
    ],
)
def test_tools(choice: ToolChoice, config: dict[str, Any]) -> None:
    body = _wire(ASK, tools=(WEATHER, Tool(name="now")), tool_choice=choice)
    weather = {"name": "weather", "description": "Weather of a city", "parametersJsonSchema": SCHEMA}
    assert body["tools"] == [{"functionDeclarations": [weather, {"name": "now", "description": "now"}]}]
    assert body["toolConfig"] == {"functionCallingConfig": config}


def test_fields_of_the_card_join_those_of_the_request() -> None:
    extra = {"generationConfig": {"topK": 4}, "safetySettings": []}
    card = ModelCard(id="g", name="G", provider="gemini", extra=extra)
    body = _wire(ASK, card=card, temperature=1.0)
    assert body["generationConfig"] == {"temperature": 1.0, "topK": 4}
    assert body["safetySettings"] == []
    assert extra == {"generationConfig": {"topK": 4}, "safetySettings": []}


@pytest.mark.parametrize(
    "request_",
    [
        ModelRequest(messages=(Message.of("system", "Be brief."),)),
        ModelRequest(messages=(ASK,), tools=(Tool(name="f"),), parallel_tool_calls=False),
        ModelRequest(messages=(_message("user", ToolResult(call_id="nobody's", text="4")),)),
        ModelRequest(messages=(ASK, _message("assistant", ToolCall(id="a", name="f", arguments="{")))),
        ModelRequest(messages=(ASK, _message("assistant", ToolCall(id="a", name="f", arguments="[]")))),
    ],
)
def test_what_gemini_cannot_be_told(request_: ModelRequest) -> None:
    with pytest.raises(BadRequest):
        to_wire(CARD, request_)


# Answers.


def _chunk(*parts: dict[str, Any], reason: str = "", usage: dict[str, int] | None = None) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": list(parts)}} if parts else {}
    chunk: dict[str, Any] = {"candidates": [candidate | ({"finishReason": reason} if reason else {})]}
    return chunk | ({"usageMetadata": usage} if usage else {})


def _events(*chunks: dict[str, Any]) -> list[Event]:
    answer = GeminiAnswer()
    return [event for chunk in chunks for event in answer.translate(chunk)]


FIRST, LAST = {"promptTokenCount": 9, "candidatesTokenCount": 1}, {"promptTokenCount": 9, "candidatesTokenCount": 5}
CALL = {"functionCall": {"id": "c1", "name": "f", "args": {"x": "ü"}}, "thoughtSignature": "sig"}
ANSWER = [
    _chunk({"text": "I think", "thought": True}, usage=FIRST),
    _chunk({"text": "Grüße "}, {"text": ""}, usage=FIRST),
    _chunk({"text": "🌍"}, CALL, {"functionCall": {"id": "c2", "name": "g"}}, usage=FIRST),
    _chunk({"text": ""}, reason="STOP", usage=LAST),
]
EXPECTED: list[Event] = [
    ReasoningDelta("I think"),
    UsageReported(Usage(input=9, output=1, raw=FIRST)),
    TextDelta("Grüße "),
    TextDelta("🌍"),
    ToolCallDelta(index=0, id="c1", name="f", arguments='{"x":"ü"}', signature="sig"),
    ToolCallDelta(index=1, id="c2", name="g", arguments="{}"),
    UsageReported(Usage(input=9, output=5, raw=LAST)),
    Finished("tool_calls"),
]
RECORDED = [b"data: " + orjson.dumps(chunk) + b"\r\n\r\n" for chunk in ANSWER]


class TestReader(ReaderContract):
    recorded, events, ending, says_when_it_is_done = RECORDED, EXPECTED, 1, False

    def reader(self) -> StreamReader:
        return Gemini().reader()


def _read(*pieces: bytes) -> list[Event]:
    return read(Gemini().reader(), pieces)


def test_of_an_answer_that_breaks_off_the_usage_is_known_so_that_the_call_can_be_settled() -> None:
    events = _read(*RECORDED[:-1])
    assert [event for event in events if isinstance(event, UsageReported)] == [UsageReported(usage_from_wire(FIRST))]


async def test_an_answer_over_a_socket() -> None:
    asked: list[web.Request] = []

    async def handle(request: web.Request) -> web.Response:
        asked.append(request)
        return web.Response(body=b"".join(RECORDED), content_type="text/event-stream")

    app = web.Application()
    app.router.add_post("/{path:.*}", handle)
    client = HttpClient(timeouts=HttpTimeouts())
    try:
        async with TestServer(app) as server:
            endpoint = Endpoint(url=str(server.make_url("/v1beta")), key=CANARY, api="gemini")
            model = VendorModel(CARD, endpoint, Gemini(), client)
            async with aclosing(model.stream(ModelRequest(messages=(ASK,)))) as events:
                assert [event async for event in events] == EXPECTED
    finally:
        await client.aclose()
    assert asked[0].path_qs == "/v1beta/models/gemini-x:streamGenerateContent?alt=sse"
    assert asked[0].headers["x-goog-api-key"] == CANARY
    assert "Authorization" not in asked[0].headers


def test_a_call_without_id_gets_one() -> None:
    first, second = _events(_chunk({"functionCall": {"name": "f"}}, {"functionCall": {"name": "f"}}))
    assert isinstance(first, ToolCallDelta)
    assert isinstance(second, ToolCallDelta)
    assert first.id
    assert second.id
    assert first.id != second.id


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("SAFETY", "content_filter"),
        ("RECITATION", "content_filter"),
        ("BLOCKLIST", "content_filter"),
        ("PROHIBITED_CONTENT", "content_filter"),
        ("SPII", "content_filter"),
        ("A_NEW_ONE", "stop"),
    ],
)
def test_how_it_ends(said: str, meant: Any) -> None:
    assert _events(_chunk(reason=said)) == [Finished(meant)]


@pytest.mark.parametrize("said", ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS"])
def test_a_call_that_the_model_got_wrong_is_a_failure_and_what_it_cost_is_told(said: str) -> None:
    reader = Gemini().reader()
    chunk = _chunk(reason=said, usage=FIRST)
    assert list(reader.feed(b"data: " + orjson.dumps(chunk) + b"\n\n")) == [UsageReported(usage_from_wire(FIRST))]
    assert isinstance(reader.failure, ModelInvalidOutput) and "tool" in reader.failure.message and reader.done


def test_a_blocked_prompt() -> None:
    usage = {"promptTokenCount": 4}
    assert _events({"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": usage}) == [
        UsageReported(Usage(input=4, raw=usage)),
        Finished("content_filter"),
    ]


def test_usage_behind_the_end_is_reported_and_the_end_only_once() -> None:
    usage = UsageReported(Usage(input=9, output=5, raw=LAST))
    assert _events(_chunk(reason="STOP"), {"usageMetadata": LAST}) == [Finished(), usage]
    assert _events(_chunk(reason="STOP", usage=LAST), _chunk(reason="STOP", usage=LAST)) == [usage, Finished()]
    assert _events(_chunk({"text": "a"}, usage=LAST), _chunk(reason="STOP")) == [
        *(TextDelta("a"), usage),
        *(usage, Finished()),
    ]


def test_usage_classes_are_disjoint() -> None:
    usage = usage_from_wire(
        {
            "promptTokenCount": 1000,
            "cachedContentTokenCount": 400,
            "toolUsePromptTokenCount": 30,
            "candidatesTokenCount": 50,
            "thoughtsTokenCount": 20,
            "totalTokenCount": 1100,
        }
    )
    assert (usage.input, usage.cache_read, usage.output, usage.reasoning) == (630, 400, 70, 20)


@pytest.mark.parametrize(
    "chunk", [{"candidates": 1}, {"candidates": ["x"]}, {"candidates": [{"content": [1]}]}, {"error": "x"}]
)
def test_what_is_not_geminis_shape(chunk: dict[str, Any]) -> None:
    with pytest.raises(ModelBrokeOff):
        _read(b"data: " + orjson.dumps(chunk) + b"\n\n")


# Errors.


def _error(code: int, status: str, message: str = "", **detail: Any) -> dict[str, Any]:
    return {"error": {"code": code, "status": status, "message": f"{message} {CANARY}", "details": [detail]}}


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (_error(400, "INVALID_ARGUMENT", reason="API_KEY_INVALID"), ModelRejectedKey),
        (_error(403, "PERMISSION_DENIED"), ModelRejectedKey),
        (_error(429, "RESOURCE_EXHAUSTED", "You exceeded your current quota"), ModelBusy),
        (_error(400, "INVALID_ARGUMENT"), ModelRefused),
        (
            _error(400, "INVALID_ARGUMENT", "The input token count (9) exceeds the maximum number of tokens"),
            ModelOverflowed,
        ),
        (_error(503, "UNAVAILABLE"), ModelTimedOut),
        (_error(500, "INTERNAL"), ModelFailed),
        (_error(404, "NOT_FOUND"), ModelFailed),
    ],
)
def test_refusals(error: dict[str, Any], kind: type[ModelFailed]) -> None:
    for body in (orjson.dumps(error), orjson.dumps([error])):
        failure = Gemini().refusal(error["error"]["code"], {}, body)
        assert type(failure) is kind
        assert CANARY not in repr(failure) + str(failure)
    with pytest.raises(kind) as raised:
        _read(b"data: " + orjson.dumps(error) + b"\n\n")
    assert type(raised.value) is kind
    assert CANARY not in repr(raised.value)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"error":"x"}', b'{"error":{"details":7}}'])
def test_refusals_of_any_shape(body: bytes) -> None:
    assert type(Gemini().refusal(500, {}, body)) is ModelFailed


def test_how_long_to_wait() -> None:
    error = _error(429, "RESOURCE_EXHAUSTED", retryDelay="27.5s")
    assert Gemini().refusal(429, {}, orjson.dumps(error)).retry_after == 27.5
    assert Gemini().refusal(429, {"Retry-After": "3"}, b"{}").retry_after == 3.0
    assert Gemini().refusal(429, {}, b"{}").retry_after is None
