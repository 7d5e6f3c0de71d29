"""Spans: what a model's calls leave, and that the far end's trouble is nobody's."""

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator, Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from accounts.api.asgi import Message as Part
from accounts.api.asgi import Receive, Scope, Send
from amplify_chat import tracing as sdk
from amplify_chat.traced_django import TracedDjango
from core import tracing
from core.errors import ModelUnreachable
from llm.events import Event, Finished, TextDelta, Usage, UsageReported
from llm.messages import Message, ModelRequest
from llm.model import ModelCard
from llm.pool import Member, Pool
from llm.traced import Attempt, Traced

CANARY = "canary-vendor-words"
CARD = ModelCard(id="gpt-x", name="X", provider="azure")
REQUEST = ModelRequest(messages=(Message.of("user", CANARY),))


class Answering:
    card = CARD

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Event, None]:
        yield TextDelta(CANARY)
        yield UsageReported(Usage(input=3, cache_read=4, output=5, reasoning=2))
        yield Finished("length")


class Failing:
    card = CARD

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Event, None]:
        raise ModelUnreachable(CANARY)
        yield


@pytest.fixture
def memory() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    tracing.use(sdk.Tracing(exporter))
    yield exporter
    tracing.use(None)


async def finished(memory: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    await tracing._tools.aclose()
    return {str((span.attributes or {}).get("server.address", span.name)): span for span in memory.get_finished_spans()}


async def read(model: Traced) -> list[Event]:
    return [event async for event in model.stream(REQUEST)]


async def test_a_call_says_who_was_asked_and_what_it_used(memory: InMemorySpanExporter) -> None:
    await read(Traced(Answering()))
    span = (await finished(memory))["chat gpt-x"]
    attributes = dict(span.attributes or {})
    assert 0 <= attributes.pop("gen_ai.response.time_to_first_chunk") < 5
    assert attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "gpt-x",
        "gen_ai.provider.name": "azure.ai.openai",
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.usage.cache_read.input_tokens": 4,
        "gen_ai.usage.cache_creation.input_tokens": 0,
        "gen_ai.usage.output_tokens": 5,
        "gen_ai.usage.reasoning.output_tokens": 2,
        "gen_ai.response.finish_reasons": ("length",),
    }
    assert CANARY not in span.to_json()


async def test_a_failover_shows_both_attempts_below_the_call(memory: InMemorySpanExporter) -> None:
    # The first is much the likelier to be asked first, whatever the draw: the second has next to no weight.
    members = [
        Member(Attempt(Failing(), "a:1"), "a:1", weight=1.0),
        Member(Attempt(Answering(), "b:2"), "b:2", weight=1e-12),
    ]
    await read(Traced(Pool(CARD, members)))
    spans = await finished(memory)
    call = spans["chat gpt-x"]
    for name in ("a:1", "b:2"):
        parent = spans[name].parent
        assert parent is not None and call.context is not None and parent.span_id == call.context.span_id
    assert (spans["a:1"].attributes or {})["error.type"] == "model_unreachable"
    assert "error.type" not in (spans["b:2"].attributes or {}) and call.status.is_ok
    assert not any(CANARY in span.to_json() for span in spans.values())


async def test_a_failure_has_our_code_and_no_vendors_words(memory: InMemorySpanExporter) -> None:
    with pytest.raises(ModelUnreachable):
        await read(Traced(Failing()))
    span = (await finished(memory))["chat gpt-x"]
    assert (span.attributes or {})["error.type"] == "model_unreachable"
    assert not span.status.is_ok and CANARY not in span.to_json()


async def test_who_reads_an_answer_is_not_inside_its_span(memory: InMemorySpanExporter) -> None:
    async for _ in Traced(Answering()).stream(REQUEST):
        assert tracing.trace_id() == ""


async def test_an_answer_is_over_with_its_last_byte_and_not_with_what_django_does_then(
    memory: InMemorySpanExporter,
) -> None:
    sent, ended = [], []

    async def django(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        await send({"type": "http.response.body", "body": b"b"})
        ended.extend(await finished(memory))

    async def send(part: Part) -> None:
        sent.append(part)

    async def receive() -> Part:
        return {"type": "http.disconnect"}

    scope = {"type": "http", "path": "/login/", "method": "GET", "headers": []}
    await TracedDjango(django)(scope, receive, send)
    assert (len(sent), ended) == (3, ["GET /login/"])


class Hanging(SpanExporter):
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        time.sleep(60)  # a collector that never answers; in a daemon thread, nobody waits for it
        return SpanExportResult.SUCCESS


async def test_a_collector_that_hangs_holds_up_no_exit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sdk, "CLOSE_SECONDS", 0.2)
    tools = sdk.Tracing(Hanging())
    tracing.use(tools)
    try:
        tracing.start("something").end()
        async with asyncio.timeout(5):
            await tools.aclose()
    finally:
        tracing.use(None)


async def test_off_there_is_nothing() -> None:
    assert [type(event) for event in await read(Traced(Answering()))] == [TextDelta, UsageReported, Finished]
    assert tracing.trace_id() == "" and not tracing.is_on()
