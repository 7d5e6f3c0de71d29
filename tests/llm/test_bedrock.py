"""Bedrock's shapes, both ways: pure functions, so tested as such; whole answers, however the network cuts them; and the
signature, reckoned again from Amazon's description of it."""

import asyncio
import base64
import hashlib
import hmac
import struct
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from zlib import crc32

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from botocore.credentials import Credentials, RefreshableCredentials
from botocore.eventstream import EventStreamBuffer
from botocore.exceptions import MetadataRetrievalError
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from core.aws import NO_CREDENTIALS, AwsCredentials, AwsKeys
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
    ToolResult,
)
from llm.model import ModelCard
from llm.providers.bedrock import Bedrock, BedrockReader
from llm.providers.converse import MAX_IMAGES, Guardrail, to_wire, usage_from_wire
from llm.testing import ReaderContract, read
from llm.vendor import Provider, StreamReader, VendorModel
from tests.harness import CANARY

HAIKU = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
PROFILE = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-v1:0"
CARD = ModelCard(id="c", name="C", provider="bedrock", output_limit=8000, vendor_id=HAIKU)
BUDGET = ModelCard(id="c", name="C", provider="bedrock", thinking="budget")
ADAPTIVE = ModelCard(id="c", name="C", provider="bedrock", thinking="adaptive")
ENDPOINT = Endpoint(url="https://bedrock-runtime.us-west-2.amazonaws.com", api="bedrock")
ASK = Message.of("user", "2+2?")
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
WEATHER = Tool(name="weather", description="Weather of a city", parameters=SCHEMA)
CALL = ToolCall(id="a", name="weather", arguments='{"city":"Bonn"}')
RESULT = ToolResult(call_id="a", text="rain")


def _message(role: Role, *parts: Part) -> Message:
    return Message(role=role, parts=parts)


def _wire(*messages: Message, card: ModelCard = CARD, **more: Any) -> dict[str, Any]:
    return to_wire(card, ModelRequest(messages=messages, **more))


LOOP = (ASK, _message("assistant", CALL), _message("user", RESULT))


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
        "system": [{"text": "Be brief."}, {"text": "Be kind."}],
        "messages": [{"role": "user", "content": [{"text": "2+2?"}]}],
        "inferenceConfig": {"maxTokens": 50, "temperature": 0.0, "topP": 0.5, "stopSequences": ["x"]},
    }


def test_a_plain_request_says_no_more_than_it_must() -> None:
    card = ModelCard(id="c", name="C", provider="bedrock")
    assert _wire(ASK, card=card) == {"messages": [{"role": "user", "content": [{"text": "2+2?"}]}]}


def test_neighbours_of_one_role_become_one_and_results_stand_first() -> None:
    messages = _wire(
        ASK,
        Message.of("assistant", "I look."),
        _message("assistant", CALL, ToolCall(id="b", name="weather", arguments="")),
        Message.of("user", "Well?"),
        _message("user", RESULT, ToolResult(call_id="b", text=" ", is_error=True)),
        tools=(WEATHER,),
    )["messages"]
    assert messages[1:] == [
        {
            "role": "assistant",
            "content": [
                {"text": "I look."},
                {"toolUse": {"toolUseId": "a", "name": "weather", "input": {"city": "Bonn"}}},
                {"toolUse": {"toolUseId": "b", "name": "weather", "input": {}}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"toolResult": {"toolUseId": "a", "content": [{"text": "rain"}]}},
                {
                    "toolResult": {
                        "toolUseId": "b",
                        "content": [{"text": "[The tool gave no output.]"}],
                        "status": "error",
                    }
                },
                {"text": "Well?"},
            ],
        },
    ]


@given(st.lists(st.tuples(st.sampled_from(["system", "user", "assistant"]), st.text(" a", max_size=4))))
def test_roles_alternate_and_nothing_said_is_lost(said: list[tuple[Role, str]]) -> None:
    messages = [Message.of(role, text) for role, text in said]
    spoken = [text for role, text in said if role != "system" and text.strip()]
    if not spoken:
        with pytest.raises(BadRequest):
            _wire(*messages)
        return
    turns = _wire(*messages)["messages"]
    assert [turn["role"] for turn in turns] == (["user", "assistant"] * len(turns))[: len(turns)]
    texts = [part["text"] for turn in turns for part in turn["content"]]
    assert [text.rstrip() for text in texts[-len(spoken) :]] == [text.rstrip() for text in spoken]
    assert all(text.strip() for text in texts)


