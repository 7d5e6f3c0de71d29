"""Models with a span around each call, named after OpenTelemetry's conventions for generative AI
(https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/). Wrapped around others only while traces are on."""

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from core.tracing import Span, Value, code_of, start
from llm.events import AnsweredBy, Event, Finished, Status, TextDelta, Usage, UsageReported
from llm.messages import ModelRequest
from llm.model import Model, WrappedModel

# As the conventions call them; others go by our name.
_PROVIDERS = {"azure": "azure.ai.openai", "bedrock": "aws.bedrock", "gemini": "gcp.gemini"}


class Traced(WrappedModel):
    """One span a call: who was asked, who answered, tokens, seconds to the first piece, how it ended."""

    has_children = True
    """Whether spans begin inside."""

    def name(self) -> str:
        return f"chat {self.card.id}"

    def attributes(self) -> Mapping[str, Value]:
        return {"gen_ai.operation.name": "chat", "gen_ai.request.model": self.card.id, **_provider(self.card.provider)}

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Event, None]:
        begun, first = time.monotonic(), True
        span = start(self.name(), self.attributes(), kind="client")
        try:
            async with aclosing(self.inner.stream(request)) as events:
                # Children begin before the first piece: after it nobody else is asked. Step by step, as the reader of
                # this generator must not run inside the span; and no longer than needed, as a step costs microseconds.
                while first and self.has_children:
                    with span.current():
                        event = await anext(events, None)
                    if event is None:
                        return
                    first = not self._saw(span, event, begun)
                    yield event
                async for event in events:
                    if first:
                        first = not self._saw(span, event, begun)
                    elif not isinstance(event, TextDelta):
                        _note(span, event)
                    yield event
        except (asyncio.CancelledError, GeneratorExit):
            span.set({"amplify.stopped": True})
            raise
        except Exception as error:
            span.fail(code_of(error))
            raise
        finally:
            span.end()

    def _saw(self, span: Span, event: Event, begun: float) -> bool:
        """Note an event, and whether it is the first piece of an answer."""
        _note(span, event)
        if isinstance(event, AnsweredBy | Status):
            return False
        span.set({"gen_ai.response.time_to_first_chunk": time.monotonic() - begun})
        return True


class Attempt(Traced):
    """The same for one call to one endpoint of a pool."""

    has_children = False

    def __init__(self, inner: Model, endpoint: str) -> None:
        super().__init__(inner)
        self._endpoint = endpoint

    def name(self) -> str:
        return "attempt"

    def attributes(self) -> Mapping[str, Value]:
        asked = {"server.address": self._endpoint, "gen_ai.request.model": self.card.wire_id}
        return {**asked, **_provider(self.card.provider)}


def _provider(name: str) -> Mapping[str, Value]:
    return {"gen_ai.provider.name": _PROVIDERS.get(name, name)}


def _note(span: Span, event: Event) -> None:
    match event:
        case AnsweredBy():
            span.set({"gen_ai.response.model": event.model_id, **_provider(event.provider)})
        case UsageReported(usage):
            span.set(_tokens(usage))
        case Finished(reason):
            span.set({"gen_ai.response.finish_reasons": [reason]})
        case _:
            pass


def _tokens(usage: Usage) -> Mapping[str, Value]:
    """In the conventions, input is all of it, cached or not."""
    return {
        "gen_ai.usage.input_tokens": usage.input + usage.cache_read + usage.cache_write,
        "gen_ai.usage.cache_read.input_tokens": usage.cache_read,
        "gen_ai.usage.cache_creation.input_tokens": usage.cache_write,
        "gen_ai.usage.output_tokens": usage.output,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning,
    }
