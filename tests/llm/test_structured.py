"""Answers that are JSON, through a double that answers as models do: fenced, cut up, twice, not at all."""

import json
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import BadRequest, ModelInvalidOutput
from llm.events import (
    Event,
    Finished,
    FinishReason,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
    Usage,
    UsageReported,
)
from llm.json_schema import MAX_SCHEMA_BYTES, CheckedSchema, check_answer
from llm.messages import ForcedTool, Message, ModelRequest, OutputSchema, Tool
from llm.model import ModelCard, StructuredOutput
from llm.structured import Structured, Unfenced

SCHEMA = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "$id": "https://example.org/answer",
    "type": "object",
    "properties": {"city": {"type": "string"}, "near": {"type": "array", "items": {"$ref": "#/$defs/place"}}},
    "required": ["city"],
    "additionalProperties": False,
    "$defs": {"place": {"type": "string", "pattern": "^[A-Z]"}},
}
GOOD = '{"city": "Nashville", "near": ["Franklin"]}'
BAD = '{"town": "Nashville"}'
REPORT = UsageReported(Usage(input=1, output=1))
OWN = Tool(name="search")


class Double:
    """Says what it is told to say, and remembers what it was asked."""

    def __init__(self, way: StructuredOutput, events: Sequence[Event], *, tools: bool = True) -> None:
        self.card = ModelCard(id="m", name="M", provider="compatible", structured_output=way, tools=tools)
        self.events = events
        self.asked: ModelRequest | None = None
        self.closed = False
        self.ended = False

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Event, None]:
        self.asked = request
        try:
            for event in self.events:
                yield event
            self.ended = True
        finally:
            self.closed = True


def text(*pieces: str, reason: FinishReason = "stop") -> list[Event]:
    return [*map(TextDelta, pieces), REPORT, Finished(reason)]


def called(*pieces: str, name: str = "answer", reason: FinishReason = "tool_calls", index: int = 0) -> list[Event]:
    deltas = [ToolCallDelta(index=index, arguments=piece) for piece in pieces]
    return [ToolCallDelta(index=index, id="c", name=name), *deltas, REPORT, Finished(reason)]


def request(schema: Any = SCHEMA, **fields: Any) -> ModelRequest:
    messages = (Message.of("system", "Be brief."), Message.of("user", "Where?"))
    return ModelRequest(messages=messages, output=OutputSchema(schema=schema), **fields)


async def answer(model: Double, asked: ModelRequest) -> list[Event]:
    async with aclosing(Structured(model).stream(asked)) as events:
        return [event async for event in events]


def texts(events: Sequence[Event]) -> list[str]:
    return [event.text for event in events if isinstance(event, TextDelta)]


WAYS: list[tuple[StructuredOutput, Any]] = [("native", text), ("prompt", text), ("tool", called)]


@pytest.mark.parametrize(("way", "say"), WAYS)
async def test_a_good_answer_streams_and_ends(way: StructuredOutput, say: Any) -> None:
    model = Double(way, say(GOOD[:5], GOOD[5:20], GOOD[20:]))
    events = await answer(model, request())
    assert texts(events) == [GOOD[:5], GOOD[5:20], GOOD[20:]]
    assert events[-2:] == [REPORT, Finished("stop")]
    assert not [event for event in events if isinstance(event, ToolCallDelta)]
    assert model.ended  # who stands inside settles his affairs behind Finished


@pytest.mark.parametrize(
    "wrong", [BAD, '{"city": "x", "near": ["franklin"]}', GOOD[:-1], "", "Nashville", f"{GOOD} {GOOD}"]
)
@pytest.mark.parametrize(("way", "say"), WAYS)
async def test_a_wrong_answer_is_an_error_and_not_an_end(way: StructuredOutput, say: Any, wrong: str) -> None:
    events = []
    with pytest.raises(ModelInvalidOutput) as caught:
        async with aclosing(Structured(Double(way, say(wrong))).stream(request())) as stream:
            async for event in stream:
                events.append(event)  # noqa: PERF401 - what came before the error counts too
    assert REPORT in events
    assert not [event for event in events if isinstance(event, Finished)]
    assert "town" not in caught.value.message