def test_an_answer_that_the_caller_began_does_not_end_in_white_space() -> None:
    assert _wire(ASK, Message.of("assistant", "Four \n"))["messages"][1]["content"] == [{"text": "Four"}]


@pytest.mark.parametrize("broken", ['{"city":', "[1]", "null", "Bonn"])
def test_broken_arguments_are_shown_to_the_model(broken: str) -> None:
    call = ToolCall(id="a", name="weather", arguments=broken)
    content = _wire(ASK, _message("assistant", call), _message("user", RESULT))["messages"][1]["content"]
    assert content[0]["toolUse"]["input"] == {"invalid_arguments": broken}


def test_ids_of_other_vendors_are_made_to_fit_and_still_meet() -> None:
    odd = "call|" + "x" * 80
    turns = _wire(
        ASK,
        _message("assistant", ToolCall(id=odd, name="weather", arguments="{}")),
        _message("user", ToolResult(call_id=odd, text="rain")),
    )["messages"]
    ids = {turns[1]["content"][0]["toolUse"]["toolUseId"], turns[2]["content"][0]["toolResult"]["toolUseId"]}
    assert len(ids) == 1
    assert odd not in ids
    assert len(ids.pop()) <= 64


def test_images() -> None:
    image = Image.of("image/JPEG", b"\xff\xd8")
    content = _wire(_message("user", image))["messages"][0]["content"]
    assert content == [{"image": {"format": "jpeg", "source": {"bytes": base64.b64encode(b"\xff\xd8").decode()}}}]
    _wire(_message("user", *[image] * MAX_IMAGES))
    with pytest.raises(BadRequest, match="at most 20 images"):
        _wire(_message("user", *[image] * MAX_IMAGES), _message("user", image))
    with pytest.raises(BadRequest, match="PNG, JPEG"):
        _wire(_message("user", Image.of("image/tiff", b"x")))
    with pytest.raises(BadRequest, match="does not fetch"):
        _wire(_message("user", Image(url="https://example.org/x.png")))
    with pytest.raises(BadRequest, match="only hold text"):
        _wire(_message("system", image), ASK)


@pytest.mark.parametrize(
    ("choice", "wired"),
    [("auto", {"auto": {}}), ("required", {"any": {}}), (ForcedTool("weather"), {"tool": {"name": "weather"}})],
)
def test_tools(choice: Any, wired: Any) -> None:
    config = _wire(ASK, tools=(WEATHER, Tool(name="now", strict=True)), tool_choice=choice)["toolConfig"]
    assert config == {
        "tools": [
            {
                "toolSpec": {
                    "name": "weather",
                    "description": "Weather of a city",
                    "inputSchema": {"json": SCHEMA},
                }
            },
            {
                "toolSpec": {
                    "name": "now",
                    "inputSchema": {"json": {"type": "object", "properties": {}}},
                    "strict": True,
                }
            },
        ],
        "toolChoice": wired,
    }


def test_a_history_with_calls_is_never_sent_without_tools() -> None:
    assert "toolConfig" not in _wire(ASK, tools=(WEATHER,), tool_choice="none")
    listed = _wire(*LOOP, tools=(WEATHER,), tool_choice="none")["toolConfig"]
    assert [tool["toolSpec"]["name"] for tool in listed["tools"]] == ["weather"]
    assert "toolChoice" not in listed
    standing_in = _wire(*LOOP)["toolConfig"]
    assert [tool["toolSpec"]["name"] for tool in standing_in["tools"]] == ["weather"]
    assert "toolChoice" not in standing_in


