"""Which endpoint is asked, rested and asked again.

Unit tests, because no vendor fails, rests and answers on command so finely; tests/e2e/test_vendors.py goes through the
door.
"""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import (
    BadRequest,
    ModelBusy,
    ModelFailed,
    ModelOverflowed,
    ModelRefused,
    ModelRejectedKey,
    ModelTimedOut,
    ModelUnreachable,
)
from llm import pool
from llm.endpoints import Endpoint
from llm.events import AnsweredBy, Event, Finished, Status, TextDelta
from llm.messages import ModelRequest
from llm.model import Model, ModelCard
from llm.pool import FAILURES_TO_OPEN, LONGEST_REST, REST_AFTER_BUSY, REST_AFTER_FAILURE, Fallback, Member, Pool
from llm.scripted import ScriptedModel
from llm.testing import CARD, FailingModel, SlowModel, ask, listen

BEFORE_TIMEOUT = 5.0
"""Seconds after which a test that hangs is given up; none needs as many."""


class _Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class _Gated:
    """Says one word, then waits for its gate; counts who is inside."""

    card: ModelCard = CARD
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    errors: list[Exception] = field(default_factory=list)
    """Raised at the gate, one for each call; without one it answers."""
    inside: int = 0
    most: int = 0
    calls: int = 0
    closed: int = 0
    entered: asyncio.Event = field(default_factory=asyncio.Event)
    silent: bool = False
    """Says nothing before the gate."""

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Event, None]:
        self.calls += 1
        self.inside += 1
        self.most = max(self.most, self.inside)
        error = self.errors.pop(0) if self.errors else None
        try:
            self.entered.set()
            if not self.silent:
                yield TextDelta("x")
            await self.gate.wait()
            if error is not None:
                raise error
            yield Finished()
        finally:
            self.inside -= 1
            self.closed += 1


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(pool, "PAUSE_SECONDS", (0.0, 0.0))
    state = random.getstate()
    random.seed(7)
    yield
    random.setstate(state)


@pytest.fixture
def clock() -> _Clock:
    return _Clock()


def _answers(name: str = "a") -> ScriptedModel:
    return ScriptedModel(name, card=CARD)


def _fails(error: ModelFailed | None = None, times: int | None = None) -> FailingModel:
    return FailingModel(error or ModelFailed(), times=times)


