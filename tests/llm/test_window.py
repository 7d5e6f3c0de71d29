"""Fitting conversations into windows: a pure function, so its laws are searched; then the wrapper around a double."""

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import AmplifyError, ModelFailed, ModelOverflowed
from llm.events import Event, Finished, Status, TextDelta, Usage, UsageReported
from llm.messages import Message, ModelRequest, Part, Text, Tool, ToolCall, ToolResult
from llm.model import ModelCard
from llm.tokens import counter_of, estimate_text
from llm.window import Fitted, fit_again, fit_to_window, input_budget, request_size


def card(window: int | None = 1_000, *, provider: str = "anthropic", output: int | None = 100) -> ModelCard:
    return ModelCard(id="m", name="Model M", provider=provider, context_window=window, output_limit=output)


def said(*texts: str) -> tuple[Message, ...]:
    """A conversation that begins and ends with the user."""
    return tuple(Message.of("assistant" if place % 2 else "user", text) for place, text in enumerate(texts))


def request(*messages: Message, limit: int | None = None) -> ModelRequest:
    return ModelRequest(messages=messages, max_output_tokens=limit)


def call(*ids: str) -> Message:
    return Message(role="assistant", parts=tuple(ToolCall(id=i, name="f", arguments="{}") for i in ids))


def result(*ids: str, text: str = "done") -> Message:
    return Message(role="user", parts=tuple(ToolResult(call_id=i, text=text) for i in ids))


def pairs(messages: Sequence[Message]) -> set[tuple[int, int]]:
    """Which message holds the result of which one's call, by identity."""
    callers: dict[str, int] = {}
    found = set()
    for message in messages:
        for part in message.parts:
            if isinstance(part, ToolCall):
                callers[part.id] = id(message)
            elif isinstance(part, ToolResult) and part.call_id in callers:
                found.add((callers[part.call_id], id(message)))
    return found


def opens(messages: Sequence[Message]) -> str | None:
    for message in messages:
        if message.role != "system":
            return "result" if any(message.parts_of(ToolResult)) else message.role
    return None


# Few ids, so that pairs, reused ids, orphans and calls without results all come up.
IDS = st.sampled_from("abc")
TEXTS = st.text(max_size=60).map(Text)
PARTS: dict[str, st.SearchStrategy[Part]] = {
    "system": TEXTS,
    "user": st.one_of(TEXTS, TEXTS, IDS.map(lambda i: ToolResult(call_id=i, text="r" * 30))),
    "assistant": st.one_of(TEXTS, IDS.map(lambda i: ToolCall(id=i, name="f", arguments='{"x": 1}'))),
}
MESSAGES = st.sampled_from(["system", "user", "user", "assistant"]).flatmap(
    lambda role: st.builds(
        Message,
        role=st.just(role),
        parts=st.lists(PARTS[role], min_size=1, max_size=3).map(tuple),
    )
)
CONVERSATIONS = st.lists(MESSAGES, min_size=1, max_size=25)
TOOLS = st.sampled_from([(), (Tool(name="f", description="does it"),)])


@given(messages=CONVERSATIONS, budget=st.integers(0, 600), tools=TOOLS, prompt=st.sampled_from(["", "Be kind."]))
def test_the_laws_of_fitting(messages: list[Message], budget: int, tools: tuple[Tool, ...], prompt: str) -> None:
    model = ModelCard(id="m", name="M", provider="anthropic", system_prompt=prompt)
    asked = ModelRequest(messages=tuple(messages), tools=tools)
    try:
        fitted = fit_to_window(model, asked, estimate_text, budget=budget)
    except ModelOverflowed:
        assert request_size(model, asked, estimate_text) > budget
        return
    kept = [id(message) for message in fitted.messages]
    # In order, and nothing made up: what is kept is a subsequence.
    left = iter(messages)
    assert all(any(id(message) == wanted for message in left) for wanted in kept)
    assert request_size(model, fitted, estimate_text) <= budget
    assert {id(m) for m in messages if m.role == "system"} <= set(kept)
    assert messages[-1] is fitted.messages[-1]
    assert [m for m in messages if m.role != "system"][-1:] == [m for m in fitted.messages if m.role != "system"][-1:]
    # No pair is broken, and no new one comes about.
    assert all((one in kept) == (other in kept) for one, other in pairs(messages))
    assert pairs(fitted.messages) == {pair for pair in pairs(messages) if pair[0] in kept}
    assert opens(fitted.messages) in {"user", opens(messages)}
    if request_size(model, asked, estimate_text) <= budget:
        assert fitted is asked
    assert fit_to_window(model, fitted, estimate_text, budget=budget) is fitted


