"""Every kind of event in both forms of the wire."""

import json
from typing import Any

import pytest

from chat.wire import ANSWER, SEED
from core.errors import ModelBusy
from llm.events import (
    AnsweredBy,
    Failed,
    Finished,
    ReasoningDelta,
    RefusalDelta,
    SourcesCited,
    StateChanged,
    Status,
    TextDelta,
    ToolCallDelta,
    Usage,
    UsageReported,
)

_EVENTS: list[tuple[Any, list[str]]] = [
    (TextDelta('a"\n😀'), ['{"d":"a\\"\\n😀","s":0}']),
    (RefusalDelta("I will not."), ['{"d":"I will not.","s":0}']),
    (AnsweredBy(model_id="m", provider="azure"), []),
    (
        ToolCallDelta(index=0, id="c9", name="pick"),
        ['{"d":{"tool_calls":[{"index":0,"id":"c9","type":"function","function":{"name":"pick","arguments":""}}]},"s":0}'],
    ),
    (
        ToolCallDelta(index=0, arguments='{"n":1}'),
        ['{"d":{"tool_calls":[{"index":0,"function":{"arguments":"{\\"n\\":1}"}}]},"s":0}'],
    ),
    (
        Status(id="u", message="m", in_progress=True, extras={"icon": "bolt", "sticky": True}),
        ['{"s":"meta","st":{"id":"u","summary":"","message":"m","type":"info","inProgress":true,"icon":"bolt","sticky":true}}'],
    ),
    (StateChanged({"a": 1}), ['{"s":"meta","state":{"a":1}}']),
    (SourcesCited({"rag": {"sources": []}}), ['{"s":"meta","state":{"sources":{"rag":{"sources":[]}}}}']),
    (UsageReported(Usage(output=3)), []),
    (Finished(), ['{"s":0,"type":"end"}']),
]  # fmt: skip


@pytest.mark.parametrize(("event", "frames"), _EVENTS)
def test_seed(event: Any, frames: list[str]) -> None:
    assert [frame.decode() for frame in SEED(event)] == frames


def test_reasoning_is_a_status_of_one_id() -> None:
    (frame,) = SEED(ReasoningDelta("hm"))
    status = json.loads(frame)["st"]
    assert (status["id"], status["message"], status["inProgress"]) == ("reasoning", "hm", True)


def test_a_failure_is_text_an_end_and_a_line() -> None:
    delta, end, line = map(json.loads, SEED(Failed(ModelBusy())))
    assert delta["d"] == line["error"] and end == {"s": 0, "type": "end"} and line["code"] == "model_busy"


def test_the_answer_form() -> None:
    assert ANSWER(TextDelta("x")) == (b'{"s":"answer","d":"x"}',)
    assert ANSWER(Finished()) == (b'{"s":"result","type":"end"}',)


def test_what_is_no_event_raises() -> None:
    with pytest.raises(AssertionError):
        SEED("text")  # type: ignore[arg-type]