async def _turns(count: int = 20) -> None:
    """Lets every task run up to where it waits for something."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_calls_are_spread_by_weight() -> None:
    members = [Member(_answers(), "a", weight=3.0), Member(_answers(), "b", weight=1.0)]
    both = Pool(CARD, members)
    for _ in range(400):
        assert (await listen(both)).error is None
    # Binomial with p = 3/4: a standard deviation is below nine calls.
    assert sum(member.calls for member in members) == 400
    assert 260 < members[0].calls < 340


async def test_the_other_endpoint_answers_before_the_first_event() -> None:
    failing = _fails(ModelUnreachable())
    bad, good = Member(failing, "bad", weight=1000.0), Member(_answers("good"), "good", weight=0.001)
    told = await listen(Pool(CARD, [bad, good]))
    assert (told.error, told.text) == (None, "good ")
    assert failing.calls == 1
    assert (bad.failures, bad.failures_in_a_row, bad.last_error) == (1, 1, "model_unreachable")
    assert (bad.state, good.state) == ("resting", "ready")


async def test_nothing_is_mixed_into_an_answer_that_has_begun() -> None:
    breaking = FailingModel(ModelTimedOut(), words=["half "])
    bad, good = Member(breaking, "bad", weight=1000.0), Member(_answers("good"), "good", weight=0.001)
    told = await listen(Pool(CARD, [bad, good]))
    assert told.text == "half " and isinstance(told.error, ModelTimedOut)
    assert (good.calls, bad.failures_in_a_row) == (0, 1)


@pytest.mark.parametrize("error", [ModelRefused(), ModelOverflowed()])
async def test_a_refused_request_is_not_asked_again(error: ModelRefused) -> None:
    models = [_fails(error), _fails(error)]
    members = [Member(model, str(number)) for number, model in enumerate(models)]
    assert (await listen(Pool(CARD, members))).error is error
    assert sum(model.calls for model in models) == 1
    assert [member.state for member in members] == ["ready", "ready"]


async def test_what_is_no_models_failure_goes_through_and_gives_its_room_back() -> None:
    gated = _Gated(errors=[BadRequest("no such thing")], silent=True)
    gated.gate.set()
    member = Member(gated, "a", max_concurrent=1)
    with pytest.raises(BadRequest):
        await listen(Pool(CARD, [member]))
    assert (member.in_flight, member.failures, gated.calls) == (0, 0, 1)


async def test_one_endpoint_is_asked_again_a_few_times() -> None:
    model = _fails(times=2)
    member = Member(model, "a")
    told = await listen(Pool(CARD, [member]))
    assert (told.text, model.calls) == ("answered", 3)
    assert (member.state, member.failures, member.failures_in_a_row) == ("ready", 2, 0)
    hopeless = _fails(error := ModelUnreachable())
    assert (await listen(Pool(CARD, [Member(hopeless, "a")]))).error is error
    assert hopeless.calls == 3


async def test_a_rejected_key_is_not_tried_again_but_another_endpoints_is() -> None:
    rejected = _fails(error := ModelRejectedKey())
    assert (await listen(Pool(CARD, [Member(rejected, "a")]))).error is error
    assert rejected.calls == 1
    both = Pool(CARD, [Member(rejected, "a", weight=1000), Member(_answers("good"), "b", weight=0.001)])
    assert (await listen(both)).text == "good "


async def test_every_endpoint_is_tried_twice_in_turn() -> None:
    models = [_fails() for _ in range(3)]
    await listen(Pool(CARD, [Member(model, str(number)) for number, model in enumerate(models)]))
    assert [model.calls for model in models] == [2, 2, 2]


async def test_the_vendors_retry_after_is_kept_to_the_second(clock: _Clock) -> None:
    model = _fails(ModelBusy(retry_after=30.0), times=1)
    member = Member(model, "a", clock=clock)
    one = Pool(CARD, [member])
    first = (await listen(one)).error
    assert first is not None and first.retry_after == 30.0
    clock.now += 29.5
    waiting = (await listen(one)).error
    assert isinstance(waiting, ModelBusy) and waiting.retry_after == pytest.approx(0.5)
    assert model.calls == 1
    clock.now += 0.5
    assert (await listen(one)).text == "answered"
    assert (member.rest, member.state) == (0, "ready")


async def test_the_soonest_of_those_that_wait_is_named_and_none_is_asked(clock: _Clock) -> None:
    models = [_fails(ModelBusy(retry_after=seconds)) for seconds in (40.0, 20.0, 60.0)]
    three = Pool(CARD, [Member(model, str(number), clock=clock) for number, model in enumerate(models)])
    await listen(three)
    before = [model.calls for model in models]
    assert before == [1, 1, 1]
    clock.now += 5
    error = (await listen(three)).error
    assert isinstance(error, ModelBusy) and error.retry_after == pytest.approx(15.0)
    assert error.answer_headers() == {"Retry-After": "15"}
    assert [model.calls for model in models] == before


@pytest.mark.parametrize(("error", "first"), [(ModelFailed(), REST_AFTER_FAILURE), (ModelBusy(), REST_AFTER_BUSY)])
def test_rests_double_up_to_a_limit(clock: _Clock, error: ModelFailed, first: float) -> None:
    member = Member(_answers(), "a", clock=clock)
    rests = []
    for _ in range(8):
        member.failed(error)
        rests.append(member.rest)
        clock.now += member.rest
    assert rests == [min(first * factor, LONGEST_REST) for factor in (1, 2, 4, 8, 16, 32, 64, 128)]


def test_an_endpoint_that_is_down_for_days_still_rests(clock: _Clock) -> None:
    member = Member(_answers(), "a", clock=clock, failures_in_a_row=5000)
    member.failed(ModelFailed())
    assert member.rest == LONGEST_REST


async def test_a_rested_endpoint_goes_before_a_resting_one_and_a_resting_one_before_none(clock: _Clock) -> None:
    failing, member = _fails(times=1), Member(_answers("good"), "b", clock=clock)
    tired = Member(failing, "a", clock=clock)
    tired.failed(ModelFailed())
    both = Pool(CARD, [tired, member])
    for _ in range(20):
        assert (await listen(both)).text == "good "
    assert failing.calls == 0
    assert (await listen(Pool(CARD, [tired]))).text == "answered"


async def test_the_circuit_opens_lets_one_probe_through_and_closes(clock: _Clock) -> None:
    gated = _Gated(silent=True)
    member = Member(gated, "a", clock=clock)
    one = Pool(CARD, [member])
    for number in range(FAILURES_TO_OPEN):
        assert member.is_open is False, number
        clock.now += member.rest
        member.failed(ModelFailed())
    assert member.state == "open"
    assert isinstance((await listen(one)).error, ModelBusy) and gated.calls == 0

    clock.now += LONGEST_REST
    assert member.state == "probing"
    async with asyncio.timeout(BEFORE_TIMEOUT), asyncio.TaskGroup() as group:
        calls = [group.create_task(listen(one)) for _ in range(10)]
        await _turns()
        assert (gated.calls, gated.inside) == (1, 1)
        gated.gate.set()
    assert [call.result().error for call in calls] == [None] * 10
    assert (gated.calls, member.failures_in_a_row, member.state) == (10, 0, "ready")


async def test_a_probes_first_word_closes_the_circuit(clock: _Clock) -> None:
    gated = _Gated()  # says a word, then waits
    member = Member(gated, "a", clock=clock)
    one = Pool(CARD, [member])
    for _ in range(FAILURES_TO_OPEN):
        member.failed(ModelFailed())
        clock.now += member.rest
    assert member.state == "probing"
    async with asyncio.timeout(BEFORE_TIMEOUT), asyncio.TaskGroup() as group:
        calls = [group.create_task(listen(one)) for _ in range(10)]
        await _turns()
        assert (gated.inside, member.state) == (10, "ready")
        gated.gate.set()
    assert [call.result().error for call in calls] == [None] * 10


async def test_a_probe_that_fails_opens_the_circuit_again(clock: _Clock) -> None:
    model = _fails()
    member = Member(model, "a", clock=clock)
    for _ in range(FAILURES_TO_OPEN):
        member.failed(ModelFailed())
        clock.now += member.rest
    error = (await listen(Pool(CARD, [member]))).error
    assert error is not None and error.code == "model_failed"
    assert (model.calls, member.state) == (1, "open")


async def test_an_older_calls_success_does_not_end_the_silence_that_the_vendor_asked_for(clock: _Clock) -> None:
    gated = _Gated()
    member = Member(gated, "a", clock=clock)
    async with asyncio.timeout(BEFORE_TIMEOUT), asyncio.TaskGroup() as group:
        older = group.create_task(listen(Pool(CARD, [member])))
        await gated.entered.wait()
        member.failed(ModelBusy(retry_after=30.0))
        gated.gate.set()
    assert older.result().error is None
    assert member.rest == 30.0 and member.must_not_be_asked


def test_a_failure_without_a_word_does_not_shorten_what_the_vendor_asked_for(clock: _Clock) -> None:
    member = Member(_answers(), "a", clock=clock)
    member.failed(ModelBusy(retry_after=30.0))
    member.failed(ModelUnreachable())
    assert member.rest == 30.0 and member.must_not_be_asked
    clock.now += 30.0
    member.failed(ModelUnreachable())
    assert member.rest == 2 * REST_AFTER_FAILURE and not member.must_not_be_asked


async def test_who_answers_is_said_before_the_first_word() -> None:
    """By that provider the call is billed: a pool's endpoints may belong to several."""
    azure, bedrock = (replace(CARD, provider=name) for name in ("azure", "bedrock"))
    failing, good = FailingModel(ModelBusy(), card=azure), ScriptedModel("good", card=bedrock)
    told = await listen(Pool(azure, [Member(failing, "a", weight=1000), Member(good, "b", weight=0.001)]))
    said = [event for event in told.events if isinstance(event, AnsweredBy)]
    assert said == [AnsweredBy(model_id=CARD.id, provider="bedrock")] == told.events[:1]