def test_one_call_at_a_time_can_only_be_had_by_forcing_it() -> None:
    with pytest.raises(BadRequest, match="parallel_tool_calls"):
        _wire(ASK, tools=(WEATHER,), parallel_tool_calls=False)
    assert _wire(ASK, tools=(WEATHER,), parallel_tool_calls=False, tool_choice=ForcedTool("weather"))


@pytest.mark.parametrize(
    ("effort", "limit", "budget"),
    [
        ("minimal", None, 1024),
        ("low", 8000, 1024),
        ("medium", 8000, 2048),
        ("high", 8000, 4096),
        ("high", 4000, 3200),
        ("high", 1280, 1024),
        ("high", 1279, None),
        ("none", 8000, None),
        (None, 8000, None),
    ],
)
def test_thinking_by_budget(effort: Any, limit: int | None, budget: int | None) -> None:
    body = _wire(ASK, card=BUDGET, effort=effort, max_output_tokens=limit, temperature=0.2, top_p=0.9)
    if budget is None:
        assert "additionalModelRequestFields" not in body
        assert body["inferenceConfig"]["temperature"] == 0.2
    else:
        config = {"type": "enabled", "budget_tokens": budget}
        assert body["additionalModelRequestFields"] == {"reasoning_config": config}
        assert not {"temperature", "topP"} & set(body.get("inferenceConfig", {}))


def test_adaptive_thinking() -> None:
    fields = _wire(ASK, card=ADAPTIVE, effort="medium", temperature=0.2)["additionalModelRequestFields"]
    assert fields == {
        "thinking": {"type": "adaptive", "display": "summarized"},
        "output_config": {"effort": "medium"},
    }
    off = _wire(ASK, card=ADAPTIVE, effort="none", temperature=0.2)
    assert off["additionalModelRequestFields"] == {"output_config": {"effort": "low"}}
    assert off["inferenceConfig"] == {"temperature": 0.2}
    assert "additionalModelRequestFields" not in _wire(ASK, effort="high")


def test_no_thinking_where_it_is_refused() -> None:
    def thinks(*messages: Message, **more: Any) -> bool:
        return "additionalModelRequestFields" in _wire(*messages, card=BUDGET, effort="low", **more)

    assert thinks(ASK)
    assert not thinks(ASK, tools=(WEATHER,), tool_choice="required")
    assert not thinks(ASK, Message.of("assistant", "Four"))
    assert not thinks(*LOOP, tools=(WEATHER,))
    assert thinks(*LOOP, Message.of("assistant", "Rain."), ASK, tools=(WEATHER,))
    begun = _message("assistant", Reasoning(text="hm", signature="sig"), CALL)
    assert thinks(ASK, begun, _message("user", RESULT), tools=(WEATHER,))
    second = (_message("assistant", CALL), _message("user", RESULT))
    assert thinks(ASK, begun, _message("user", RESULT), *second, tools=(WEATHER,))


def test_reasoning_goes_back_only_signed() -> None:
    parts = [Reasoning(text="a", signature="sig"), Reasoning(text="", signature="redacted:QUJD"), Reasoning(text="b")]
    content = _wire(ASK, _message("assistant", *parts, Text("Four.")), ASK)["messages"][1]["content"]
    assert content == [
        {"reasoningContent": {"reasoningText": {"text": "a", "signature": "sig"}}},
        {"reasoningContent": {"redactedContent": "QUJD"}},
        {"text": "Four."},
    ]


def test_a_schema_is_sent_only_where_the_model_knows_schemas() -> None:
    output = OutputSchema(name="weather", schema=SCHEMA)
    text_format = _wire(ASK, output=output)["outputConfig"]["textFormat"]
    assert text_format["type"] == "json_schema"
    schema = text_format["structure"]["jsonSchema"]
    assert (schema["name"], orjson.loads(schema["schema"])) == ("weather", SCHEMA)
    asked = ModelCard(id="c", name="C", provider="bedrock", structured_output="prompt")
    assert "outputConfig" not in _wire(ASK, output=output, card=asked)
    with pytest.raises(BadRequest, match="json_schema"):
        _wire(ASK, output=OutputSchema())


