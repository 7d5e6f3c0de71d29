"""Doubles for tests of whatever talks to a Model, and the contracts that every vendor's reader and Model keep.

A vendor's tests subclass `ReaderContract` with a recorded answer, and `ModelContract` with how a model is made that
answers by a script (`bench.upstream.plan` has the scripts' language), under names that pytest collects.
"""

import asyncio
import json
import random
import time
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from core.errors import ModelFailed
from llm.events import Event, Finished, TextDelta, ToolCallDelta, Usage, UsageReported
from llm.messages import Message, ModelRequest, Tool
from llm.model import Model, ModelCard
from llm.scripted import ScriptedModel
from llm.vendor import StreamReader

__all__ = [
    "FailingModel",
    "LoopTicks",
    "ModelContract",
    "ReaderContract",
    "ScriptedModel",
    "SlowModel",
    "Told",
    "ask",
    "listen",
    "read",
]

CARD = ModelCard(id="double", name="A double", provider="compatible")


class SlowModel:
    """Says one word after another, with a pause before each (seconds)."""

    def __init__(self, words: Sequence[str] = ("a ", "b "), *, pause: float = 0.05, card: ModelCard = CARD) -> None:
        self.card = card
        self.closed = False
        self._words = words
        self._pause = pause

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Event, None]:
        try:
            for word in self._words:
                await asyncio.sleep(self._pause)
                yield TextDelta(word)
            yield UsageReported(Usage(input=1, output=len(self._words)))
            yield Finished()
        finally:
            self.closed = True


class FailingModel:
    """Fails with `error`, the first `times` calls (None: all), after it has said `words`; then it answers."""

    def __init__(
        self, error: ModelFailed, *, words: Sequence[str] = (), times: int | None = None, card: ModelCard = CARD
    ) -> None:
        self.card = card
        self.calls = 0
        self._error = error
        self._words = words
        self._times = times

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Event, None]:
        self.calls += 1
        for word in self._words:
            yield TextDelta(word)
        if self._times is None or self.calls <= self._times:
            raise self._error
        yield TextDelta("answered")
        yield UsageReported(Usage(input=1, output=1))
        yield Finished()


class LoopTicks:
    """Counts, for as long as its block lasts, how often the loop comes round: while the loop is held, not at all."""

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> "LoopTicks":
        self._ticking = asyncio.get_running_loop().create_task(self._tick())
        return self

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(0)
            self.count += 1

    def __exit__(self, *_: object) -> None:
        self._ticking.cancel()


@dataclass(slots=True)
class Told:
    """Everything that one answer consisted of, up to its end or its error."""

    events: list[Event] = field(default_factory=list)
    error: ModelFailed | None = None

    @property
    def text(self) -> str:
        return "".join(event.text for event in self.events if isinstance(event, TextDelta))

    @property
    def usage(self) -> Usage | None:
        reported = [event.usage for event in self.events if isinstance(event, UsageReported)]
        return reported[-1] if reported else None

    @property
    def finished(self) -> list[Finished]:
        return [event for event in self.events if isinstance(event, Finished)]

    def tool_calls(self) -> list[tuple[str, str]]:
        """Names and arguments, put together from their pieces."""
        calls: dict[int, tuple[str, str]] = {}
        for event in self.events:
            if isinstance(event, ToolCallDelta):
                name, arguments = calls.get(event.index, ("", ""))
                calls[event.index] = (name + (event.name or ""), arguments + event.arguments)
        return [calls[index] for index in sorted(calls)]


def ask(text: str = "hi", *, tools: Sequence[Tool] = ()) -> ModelRequest:
    return ModelRequest(messages=(Message.of("user", text),), tools=tuple(tools), max_output_tokens=100)


async def listen(model: Model, request: ModelRequest | None = None) -> Told:
    """The whole answer; a failure of the model is kept, anything else is raised."""
    told = Told()
    try:
        async with aclosing(model.stream(request or ask())) as events:
            async for event in events:
                told.events.append(event)
    except ModelFailed as error:
        told.error = error
    return told


def read(reader: StreamReader, pieces: Iterable[bytes]) -> list[Event]:
    """What a reader makes of these pieces. Raises the ModelFailed that the answer ended in."""
    events = [event for piece in pieces for event in reader.feed(piece)]
    if reader.failure is not None:
        raise reader.failure
    return events


class ReaderContract:
    """What the reader of every vendor keeps, shown with one recorded answer."""

    recorded: Sequence[bytes]
    """The answer, an event a piece."""
    events: Sequence[Event]
    """What it means."""
    ending: int
    """So many of the last pieces say, or come behind, that it is finished."""

    def reader(self) -> StreamReader:
        raise NotImplementedError

    def test_whole_and_event_by_event_and_byte_by_byte(self) -> None:
        whole = b"".join(self.recorded)
        for pieces in ([whole], self.recorded, [bytes([byte]) for byte in whole]):
            assert read(self.reader(), pieces) == list(self.events)

    def test_cut_anywhere(self) -> None:
        whole = b"".join(self.recorded)
        for place in range(len(whole)):
            assert read(self.reader(), [whole[:place], whole[place:]]) == list(self.events), place

    def test_cut_in_many_places(self) -> None:
        whole = b"".join(self.recorded)
        for seed in range(100):
            # The same places in every run, which the seed in the message tells of.
            places = sorted(random.Random(seed).choices(range(len(whole)), k=seed % 12))  # noqa: S311
            pieces = [whole[a:b] for a, b in zip([0, *places], [*places, len(whole)], strict=True)]
            assert read(self.reader(), pieces) == list(self.events), seed

    def test_broken_off_it_is_never_finished(self) -> None:
        unfinished = b"".join(self.recorded[: -self.ending])
        for length in range(len(unfinished)):
            told = read(self.reader(), [unfinished[:length]])
            assert not any(isinstance(event, Finished) for event in told), length

    def test_it_is_done_with_the_last_piece(self) -> None:
        reader = self.reader()
        read(reader, self.recorded[:-1])
        assert not reader.done
        read(reader, self.recorded[-1:])
        assert reader.done == self.says_when_it_is_done

    says_when_it_is_done: bool = True
    """False for vendors whose streams just end."""