async def test_what_one_vendor_cannot_be_told_another_one_is() -> None:
    picky = _Gated(errors=[BadRequest("no images by address")] * 9, silent=True)
    picky.gate.set()
    first, second = Member(picky, "a", weight=1000), Member(_answers("good"), "b", weight=0.001)
    both = Pool(CARD, [first, second])
    for _ in range(3):
        assert (await listen(both)).text == "good "
    assert picky.calls >= 1 and first.failures == 0 and first.state == "ready"


async def test_the_last_refusal_is_what_the_caller_sees() -> None:
    models = [_Gated(errors=[BadRequest(name)], silent=True) for name in "ab"]
    for model in models:
        model.gate.set()
    members = [Member(model, "x", weight=weight) for model, weight in zip(models, (1000, 0.001), strict=True)]
    with pytest.raises(BadRequest, match="b"):
        await listen(Pool(CARD, members))
    assert [model.calls for model in models] == [1, 1]


async def test_a_refusal_is_not_the_last_word_while_another_endpoint_only_rests(clock: _Clock) -> None:
    picky = _Gated(errors=[BadRequest("no")], silent=True)
    picky.gate.set()
    resting = Member(_answers(), "b", clock=clock)
    resting.failed(ModelBusy(retry_after=30.0))
    error = (await listen(Pool(CARD, [Member(picky, "a", clock=clock), resting]))).error
    assert isinstance(error, ModelBusy) and error.retry_after == 30.0