def test_the_cards_own_fields_join_and_win() -> None:
    extra = {"thinking": {"display": "omitted"}, "top_k": 5}
    card = ModelCard(id="c", name="C", provider="bedrock", thinking="adaptive", extra=extra)
    assert _wire(ASK, card=card, effort="high")["additionalModelRequestFields"] == {
        "thinking": {"type": "adaptive", "display": "omitted"},
        "output_config": {"effort": "high"},
        "top_k": 5,
    }


def test_a_guardrail() -> None:
    body = to_wire(CARD, ModelRequest(messages=(ASK,)), Guardrail(id="g", version="DRAFT"))
    assert body["guardrailConfig"] == {"guardrailIdentifier": "g", "guardrailVersion": "DRAFT"}


# The answer.


def _frame(payload: Any, headers: Mapping[str, str]) -> bytes:
    wired = b"".join(
        bytes([len(name)]) + name.encode() + b"\x07" + struct.pack("!H", len(value)) + value.encode()
        for name, value in headers.items()
    )
    body = payload if isinstance(payload, bytes) else orjson.dumps(payload)
    prelude = struct.pack("!II", 16 + len(wired) + len(body), len(wired))
    frame = prelude + struct.pack("!I", crc32(prelude)) + wired + body
    return frame + struct.pack("!I", crc32(frame))


def _event(kind: str, payload: Any) -> bytes:
    return _frame(payload, {":event-type": kind, ":content-type": "application/json", ":message-type": "event"})


def _exception(kind: str, message: str = CANARY) -> bytes:
    return _frame({"message": message}, {":exception-type": kind, ":message-type": "exception"})


def _delta(block: int, **delta: Any) -> bytes:
    return _event("contentBlockDelta", {"contentBlockIndex": block, "delta": delta, "p": "abc"})


def _tool_start(block: int, call_id: str) -> bytes:
    start = {"toolUse": {"toolUseId": call_id, "name": "weather"}}
    return _event("contentBlockStart", {"contentBlockIndex": block, "start": start})


def test_what_is_kept_for_an_hour_is_told_apart() -> None:
    details = [{"ttl": "1h", "inputTokens": 30}, {"ttl": "5m", "inputTokens": 12}]
    usage = usage_from_wire({"cacheWriteInputTokens": 42, "cacheDetails": details})
    assert (usage.cache_write, usage.cache_write_1h) == (42, 30)


USAGE = {
    "inputTokens": 7,
    "outputTokens": 5,
    "totalTokens": 34,
    "cacheReadInputTokens": 20,
    "cacheWriteInputTokens": 2,
}
STREAM = (
    _event("messageStart", {"role": "assistant"}),
    _delta(0, reasoningContent={"text": "hm"}),
    _delta(0, reasoningContent={"signature": "sig"}),
    _delta(1, reasoningContent={"redactedContent": "QUJD"}),
    _event("contentBlockStop", {"contentBlockIndex": 1}),
    _delta(2, text="Grüße, "),
    _delta(2, text="Welt"),
    _tool_start(3, "a"),
    _delta(3, toolUse={"input": '{"city":'}),
    _delta(3, toolUse={"input": '"Bonn"}'}),
    _event("contentBlockStop", {"contentBlockIndex": 3}),
    _tool_start(4, "b"),
    _event("somethingNew", {"x": 1}),
    _event("messageStop", {"stopReason": "tool_use"}),
    _event("metadata", {"usage": USAGE, "metrics": {"latencyMs": 1}}),
)
EVENTS: list[Event] = [
    ReasoningDelta("hm"),
    ReasoningDelta("", "sig"),
    ReasoningDelta("", "redacted:QUJD"),
    TextDelta("Grüße, "),
    TextDelta("Welt"),
    ToolCallDelta(index=0, id="a", name="weather"),
    ToolCallDelta(index=0, arguments='{"city":'),
    ToolCallDelta(index=0, arguments='"Bonn"}'),
    ToolCallDelta(index=1, id="b", name="weather"),
    Finished("tool_calls"),
    UsageReported(Usage(input=7, cache_read=20, cache_write=2, output=5, raw=USAGE)),
]