@pytest.mark.parametrize(("way", "say"), WAYS)
@pytest.mark.parametrize(("said", "is_good"), [('{"any": [1]}', True), ("{}", True), ("[1]", False), ("1", False)])
async def test_any_object_will_do_without_a_schema(way: StructuredOutput, say: Any, said: str, is_good: bool) -> None:
    model = Double(way, say(said))
    if is_good:
        assert texts(await answer(model, request(None))) == [said]
    else:
        with pytest.raises(ModelInvalidOutput):
            await answer(model, request(None))


@pytest.mark.parametrize(("way", "say"), WAYS)
@pytest.mark.parametrize("reason", ["length", "content_filter"])
async def test_what_was_cut_short_goes_on_as_it_is(way: StructuredOutput, say: Any, reason: FinishReason) -> None:
    events = await answer(Double(way, say(GOOD[:9], reason=reason)), request())
    assert "".join(texts(events)) == GOOD[:9]
    assert events[-1] == Finished(reason)


@pytest.mark.parametrize("way", ["native", "prompt", "tool"])
async def test_a_call_of_the_callers_own_tool_goes_on(way: StructuredOutput) -> None:
    own = called('{"q":', "1}", name="search")
    model = Double(way, [TextDelta("Let me look."), *own])
    events = await answer(model, request(tools=(OWN,)))
    assert events == [TextDelta("Let me look."), *own]


@pytest.mark.parametrize("way", ["native", "tool", "prompt"])
async def test_a_refusal_is_no_answer_and_need_not_agree(way: StructuredOutput) -> None:
    said = [RefusalDelta("I will "), RefusalDelta("not."), REPORT, Finished()]
    assert await answer(Double(way, said), request()) == said


async def test_without_an_output_nothing_changes() -> None:
    model = Double("tool", text("hello"))
    asked = ModelRequest(messages=(Message.of("user", "hi"),))
    assert await answer(model, asked) == model.events
    assert model.asked is asked


async def test_native_is_left_to_the_vendor() -> None:
    model = Double("native", text(GOOD))
    asked = request()
    await answer(model, asked)
    assert model.asked is asked


async def test_the_tool_is_forced_and_has_the_schema() -> None:
    model = Double("tool", called(GOOD))
    await answer(model, request(effort="high"))
    assert model.asked is not None
    (tool,) = model.asked.tools
    assert (tool.name, dict(tool.parameters), model.asked.tool_choice) == ("answer", SCHEMA, ForcedTool("answer"))
    assert (model.asked.output, model.asked.effort, model.asked.parallel_tool_calls) == (None, None, False)


@pytest.mark.parametrize(
    ("choice", "names", "sent"),
    [
        ("auto", ["search", "answer"], "required"),
        ("required", ["search", "answer"], "required"),
        ("none", ["answer"], ForcedTool("answer")),
        (ForcedTool("search"), ["search", "answer"], ForcedTool("search")),
    ],
)
async def test_beside_the_callers_tools(choice: Any, names: list[str], sent: Any) -> None:
    model = Double("tool", called(GOOD))
    assert texts(await answer(model, request(tools=(OWN,), tool_choice=choice))) == [GOOD]
    assert model.asked is not None
    assert ([tool.name for tool in model.asked.tools], model.asked.tool_choice) == (names, sent)


async def test_a_name_that_the_caller_has_taken() -> None:
    model = Double("tool", called(GOOD, name="answer_"))
    events = await answer(model, request(tools=(Tool(name="answer"),)))
    assert events[-1] == Finished("stop")


async def test_chatter_and_second_answers_around_the_tool_are_left_out() -> None:
    twice = [*called(GOOD)[:-2], *called(BAD, index=1)]
    events = await answer(Double("tool", [TextDelta("Here:"), ReasoningDelta("hm"), *twice]), request())
    assert (texts(events), events[0]) == ([GOOD], ReasoningDelta("hm"))
    events = await answer(Double("tool", [TextDelta("Here:"), *twice]), request(tools=(OWN,)))
    assert texts(events) == [GOOD]