@given(messages=CONVERSATIONS)
def test_fitting_again_sends_less_or_gives_up(messages: list[Message]) -> None:
    asked = ModelRequest(messages=tuple(messages))
    for _ in range(len(messages)):
        smaller = fit_again(card(), asked, estimate_text)
        if smaller is None:
            return
        assert request_size(card(), smaller, estimate_text) < request_size(card(), asked, estimate_text)
        assert smaller.messages[-1] is messages[-1]
        asked = smaller
    pytest.fail("never ends")


def test_the_oldest_go_first() -> None:
    asked = request(Message.of("system", "s" * 40), *said(*["x" * 400] * 21))
    fitted = fit_to_window(card(), asked, estimate_text)
    # 880 tokens: 14 for the system message, 3 for the frame, 104 for each of the others, which begin with the user.
    assert input_budget(card(), asked) == 1_000 - 100 - 20
    assert fitted.messages == (asked.messages[0], *asked.messages[-7:])


def test_a_long_tool_loop_keeps_its_question_and_its_newest_rounds() -> None:
    rounds = [message for n in range(20) for message in (call(f"c{n}"), result(f"c{n}", text="x" * 400))]
    asked = request(*said("old", "answer"), Message.of("user", "the question"), *rounds)
    fitted = fit_to_window(card(), asked, estimate_text)
    assert fitted.messages[0].text == "the question"
    assert 2 < len(fitted.messages) < 20
    assert fitted.messages[1:] == asked.messages[-len(fitted.messages) + 1 :]
    assert opens(fitted.messages[1:]) == "assistant"


def test_parallel_calls_and_their_results_are_one() -> None:
    group = (call("a", "b"), result("a", text="x" * 2_000), result("b"))
    asked = request(Message.of("user", "first"), *group, Message.of("assistant", "so"), Message.of("user", "second"))
    fitted = fit_to_window(card(500), asked, estimate_text)
    assert [message.text for message in fitted.messages] == ["second"]


def test_what_must_stay_and_does_not_fit_is_refused_with_its_size() -> None:
    with pytest.raises(ModelOverflowed, match=r"about 1,007 tokens; Model M takes 880 beside its answer"):
        fit_to_window(card(), request(*said("old", "answer", "x" * 4_000)), estimate_text)


def test_an_unknown_window_changes_nothing() -> None:
    asked = request(*said("x" * 4_000_000))
    assert fit_to_window(card(None), asked, estimate_text) is asked


@pytest.mark.parametrize(
    ("model", "limit", "budget"),
    [
        (card(100_000, output=8_000), None, 90_000),
        (card(100_000, output=8_000), 1_000, 97_000),
        (card(100_000, output=None), None, 93_904),
        (card(4_000, output=None), None, 2_920),
        (card(4_000, output=4_000), 4_000, 1_920),
        (card(None), None, None),
    ],
)
def test_room_for_the_answer_is_kept(model: ModelCard, limit: int | None, budget: int | None) -> None:
    assert input_budget(model, request(*said("hi"), limit=limit)) == budget


@pytest.mark.parametrize("window", [100_000, 1_000_000])
def test_many_messages_take_as_much_longer_as_they_are(window: int) -> None:
    """Where time grew with the square of their number, eight times as many would take 64 times as long."""
    model = card(window, provider="openai")
    count = counter_of(model)
    count("loaded")

    def fitted(rounds: int) -> tuple[int, float]:
        said = [m for n in range(rounds) for m in (call(f"c{n}"), result(f"c{n}", text="some words that were found"))]
        asked = request(Message.of("user", "go on"), *said)
        started = time.thread_time()
        kept = fit_to_window(model, asked, count)
        return len(kept.messages), time.thread_time() - started

    _, few = fitted(625)
    messages, many = fitted(5_000)
    assert many < 32 * few
    assert (messages == 10_001) == (window == 1_000_000)