class TestReader(ReaderContract):
    recorded, events, ending = STREAM, EVENTS, 2

    def reader(self) -> StreamReader:
        return BedrockReader()


def _read(*chunks: bytes) -> list[Event]:
    return read(BedrockReader(), chunks)


def test_our_frames_are_those_that_botocore_reads() -> None:
    buffer = EventStreamBuffer()
    buffer.add_data(b"".join(STREAM))
    assert [message.headers[":event-type"] for message in buffer][-2:] == ["messageStop", "metadata"]


@given(st.integers(0, sum(map(len, STREAM)) - 1), st.integers(1, 255))
def test_a_wrong_byte_anywhere_is_found(place: int, change: int) -> None:
    whole = bytearray(b"".join(STREAM))
    whole[place] ^= change
    with pytest.raises(ModelBrokeOff):
        _read(bytes(whole))


@given(st.integers(0, len(STREAM[5]) - 1))
def test_a_truncated_frame_says_nothing(length: int) -> None:
    assert _read(STREAM[5][:length]) == []


def test_a_frame_is_bounded() -> None:
    prelude = struct.pack("!II", 2**31, 0)
    with pytest.raises(ModelBrokeOff):
        _read(prelude + struct.pack("!I", crc32(prelude)))


def test_header_values_of_every_type_are_passed_over() -> None:
    values = [
        (0, b""),
        (1, b""),
        (2, b"1"),
        (3, b"12"),
        (4, b"1234"),
        (5, b"12345678"),
        (6, b"\x00\x02ab"),
        (8, b"12345678"),
        (9, b"1" * 16),
    ]
    odd = b"".join(b"\x01h" + bytes([kind]) + value for kind, value in values)
    plain = _event("messageStop", {"stopReason": "end_turn"})
    total, size = struct.unpack("!II", plain[:8])
    prelude = struct.pack("!II", total + len(odd), size + len(odd))
    frame = prelude + struct.pack("!I", crc32(prelude)) + odd + plain[12:-4]
    assert _read(frame + struct.pack("!I", crc32(frame))) == [Finished("stop")]


@pytest.mark.parametrize(
    "frame",
    [
        _event("contentBlockDelta", {"delta": {"text": "x"}}),
        _event("contentBlockDelta", {"contentBlockIndex": 0, "delta": "x"}),
        _event("contentBlockStart", {}),
        _event("messageStop", b"{"),
        _event("metadata", []),
        _frame({}, {":event-type": "messageStop"}),
        _frame({}, {":message-type": "event"}),
    ],
)
def test_frames_of_another_shape(frame: bytes) -> None:
    with pytest.raises(ModelBrokeOff):
        _read(frame)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("content_filtered", "content_filter"),
        ("guardrail_intervened", "content_filter"),
        ("a new one", "stop"),
    ],
)
def test_stop_reasons(said: str, reason: Any) -> None:
    assert _read(_event("messageStop", {"stopReason": said})) == [Finished(reason)]


def test_a_malformed_call_of_a_tool_is_a_failure() -> None:
    reader = BedrockReader()
    reader.feed(_event("messageStop", {"stopReason": "malformed_tool_use"}))
    assert isinstance(reader.failure, ModelInvalidOutput) and "tool" in reader.failure.message
    # What it has cost comes behind it.
    assert not reader.done
    assert reader.feed(STREAM[-1]) == EVENTS[-1:] and reader.done


def test_calls_that_the_vendor_makes_itself_are_not_ours() -> None:
    start = {"toolUse": {"toolUseId": "s", "name": "nova_grounding", "type": "server_tool_use"}}
    opened = _event("contentBlockStart", {"contentBlockIndex": 0, "start": start})
    assert _read(opened, _delta(0, toolUse={"input": "{}"})) == []