async def test_a_server_that_knows_no_forced_tools_may_answer_in_text() -> None:
    events = await answer(Double("tool", text("```json\n", GOOD, "\n```")), request())
    assert "".join(texts(events)) == GOOD


async def test_a_tool_without_arguments_is_an_empty_object() -> None:
    assert texts(await answer(Double("tool", called()), request(None))) == ["{}"]


@pytest.mark.parametrize("schema", [{"type": "array"}, {"anyOf": [{"type": "object"}, {"type": "null"}]}])
async def test_what_is_no_object_is_asked_for_in_words(schema: dict[str, Any]) -> None:
    model = Double("tool", text("[]" if "type" in schema else "null"))
    assert (await answer(model, request(schema)))[-1] == Finished("stop")
    assert model.asked is not None
    assert model.asked.tools == ()


async def test_the_instruction_stands_behind_the_first_system_messages() -> None:
    model = Double("prompt", text(GOOD))
    await answer(model, request())
    assert model.asked is not None
    brief, instruction, where = model.asked.messages
    assert (brief.text, instruction.role, where.text) == ("Be brief.", "system", "Where?")
    assert json.loads(instruction.text.split("\n", 1)[1]) == SCHEMA


FENCES = [
    "```json\n{}\n```",
    "```\n{}```",
    "\n ```JSON  {}\n  ```\n\n",
    "```{}```",
    "```json\n{}\n```\nHope that helps!",
]


@pytest.mark.parametrize("fenced", [fence.replace("{}", GOOD) for fence in FENCES])
async def test_a_fence_is_taken_off_however_it_is_cut(fenced: str) -> None:
    for size in (1, 2, 3, 7, len(fenced)):
        pieces = [fenced[start : start + size] for start in range(0, len(fenced), size)]
        events = await answer(Double("prompt", text(*pieces)), request())
        assert "".join(texts(events)) == GOOD


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(["```", "a\n```json\nb", "``"]),
    lambda below: st.lists(below, max_size=4) | st.dictionaries(st.text(max_size=5), below, max_size=4),
    max_leaves=8,
)