def _remade(endpoint: Endpoint, model: Model) -> Pool:
    return Pool(model.card, [Member.at(endpoint, model)])


async def test_a_pool_that_is_made_anew_goes_on_with_what_was_known_of_its_endpoints() -> None:
    endpoint = Endpoint(url="https://a/v1/chat/completions", key="k")
    before = _remade(endpoint, _fails(ModelBusy(retry_after=30.0)))
    await listen(before)
    after = _remade(replace(endpoint, weight=2.0), ScriptedModel("x", card=replace(CARD, name="Renamed")))
    (member,) = after.members
    assert (member.failures, member.weight, member.must_not_be_asked) == (1, 2.0, True)
    assert (await listen(after)).error is not None  # told to wait, as before
    others = (replace(endpoint, key="another"), replace(endpoint, url="https://b/v1/chat/completions"))
    assert [_remade(other, _answers()).members[0].failures for other in others] == [0, 0]


async def test_calls_that_a_former_pool_still_makes_take_room_in_the_new_one_and_give_it_back() -> None:
    endpoint = Endpoint(url="https://c/v1/chat/completions", max_concurrent=1)
    gated = _Gated()
    former = _remade(endpoint, gated)
    async with asyncio.timeout(BEFORE_TIMEOUT), asyncio.TaskGroup() as group:
        group.create_task(listen(former))
        await gated.entered.wait()
        later = group.create_task(listen(_remade(endpoint, _answers("later"))))
        await _turns()
        assert not later.done()
        gated.gate.set()
    assert later.result().text == "later "


async def test_no_more_at_once_than_allowed_and_all_are_served() -> None:
    gates = [_Gated(), _Gated()]
    limited = Pool(CARD, [Member(gates[0], "a", max_concurrent=2), Member(gates[1], "b", max_concurrent=3)])
    async with asyncio.timeout(BEFORE_TIMEOUT), asyncio.TaskGroup() as group:
        calls = [group.create_task(listen(limited)) for _ in range(40)]
        await _turns()
        assert [gated.inside for gated in gates] == [2, 3]
        for gated in gates:
            gated.gate.set()
    assert [call.result().error for call in calls] == [None] * 40
    assert [gated.most for gated in gates] == [2, 3]
    assert [member.in_flight for member in limited.members] == [0, 0]


async def test_an_endpoint_that_was_told_to_wait_during_the_pause_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    gated = _Gated(errors=[error := ModelFailed()], silent=True)
    gated.gate.set()
    member = Member(gated, "a")

    def told_meanwhile(*bounds: float) -> float:
        member.failed(ModelBusy(retry_after=30.0))
        return 0.0

    monkeypatch.setattr(random, "uniform", told_meanwhile)
    assert (await listen(Pool(CARD, [member]))).error is error
    assert gated.calls == 1