@pytest.mark.parametrize(
    ("frame", "error"),
    [
        (_exception("throttlingException"), ModelBusy),
        (_exception("modelTimeoutException"), ModelTimedOut),
        (_exception("validationException"), ModelRefused),
        (_exception("validationException", "Input is too long for requested model."), ModelOverflowed),
        (_exception("internalServerException"), ModelBrokeOff),
        (_exception("modelStreamErrorException"), ModelBrokeOff),
        (_frame(b"", {":message-type": "error", ":error-code": "x", ":error-message": CANARY}), ModelBrokeOff),
    ],
)
def test_exceptions_inside_a_stream(frame: bytes, error: type[ModelFailed]) -> None:
    with pytest.raises(error) as raised:
        _read(frame)
    assert type(raised.value) is error
    assert CANARY not in str(raised.value)


# Refusals.


@pytest.mark.parametrize(
    ("status", "name", "message", "error"),
    [
        (429, "ThrottlingException", "Too many tokens, please wait", ModelBusy),
        (400, "ThrottlingException", "", ModelBusy),
        (400, "ServiceQuotaExceededException", "", ModelBusy),
        (429, "ModelNotReadyException", "", ModelBusy),
        (503, "ServiceUnavailableException", "", ModelTimedOut),
        (408, "ModelTimeoutException", "", ModelTimedOut),
        (403, "AccessDeniedException", "You don't have access to the model", ModelRejectedKey),
        (400, "UnrecognizedClientException", "", ModelRejectedKey),
        (424, "ModelErrorException", "", ModelFailed),
        (404, "ResourceNotFoundException", "", ModelFailed),
        (400, "ValidationException", "malformed", ModelRefused),
        (400, "ValidationException", "prompt is too long: 200001 tokens > 200000 maximum", ModelOverflowed),
        (400, "ValidationException", "Input is too long for requested model.", ModelOverflowed),
        (500, "", "", ModelFailed),
    ],
)
def test_refusals(status: int, name: str, message: str, error: type[ModelFailed]) -> None:
    body = orjson.dumps({"message": f"{message} {CANARY}"})
    headers = {"x-amzn-errortype": f"{name}:http://internal.amazon.com/coral/"}
    by_type = orjson.dumps({"__type": f"com.amazon.coral.service#{name}", "Message": message})
    for refused in (Bedrock().refusal(status, headers, body), Bedrock().refusal(status, {}, by_type)):
        assert type(refused) is error
        assert CANARY not in str(refused)


# The signature.


class _Session:
    """Stands for botocore's: gives what it is told to, and counts."""

    def __init__(self, credentials: Any) -> None:
        self.credentials = credentials
        self.asked = 0

    def get_credentials(self) -> Any:
        self.asked += 1
        return self.credentials


def _static(token: str | None = None) -> AwsCredentials:
    return AwsCredentials(_Session(Credentials("AKIDEXAMPLE", f"{CANARY}-secret", token)))


def _signature(secret: str, region: str, request: Mapping[str, Any]) -> str:
    """By https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html, step by step;
    `request` as the server got it."""
    headers = {name.lower(): value for name, value in request["headers"].items()}
    moment = headers["x-amz-date"]
    names = headers["authorization"].split("SignedHeaders=")[1].split(",")[0].split(";")
    safe = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/"
    path = "".join(chr(c) if c in safe else f"%{c:02X}" for c in request["path"].encode())
    canonical = "\n".join(
        [
            "POST",
            path,
            "",
            *(f"{name}:{headers[name].strip()}" for name in sorted(names)),
            "",
            ";".join(sorted(names)),
            hashlib.sha256(request["body"]).hexdigest(),
        ]
    )
    scope = f"{moment[:8]}/{region}/bedrock/aws4_request"
    key = f"AWS4{secret}".encode()
    for piece in scope.split("/"):
        key = hmac.digest(key, piece.encode(), "sha256")
    to_sign = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    return hmac.digest(key, to_sign.encode(), "sha256").hex()


@pytest.fixture
async def vendor() -> AsyncIterator[tuple[str, list[dict[str, Any]]]]:
    """A server that answers `STREAM`, and what it was asked."""
    asked: list[dict[str, Any]] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append({"path": request.raw_path, "headers": dict(request.headers), "body": await request.read()})
        return web.Response(body=b"".join(STREAM), content_type="application/vnd.amazon.eventstream")

    application = web.Application(client_max_size=2**24)
    application.router.add_post("/{anything:.*}", answer)
    async with TestServer(application) as server:
        yield str(server.make_url("/")).rstrip("/"), asked