@given(value=JSON, indent=st.sampled_from([None, 2]), info=st.sampled_from(["", "json"]), data=st.data())
def test_any_json_survives_any_cuts_with_and_without_a_fence(
    value: Any, indent: int | None, info: str, data: st.DataObject
) -> None:
    plain = json.dumps(value, indent=indent, ensure_ascii=False)
    for whole in (plain, f"```{info}\n{plain}\n```"):
        cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
        unfenced = Unfenced()
        pieces = [unfenced.feed(whole[a:b]) for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
        assert json.loads("".join([*pieces, unfenced.end()])) == value


def test_only_what_may_belong_to_the_fence_is_held_back() -> None:
    unfenced = Unfenced()
    assert [unfenced.feed(piece) for piece in ("``", "`js", 'on\n{"a": ', '"`', 'x"}', "\n``", "`", " bye")] == [
        *("", "", '{"a":', ' "', '`x"}', "", "", "")
    ]
    assert unfenced.end() == ""


@pytest.mark.parametrize(("way", "say"), WAYS)
async def test_left_early_the_models_stream_is_closed(way: StructuredOutput, say: Any) -> None:
    model = Double(way, say(GOOD))
    async with aclosing(Structured(model).stream(request())) as events:
        async for _ in events:
            break
    assert model.closed
    assert not model.ended


NESTED: dict[str, Any] = {}
for _ in range(200):
    NESTED = {"properties": {"a": NESTED}}


@pytest.mark.parametrize(
    ("schema", "where"),
    [
        ({"type": "object", "properties": {"a": {"type": "strin"}}}, r"\$\.properties\.a\.type"),
        ({"properties": {"a": {"minimum": "1"}}}, r"\$\.properties\.a\.minimum"),
        ({"type": [{}]}, "#/type"),
        ({"required": [{}] * 9_000}, "#/required"),
        ({"properties": {"a/b": {"$ref": "https://example.org/x.json"}}}, "#/properties/a~1b"),
        ({"items": {"$ref": "file:///etc/passwd"}}, "#/items"),
        ({"$ref": "#/$defs/none"}, r"#/\$defs/none"),
        ({"$ref": "#/extra", "extra": {"type": 5}}, "#/extra"),
        ({"$ref": 5}, "must point to a schema"),
        ({"items": {"$id": "x"}}, "#/items"),
        ({"items": {"pattern": "(?=a)"}}, "#/items/pattern"),
        ({"items": {"pattern": "("}}, "#/items/pattern"),
        ({"items": {"patternProperties": {"(a+)+$": {}}}}, "patternProperties is not supported"),
        ({"$ref": "#"}, "without end"),
        ({"anyOf": [{"pattern": f"{n}"} for n in range(99)]}, "99 patterns"),
        (NESTED, "nested too deeply"),
        ({"description": "x" * MAX_SCHEMA_BYTES}, f"at most {MAX_SCHEMA_BYTES:,}"),
        ({"enum": [object()]}, "not JSON"),
        ({"enum": ["\ud800"]}, "not JSON"),
    ],
)
async def test_a_wrong_schema_is_refused_before_the_call(schema: dict[str, Any], where: str) -> None:
    model = Double("native", text(GOOD))
    with pytest.raises(BadRequest, match=where):
        await answer(model, request(schema))
    assert model.asked is None


def test_names_that_look_like_keywords_are_names() -> None:
    schema = {"properties": {name: {"const": {"$ref": "x"}} for name in ("$ref", "$id", "patternProperties")}}
    check_answer('{"$ref": {"$ref": "x"}}', CheckedSchema.of(schema))


def doubling(levels: int, leaf: Any = None) -> dict[str, Any]:
    below = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(levels)}
    return {"$ref": "#/$defs/d0", "$defs": {**below, f"d{levels}": leaf or {}}}


BY_DEPTH = {"$ref": "#/$defs/n", "$defs": {"n": {"allOf": [{"properties": {"a": {"$ref": "#/$defs/n"}}}] * 2}}}


def test_exponential_schemas_come_to_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llm.json_schema.MAX_CHECK_SECONDS", 0.1)
    started = time.thread_time()
    with pytest.raises(BadRequest, match="too long to check"):
        CheckedSchema.of(doubling(60))
    with pytest.raises(BadRequest, match="too long to check"):
        # Few keywords, each with much to compare.
        CheckedSchema.of(doubling(10, {"not": {"enum": list(range(5_000))}}))
    with pytest.raises(BadRequest, match="too long to check"):
        check_answer('{"a":' * 60 + "1" + "}" * 60, CheckedSchema.of(BY_DEPTH))
    assert time.thread_time() - started < 2


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"properties": {"a": {"pattern": "^(a+)+$"}}}, {"a": "a" * 10_000 + "!"}),
        ({"items": {"type": "object"}, "uniqueItems": True}, [{"n": n} for n in range(20_000)] + [{"n": 7}]),
        ({"properties": {"a": {"$ref": "#"}}, "type": "object"}, None),
    ],
)
def test_answers_that_are_meant_to_be_slow_are_not(schema: dict[str, Any], value: Any) -> None:
    checked = CheckedSchema.of(schema)
    said = '{"a":' * 900 + "{}" + "}" * 900 if value is None else json.dumps(value)
    started = time.thread_time()
    with pytest.raises(ModelInvalidOutput):
        check_answer(said, checked)
    assert time.thread_time() - started < 1


def test_true_is_not_one_and_one_is_one_point_nought() -> None:
    unique = CheckedSchema.of({"uniqueItems": True})
    check_answer('[1, true, 0, false, "1", [1], {"a": 1}]', unique)
    for twice in ("[1, 1.0]", "[[1], [1.0]]", '[{"a": 1, "b": 2}, {"b": 2, "a": 1}]'):
        with pytest.raises(ModelInvalidOutput, match="uniqueItems"):
            check_answer(twice, unique)