async def test_no_room_for_long_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "ROOM_SECONDS", 0.02)
    gated = _Gated()
    full = Pool(CARD, [Member(gated, "a", max_concurrent=1)])
    async with asyncio.timeout(BEFORE_TIMEOUT), asyncio.TaskGroup() as group:
        group.create_task(listen(full))
        await gated.entered.wait()
        assert isinstance((await listen(full)).error, ModelBusy)
        assert gated.calls == 1
        gated.gate.set()


async def test_a_rest_that_ends_makes_room_too() -> None:
    """The clock is the real one here: who waits for room has to wake up by himself."""
    gated = _Gated()
    rested = Member(_answers("rested"), "b")
    both = Pool(CARD, [Member(gated, "a", max_concurrent=1), rested])
    rested.failed(ModelBusy(retry_after=0.05))
    async with asyncio.timeout(BEFORE_TIMEOUT), asyncio.TaskGroup() as group:
        group.create_task(listen(both))
        await gated.entered.wait()
        assert (await listen(both)).text == "rested "
        gated.gate.set()


async def test_a_cancelled_call_frees_its_room_for_who_waits() -> None:
    gated = _Gated()
    member = Member(gated, "a", max_concurrent=1)
    one = Pool(CARD, [member])
    async with asyncio.timeout(BEFORE_TIMEOUT), asyncio.TaskGroup() as group:
        first = group.create_task(listen(one))
        await gated.entered.wait()
        waiting = [group.create_task(listen(one)) for _ in range(3)]
        await _turns()
        waiting[0].cancel()  # one who waits goes away too
        first.cancel()
        await _turns()
        assert (gated.calls, member.in_flight) == (2, 1)
        gated.gate.set()
    assert first.cancelled() and waiting[0].cancelled()
    assert [call.result().error for call in waiting[1:]] == [None, None]
    assert (member.in_flight, member.failures) == (0, 0)


async def test_leaving_early_closes_the_endpoints_stream() -> None:
    slow = SlowModel(pause=0.0)
    member = Member(slow, "a")
    async with aclosing(Pool(CARD, [member]).stream(ask())) as events:
        assert isinstance(await anext(events), AnsweredBy)
        assert await anext(events) == TextDelta("a ")
        assert (slow.closed, member.in_flight) == (False, 1)
    assert (slow.closed, member.in_flight, member.state) == (True, 0, "ready")


Outcome = tuple[str, int]
OUTCOMES = st.tuples(
    st.sampled_from(["answer", "fail", "break", "busy", "refuse", "cancel", "leave"]), st.integers(0, 3)
)


@dataclass
class _Weather:
    """Each call takes the next outcome and a few turns of the loop."""

    outcomes: list[Outcome]
    card: ModelCard = CARD
    inside: int = 0
    most: int = 0

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Event, None]:
        outcome, turns = self.outcomes.pop() if self.outcomes else ("answer", 0)
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            await _turns(turns)
            if outcome == "fail":
                raise ModelFailed
            if outcome == "busy":
                raise ModelBusy(retry_after=0.001)
            if outcome == "refuse":
                raise ModelRefused
            yield TextDelta("x")
            await _turns(turns)
            if outcome == "break":
                raise ModelTimedOut
            yield Finished()
        finally:
            self.inside -= 1


async def test_those_who_pause_before_another_attempt_keep_to_the_limit_too() -> None:
    weather = _Weather([("answer", 3)] * 12 + [("fail", 3)] * 3)
    member = Member(weather, "a", max_concurrent=1)
    one = Pool(CARD, [member])
    async with asyncio.timeout(BEFORE_TIMEOUT), asyncio.TaskGroup() as group:
        calls = [group.create_task(listen(one)) for _ in range(6)]
    assert [call.result().error for call in calls] == [None] * 6
    assert (weather.most, member.in_flight) == (1, 0)


async def _caller(model: Pool, how: str, turns: int) -> None:
    if how == "leave":
        async with aclosing(model.stream(ask())) as events:
            try:
                await anext(events)
            except ModelFailed:
                return
    elif how == "cancel":
        task = asyncio.ensure_future(listen(model))
        await _turns(turns)
        task.cancel()
        await asyncio.wait([task])
    else:
        await listen(model)