async def _answer(card: ModelCard, endpoint: Endpoint, provider: Provider, request: ModelRequest) -> list[Event]:
    client = HttpClient(timeouts=HttpTimeouts())
    try:
        return [event async for event in VendorModel(card, endpoint, provider, client).stream(request)]
    finally:
        await client.aclose()


@pytest.mark.parametrize("wire_id", [HAIKU, PROFILE, "odd é+~(%)&=$,;@ id"])
@pytest.mark.parametrize("size", [1, 600_000])
async def test_what_goes_out_is_what_was_signed(vendor: Any, wire_id: str, size: int) -> None:
    url, asked = vendor
    card = ModelCard(id="c", name="C", provider="bedrock", vendor_id=wire_id)
    provider = Bedrock(_static(token="session-token"), region="eu-central-1")
    request = ModelRequest(messages=(Message.of("user", "x" * size),))
    events = await _answer(card, Endpoint(url=url, api="bedrock"), provider, request)
    # The second call has no arguments: it is given empty ones. Finished comes last.
    assert events == [*EVENTS[:-2], EVENTS[-1], ToolCallDelta(index=1, arguments="{}"), EVENTS[-2]]
    (got,) = asked
    assert URL(got["path"]).parts[2] == wire_id
    authorization = got["headers"]["Authorization"]
    assert authorization.startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")
    assert "host;x-amz-date;x-amz-security-token" in authorization
    assert authorization.endswith("Signature=" + _signature(f"{CANARY}-secret", "eu-central-1", got))
    assert orjson.loads(got["body"]) == to_wire(card, request)


@given(st.text(min_size=1).filter(lambda text: text not in (".", "..") and text.isprintable()))
def test_every_address_survives_aiohttp(wire_id: str) -> None:
    card = ModelCard(id="c", name="C", provider="bedrock", vendor_id=wire_id)
    endpoint = Endpoint(url=ENDPOINT.url + "/", key="k")
    call = asyncio.run(Bedrock(_static()).call(card, endpoint, ModelRequest(messages=(ASK,))))
    assert str(URL(call.url)) == call.url == str(URL(call.url, encoded=True))
    assert URL(call.url).parts[2] == wire_id


async def test_a_key_is_a_bearer_token_and_nothing_is_signed() -> None:
    session = _Session(None)
    endpoint = Endpoint(url=ENDPOINT.url, key=CANARY, api="bedrock")
    call = await Bedrock(AwsCredentials(session)).call(CARD, endpoint, ModelRequest(messages=(ASK,)))
    assert call.headers == {"Authorization": f"Bearer {CANARY}"}
    assert call.content_type == "application/vnd.amazon.eventstream"
    assert call.url == f"{ENDPOINT.url}/model/{HAIKU}/converse-stream"
    assert session.asked == 0
    assert CANARY not in repr(call)