HARMLESS = ("utf8", "two-in-one", "split", "slow-headers")
"""Ways in which a network cuts an answer up."""

LOOKUP = Tool(name="lookup", parameters={"type": "object", "properties": {"query": {"type": "string"}}})


class ModelContract:
    """What every Model of a vendor keeps."""

    def model(self, script: str) -> Model:
        """A model that answers by the script, such as `tokens=5+gap=20`."""
        raise NotImplementedError

    async def hung_up(self, script: str) -> bool:
        """Whether the caller of the last call by this script hung up on its vendor."""
        raise NotImplementedError

    async def test_the_first_event_comes_before_the_last_is_sent(self) -> None:
        started = time.monotonic()
        first = None
        async with aclosing(self.model("tokens=10+gap=50+text=plain").stream(ask())) as events:
            async for event in events:
                if first is None and isinstance(event, TextDelta):
                    first = time.monotonic() - started
        assert first is not None and first < (time.monotonic() - started) / 2

    async def test_finished_comes_once_and_last_and_usage_before_it(self) -> None:
        told = await listen(self.model("tokens=4+text=plain+in=9+out=4"))
        assert told.error is None
        assert told.finished == [told.events[-1]] == [Finished("stop")]
        assert told.usage is not None and (told.usage.input, told.usage.output) == (9, 4)

    async def test_the_text_is_whole_however_it_is_cut(self) -> None:
        whole = await listen(self.model("tokens=6+text=emoji"))
        assert any(ord(character) > 0xFFFF for character in whole.text)  # noqa: PLR2004 - beyond the first plane
        for fault in HARMLESS:
            told = await listen(self.model(f"tokens=6+text=emoji+headers=20+fault={fault}"))
            assert (told.error, told.text, told.finished) == (None, whole.text, [Finished("stop")]), fault

    async def test_leaving_early_closes_the_vendors_stream(self) -> None:
        script = "tokens=500+gap=20+text=plain"
        async with aclosing(self.model(script).stream(ask())) as events:
            async for event in events:
                if isinstance(event, TextDelta):
                    break
        assert await self.hung_up(script)

    async def test_token_classes_are_disjoint(self) -> None:
        told = await listen(self.model("tokens=5+in=1000+cached=400+out=70+reasoning=20"))
        assert told.usage is not None
        usage = told.usage
        assert (usage.input, usage.cache_read, usage.output) == (600, 400, 70)
        assert usage.raw and not usage.estimated

    async def test_a_tool_is_called(self) -> None:
        told = await listen(self.model("tokens=2+fault=tools"), ask(tools=[LOOKUP]))
        assert told.error is None and told.finished == [Finished("tool_calls")]
        assert [(name, json.loads(arguments)) for name, arguments in told.tool_calls()] == [
            ("lookup", {"query": "mock"})
        ]

    async def test_reasons_to_end(self) -> None:
        for fault, reason in (("length", "length"), ("content-filter", "content_filter")):
            told = await listen(self.model(f"tokens=3+text=plain+fault={fault}"))
            assert told.error is None and [event.reason for event in told.finished] == [reason], fault

    async def test_refusals_are_told_apart(self) -> None:
        codes = {
            "400": "model_refused", "401": "model_rejected_key", "429": "model_busy", "500": "model_failed",
            "503": "model_timed_out", "overflow": "context_overflow",
        }  # fmt: skip
        for fault, code in codes.items():
            told = await listen(self.model(f"retry_after=7+fault={fault}"))
            assert told.error is not None and told.error.code == code, fault
            assert not told.events
            assert told.error.retry_after == (7 if fault in ("429", "503") else None), fault

    async def test_a_broken_stream_is_never_complete(self) -> None:
        for fault in ("cut", "close", "garbage", "error-event", "half-silent", "silent", "mute", "html"):
            told = await listen(self.model(f"tokens=8+at=4+text=plain+fault={fault}"))
            assert told.error is not None and not told.finished, fault
            assert "w0 w1 w2 w3 w4 w5 w6 w7 ".startswith(told.text), fault

    async def test_two_hundred_at_once_take_little_longer_than_one(self) -> None:
        """`bench.providers` measures by how little, and how late the loop is meanwhile."""
        model = self.model("tokens=25+gap=20+text=plain")
        started = time.monotonic()
        await listen(model)
        one = time.monotonic() - started
        told = await asyncio.gather(*(listen(model) for _ in range(200)))
        took = time.monotonic() - started - one
        assert all(answer.error is None and len(answer.text.split()) == 25 for answer in told)  # noqa: PLR2004
        assert took < 5 * one  # were they answered one after the other, 200 times
