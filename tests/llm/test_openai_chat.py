"""OpenAI's shapes, both ways: pure functions, so tested as such."""

from typing import Any

import orjson
import pytest

from core.errors import ModelBrokeOff, ModelBusy
from llm.events import Event, Finished, ReasoningDelta, RefusalDelta, TextDelta, ToolCallDelta, Usage, UsageReported
from llm.messages import Message, ModelRequest
from llm.model import ModelCard
from llm.providers.openai_chat import OpenAIChat, from_wire, to_wire, usage_from_wire
from llm.testing import ReaderContract
from llm.vendor import StreamReader

CARD = ModelCard(id="m", name="M", provider="openai", context_window=1000, output_limit=300)
ASK = (Message.of("system", "Be brief."), Message.of("user", "2+2?"))


def test_request() -> None:
    body = to_wire(CARD, ModelRequest(messages=ASK, max_output_tokens=50, temperature=0.0))
    assert body == {
        "model": "m",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "2+2?"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0.0,
        "max_completion_tokens": 50,
    }


@pytest.mark.parametrize(
    ("wanted", "window", "limit", "asked"),
    [
        (50, 1000, 300, 50),
        (10**9, 1000, 300, 300),
        (10**9, 100, None, 50),
        (None, 1000, None, None),
        (7, None, None, 7),
    ],
)
def test_the_output_limit_is_clamped(
    wanted: int | None, window: int | None, limit: int | None, asked: int | None
) -> None:
    card = ModelCard(id="m", name="M", provider="compatible", context_window=window, output_limit=limit)
    assert to_wire(card, ModelRequest(messages=ASK, max_output_tokens=wanted)).get("max_tokens") == asked


@pytest.mark.parametrize(
    ("thinking", "wanted", "said"),
    [
        ("effort", "xhigh", "xhigh"),
        ("effort", "none", "none"),
        ("budget", "xhigh", "high"),
        ("adaptive", "none", "low"),
    ],
)
def test_effort(thinking: Any, wanted: Any, said: str) -> None:
    """Another vendor's model behind a server that speaks OpenAI's API is told what all such servers know."""
    card = ModelCard(id="m", name="M", provider="compatible", thinking=thinking)
    assert to_wire(card, ModelRequest(messages=ASK, effort=wanted))["reasoning_effort"] == said


def _chunk(delta: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, **more}]}


def test_events() -> None:
    assert from_wire(_chunk({"content": "hi"})) == [TextDelta("hi")]
    assert from_wire(_chunk({"refusal": "I will not."})) == [RefusalDelta("I will not.")]
    assert from_wire(_chunk({"role": "assistant", "content": None})) == []
    assert from_wire(_chunk({"reasoning_content": "hm"})) == [ReasoningDelta("hm")]
    assert from_wire(_chunk({}, finish_reason="length")) == [Finished("length")]
    assert from_wire(_chunk({}, finish_reason="a new one")) == [Finished("stop")]
    call = {"index": 1, "id": "c", "function": {"name": "f", "arguments": "{"}}
    assert from_wire(_chunk({"tool_calls": [call]})) == [ToolCallDelta(index=1, id="c", name="f", arguments="{")]
    assert from_wire({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}) == [
        UsageReported(Usage(input=3, output=2, raw={"prompt_tokens": 3, "completion_tokens": 2}))
    ]


USAGE = {"prompt_tokens": 3, "completion_tokens": 2}
CHUNKS = [
    _chunk({"role": "assistant", "content": ""}),
    _chunk({"reasoning_content": "hm"}),
    _chunk({"content": "Grüße, "}),
    _chunk({"content": "Welt 🌍"}),
    _chunk({"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": '{"x":'}}]}),
    _chunk({"tool_calls": [{"index": 0, "function": {"arguments": '"ü"}'}}]}),
    _chunk({}, finish_reason="tool_calls"),
    {"choices": [], "usage": USAGE},
]
RECORDED = [b"data: " + orjson.dumps(chunk) + b"\n\n" for chunk in CHUNKS] + [b"data: [DONE]\n\n"]
EVENTS: list[Event] = [
    ReasoningDelta("hm"),
    TextDelta("Grüße, "),
    TextDelta("Welt 🌍"),
    ToolCallDelta(index=0, id="c", name="f", arguments='{"x":'),
    ToolCallDelta(index=0, arguments='"ü"}'),
    Finished("tool_calls"),
    UsageReported(Usage(input=3, output=2, raw=USAGE)),
]


class TestReader(ReaderContract):
    recorded, events, ending = RECORDED, EVENTS, 3

    def reader(self) -> StreamReader:
        return OpenAIChat().reader()


def test_what_came_before_an_error_in_one_piece_with_it_is_told() -> None:
    reader = OpenAIChat().reader()
    assert reader.feed(RECORDED[2] + b'data: {"error":{"code":"overloaded"}}\n\n') == EVENTS[1:2]
    assert isinstance(reader.failure, ModelBusy) and reader.done


def test_usage_classes_are_disjoint() -> None:
    usage = usage_from_wire(
        {
            "prompt_tokens": 1000,
            "completion_tokens": 70,
            "prompt_tokens_details": {"cached_tokens": 400},
            "completion_tokens_details": {"reasoning_tokens": 20},
        }
    )
    assert (usage.input, usage.cache_read, usage.output, usage.reasoning) == (600, 400, 70, 20)


def test_errors_inside_a_stream() -> None:
    with pytest.raises(ModelBusy):
        from_wire({"error": {"code": "rate_limit_exceeded", "message": "secret"}})
    with pytest.raises(ModelBrokeOff) as broke:
        from_wire({"error": {"message": "secret"}})
    assert "secret" not in str(broke.value)