@given(
    limits=st.lists(st.integers(1, 3), min_size=1, max_size=3),
    outcomes=st.lists(OUTCOMES, max_size=40),
    callers=st.lists(OUTCOMES, min_size=1, max_size=15),
)
def test_whatever_happens_the_room_is_kept_and_given_back(
    limits: Sequence[int], outcomes: list[Outcome], callers: Sequence[Outcome]
) -> None:
    weathers = [_Weather(outcomes[number :: len(limits)]) for number in range(len(limits))]
    members = [
        Member(weather, str(number), max_concurrent=limit)
        for number, (weather, limit) in enumerate(zip(weathers, limits, strict=True))
    ]

    async def storm() -> None:
        model = Pool(CARD, members)
        async with asyncio.timeout(BEFORE_TIMEOUT), asyncio.TaskGroup() as group:
            for how, turns in callers:
                group.create_task(_caller(model, how, turns))

    asyncio.run(storm())
    assert [(member.in_flight, weather.inside) for member, weather in zip(members, weathers, strict=True)] == [
        (0, 0)
    ] * len(limits)
    assert all(weather.most <= limit for weather, limit in zip(weathers, limits, strict=True))


def _card(model_id: str) -> ModelCard:
    return ModelCard(id=model_id, name=model_id.upper(), provider="compatible")


async def test_the_next_model_answers_and_says_so() -> None:
    first = FailingModel(ModelUnreachable(), card=_card("a"))
    second = FailingModel(ModelBusy(), card=_card("b"))
    third = ScriptedModel("c", card=_card("c"))
    model = Fallback([first, second, third])
    assert model.card.id == "a"
    told = await listen(model)
    assert (told.error, told.text) == (None, "c ")
    said = [event for event in told.events if isinstance(event, Status)]
    assert [status.message for status in said] == [
        "A does not answer at the moment; B does.",
        "B does not answer at the moment; C does.",
    ]
    assert told.events[:2] == said and told.events[-1] == Finished()
    assert Counter(status.id for status in said).most_common(1)[0][1] == 1


async def test_the_last_models_error_is_raised() -> None:
    errors = [ModelUnreachable(), ModelBusy(retry_after=3.0)]
    models = [FailingModel(error, card=_card(str(number))) for number, error in enumerate(errors)]
    assert (await listen(Fallback(models))).error is errors[-1]
    assert [model.calls for model in models] == [1, 1]


@pytest.mark.parametrize(
    "first",
    [
        FailingModel(ModelTimedOut(), words=["half "], card=_card("a")),
        FailingModel(ModelRefused(), card=_card("a")),
    ],
    ids=["begun", "refused"],
)
async def test_no_other_model_answers_what_has_begun_or_was_refused(first: FailingModel) -> None:
    second = FailingModel(ModelFailed(), card=_card("b"))
    told = await listen(Fallback([first, second]))
    assert told.error is not None and second.calls == 0
    assert not any(isinstance(event, Status) for event in told.events)


async def test_leaving_early_closes_the_model_that_answers() -> None:
    slow = SlowModel(pause=0.0)
    async with aclosing(Fallback([_fails(), slow]).stream(ask())) as events:
        assert isinstance(await anext(events), Status)
        assert await anext(events) == TextDelta("a ")
    assert slow.closed


def test_one_short_trouble_does_not_open_the_circuit_however_many_calls_it_meets(clock: _Clock) -> None:
    member = Member(_answers(), "a", clock=clock)
    for _ in range(50):
        member.failed(ModelFailed())
    assert (member.failures, member.failures_in_a_row, member.state) == (50, 1, "resting")
    clock.now += member.rest + 0.01
    assert member.state == "ready"


async def test_a_stand_in_that_cannot_take_the_request_does_not_hide_why_it_was_asked() -> None:
    refuses = FailingModel(BadRequest("one tool call at a time"))  # type: ignore[arg-type]
    told = await listen(Fallback([FailingModel(ModelBusy(retry_after=7)), refuses]))
    assert told.error is not None and told.error.code == "model_busy" and told.error.retry_after == 7
