"""What OpenAI's wire says of events that no vendor in the end-to-end tests sends."""

from typing import Any

import orjson

from chat.openai_wire import Chunks, Completion
from llm.events import AnsweredBy, Event, Finished, RefusalDelta, TextDelta

REFUSED: list[Event] = [
    AnsweredBy(model_id="stand-in", provider="azure"),
    RefusalDelta("I will "),
    RefusalDelta("not."),
    Finished(),
]


def _chunks(events: list[Event]) -> list[dict[str, Any]]:
    encode = Chunks("asked", with_usage=False)
    return [orjson.loads(frame) for event in events for frame in encode(event)]


def _whole(events: list[Event]) -> dict[str, Any]:
    encode = Completion("asked")
    for event in events:
        encode(event)
    return encode.json()


def test_a_refusal_is_no_content() -> None:
    deltas = [chunk["choices"][0]["delta"] for chunk in _chunks(REFUSED)]
    assert deltas == [{"role": "assistant", "content": ""}, {"refusal": "I will "}, {"refusal": "not."}, {}]
    assert _whole(REFUSED)["choices"][0]["message"] == {
        "role": "assistant",
        "content": None,
        "refusal": "I will not.",
    }


def test_the_model_is_the_one_that_answers() -> None:
    assert {chunk["model"] for chunk in _chunks(REFUSED)} == {"stand-in"} == {_whole(REFUSED)["model"]}
    said: list[Event] = [TextDelta("hi"), Finished()]
    assert {chunk["model"] for chunk in _chunks(said)} == {"asked"} == {_whole(said)["model"]}
    named = _chunks([REFUSED[0], *said])
    assert [chunk["choices"][0]["delta"].get("content") for chunk in named] == ["", "hi", None]
    assert {chunk["model"] for chunk in named} == {"stand-in"}