@pytest.mark.parametrize(
    ("host", "region"),
    [
        ("bedrock-runtime.us-west-2.amazonaws.com", "us-west-2"),
        ("bedrock-runtime-fips.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
        ("vpce-1a.bedrock-runtime.ap-southeast-2.vpce.amazonaws.com", "ap-southeast-2"),
        ("proxy.example.org", "eu-west-1"),
    ],
)
async def test_the_region(host: str, region: str) -> None:
    provider = Bedrock(_static(), region="eu-west-1")
    call = await provider.call(CARD, Endpoint(url=f"https://{host}"), ModelRequest(messages=(ASK,)))
    assert f"/{region}/bedrock/aws4_request" in call.headers["Authorization"]


async def test_without_a_region_it_says_what_to_set() -> None:
    with pytest.raises(ModelRejectedKey, match="AWS_REGION"):
        await Bedrock(_static()).call(CARD, Endpoint(url="https://proxy.example.org"), ModelRequest(messages=(ASK,)))


# Credentials.


class _Vault:
    """Gives keys that hold for an hour, while it is open; its clock is set."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.given = 0
        self.open = True

    def refresh(self) -> dict[str, str]:
        if not self.open:
            raise MetadataRetrievalError(error_msg=CANARY)
        self.given += 1
        return {
            "access_key": f"key-{self.given}",
            "secret_key": f"{CANARY}-secret",
            "token": f"{CANARY}-token",
            "expiry_time": (self.now + timedelta(hours=1)).isoformat(),
        }

    def credentials(self) -> RefreshableCredentials:
        first = self.refresh()
        return RefreshableCredentials(
            first["access_key"],
            first["secret_key"],
            first["token"],
            datetime.fromisoformat(first["expiry_time"]),
            self.refresh,
            "test",
            time_fetcher=lambda: self.now,
        )


async def test_keys_are_fetched_once_and_renewed_before_they_expire() -> None:
    vault = _Vault()
    session = _Session(vault.credentials())
    credentials = AwsCredentials(session)
    keys = await asyncio.gather(*(credentials.keys() for _ in range(20)))
    assert {key.access_key for key in keys} == {"key-1"}
    vault.now += timedelta(minutes=30)
    assert (await credentials.keys()).access_key == "key-1"
    vault.now += timedelta(minutes=20)
    keys = await asyncio.gather(*(credentials.keys() for _ in range(20)))
    assert "key-2" in {key.access_key for key in keys}
    assert (await credentials.keys()).access_key == "key-2"
    assert (session.asked, vault.given) == (1, 2)


async def test_old_keys_serve_while_new_ones_cannot_be_had(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    moment = [1000.0]
    logged: list[Any] = []
    log = SimpleNamespace(warning=lambda event, **fields: logged.append((event, fields)))
    monkeypatch.setattr("core.aws.monotonic", lambda: moment[0])
    monkeypatch.setattr("core.aws.log", log)
    vault = _Vault()
    credentials = AwsCredentials(_Session(vault.credentials()))
    await credentials.keys()
    vault.open = False
    for minutes in (50, 5):
        vault.now += timedelta(minutes=minutes)
        moment[0] += 60
        assert (await credentials.keys()).access_key == "key-1"
    vault.now += timedelta(minutes=6)
    with pytest.raises(ModelRejectedKey) as raised:
        await credentials.keys()
    assert logged == [("aws_credentials_failed", {"reason": "MetadataRetrievalError"})]
    assert CANARY not in str(raised.value) + caplog.text
    vault.open = True
    with pytest.raises(ModelRejectedKey):
        await credentials.keys()  # it does not hammer
    moment[0] += 31
    assert (await credentials.keys()).access_key == "key-2"


async def test_without_credentials_it_says_what_to_do() -> None:
    session = _Session(None)
    credentials = AwsCredentials(session)
    for _ in range(2):
        with pytest.raises(ModelRejectedKey, match="AWS_ACCESS_KEY_ID") as raised:
            await credentials.keys()
        assert str(raised.value) == NO_CREDENTIALS
    assert session.asked == 1


async def test_a_session_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async def stuck(_function: Any) -> None:
        await asyncio.sleep(60)  # stands for a metadata service that hangs; cancelled by FETCH_SECONDS

    monkeypatch.setattr("core.aws.FETCH_SECONDS", 0.01)
    monkeypatch.setattr("core.aws.run_blocking", stuck)
    with pytest.raises(ModelRejectedKey):
        await AwsCredentials(_Session(None)).keys()


async def test_botocores_own_session_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CANARY)
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    keys = await AwsCredentials().keys()
    assert (keys.access_key, keys.secret_key, keys.token) == ("AKIDENV", CANARY, None)


async def test_no_secret_is_seen() -> None:
    keys = await _static(CANARY).keys()
    assert keys == AwsKeys(access_key="AKIDEXAMPLE", secret_key=f"{CANARY}-secret", token=CANARY)
    assert CANARY not in repr(keys)
    call = await Bedrock(_static(CANARY)).call(CARD, ENDPOINT, ModelRequest(messages=(ASK,)))
    assert call.headers["X-Amz-Security-Token"] == CANARY
    assert CANARY not in repr(call)