class Vendor:
    """Takes so many tokens, by its own count."""

    def __init__(self, model: ModelCard, *, takes: int, error: type[ModelFailed] = ModelOverflowed) -> None:
        self.card = model
        self.takes = takes
        self.error = error
        self.seen: list[ModelRequest] = []
        self.fails_late = False
        self.closed = 0

    async def stream(self, asked: ModelRequest) -> AsyncGenerator[Event, None]:
        self.seen.append(asked)
        try:
            if request_size(self.card, asked, estimate_text) > self.takes and not self.fails_late:
                raise self.error
            yield TextDelta("yes")
            if self.fails_late:
                raise self.error
            yield UsageReported(Usage(input=1, output=1))
            yield Finished()
        finally:
            self.closed += 1


async def answer(vendor: Vendor, asked: ModelRequest) -> list[Event]:
    async with aclosing(Fitted(vendor).stream(asked)) as events:
        return [event async for event in events]


LONG = request(*said(*["x" * 400] * 41))


async def test_a_short_conversation_goes_as_it_is() -> None:
    vendor = Vendor(card(), takes=1_000)
    asked = request(*said("hi"))
    assert [type(event) for event in await answer(vendor, asked)] == [TextDelta, UsageReported, Finished]
    assert vendor.seen[0] is asked


@pytest.mark.parametrize("provider", ["anthropic", "openai"])
async def test_a_long_one_is_fitted_and_the_person_is_told_once(provider: str) -> None:
    vendor = Vendor(card(provider=provider), takes=10_000)
    events = await answer(vendor, LONG)
    assert [type(event) for event in events] == [Status, TextDelta, UsageReported, Finished]
    assert isinstance(events[0], Status)
    missing = len(LONG.messages) - len(vendor.seen[0].messages)
    assert f"The {missing} oldest messages were left out" in events[0].message


@pytest.mark.parametrize("window", [1_000, None])
async def test_less_is_sent_when_the_vendor_finds_it_too_long(window: int | None) -> None:
    vendor = Vendor(card(window), takes=700 if window else 3_500)
    events = await answer(vendor, LONG)
    assert [type(event) for event in events] == [Status, TextDelta, UsageReported, Finished]
    assert len(vendor.seen) == vendor.closed == 2
    first, second = (request_size(vendor.card, seen, estimate_text) for seen in vendor.seen)
    assert first * 0.4 < second <= first * 0.7


async def test_a_second_overflow_is_raised() -> None:
    vendor = Vendor(card(), takes=10)
    with pytest.raises(ModelOverflowed):
        await answer(vendor, LONG)
    assert len(vendor.seen) == 2


async def test_where_nothing_can_be_left_out_there_is_no_second_call() -> None:
    vendor = Vendor(card(), takes=10)
    with pytest.raises(ModelOverflowed):
        await answer(vendor, request(*said("x" * 400)))
    assert len(vendor.seen) == 1


@pytest.mark.parametrize(("late", "error"), [(True, ModelOverflowed), (False, ModelFailed)])
async def test_only_an_overflow_before_the_first_event_is_tried_again(late: bool, error: type[ModelFailed]) -> None:
    vendor = Vendor(card(), takes=10, error=error)
    vendor.fails_late = late
    with pytest.raises(AmplifyError):
        await answer(vendor, LONG)
    assert len(vendor.seen) == 1


async def test_what_can_never_fit_is_not_sent() -> None:
    vendor = Vendor(card(), takes=1_000)
    with pytest.raises(ModelOverflowed, match="tokens"):
        await answer(vendor, request(*said("x" * 40_000)))
    assert vendor.seen == []


async def test_left_early_the_vendors_stream_is_closed() -> None:
    vendor = Vendor(card(), takes=1_000)
    async with aclosing(Fitted(vendor).stream(LONG)) as events:
        async for _ in events:
            break
    assert vendor.closed == 1
