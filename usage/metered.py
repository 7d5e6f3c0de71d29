"""A Model whose every call leaves exactly one row in the ledger."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from io import StringIO

from core.aio import TaskSet
from core.errors import AmplifyError
from llm.events import (
    AnsweredBy,
    Event,
    Finished,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
    Usage,
    UsageReported,
)
from llm.messages import ModelRequest
from llm.model import Model, ModelCard, WrappedModel
from llm.tokens import count_answer, count_request
from usage import figures
from usage.admission import Admission
from usage.estimates import cost_or_nothing
from usage.models import Outcome, Purpose, Reservation, UsageRecord

_bookings = TaskSet()


@dataclass(frozen=True, slots=True, kw_only=True)
class Meter:
    """On whose behalf a model is called, and where that is written down."""

    admission: Admission
    why_stopped: Callable[[], Outcome]
    """Asked when a call is left early: only the run knows whether it was killed, abandoned or out of time."""
    spent: Callable[[Usage], None]
    """Told what each call used, as it is booked."""
    assistant: Callable[[], str] = str
    """Asked as a call is booked: which assistant made it."""
    purpose: Purpose = Purpose.ANSWER


@dataclass(slots=True)
class _Call:
    """What is known of a call so far."""

    reservation: Reservation
    """What it becomes a row of."""
    card: ModelCard
    """Of who answers, as soon as that is known: a pool's endpoints may belong to several vendors."""
    started: float = field(default_factory=time.monotonic)
    first_token: float | None = None
    usage: Usage | None = None
    deltas: int = 0
    answer: StringIO = field(default_factory=StringIO)
    """All that was said: as one text, since thousands of small ones would take ten times as much memory."""

    def see(self, text: str) -> None:
        if self.first_token is None:
            self.first_token = time.monotonic()
        self.deltas += 1
        self.answer.write(text)

    def of(self, answered: AnsweredBy) -> None:
        self.card = replace(self.card, provider=answered.provider)

    async def settled(self, request: ModelRequest, outcome: Outcome) -> Usage:
        """What the vendor said; else our estimate of what it will charge for."""
        if self.usage is not None and outcome is Outcome.FINISHED:
            return self.usage
        if self.usage is None and outcome is Outcome.FAILED and not self.deltas:
            return Usage(estimated=True)
        # Most vendors send a delta a token, so that there are at least as many tokens as deltas.
        output = max(self.deltas, await count_answer(self.answer.getvalue(), card=self.card))
        if self.usage is not None:
            # The input is told at the start; what was said until the call broke off, nobody told.
            return replace(self.usage, output=max(self.usage.output, output), estimated=True)
        return Usage(input=await _estimated_input(self.card, request), output=output, estimated=True)


async def _estimated_input(card: ModelCard, request: ModelRequest) -> int:
    """A conversation that is too long is cut before it is sent: never more than the model can read."""
    tokens = await count_request(request, card=card)
    return tokens if card.context_window is None else min(tokens, card.context_window)


class Metered(WrappedModel):
    """Reserves before the call, and books it before Finished goes on, and also when it fails or is left early.

    Yields UsageReported once, right before Finished: what the vendor said last, else an estimate marked so.
    """

    def __init__(self, inner: Model, meter: Meter) -> None:
        super().__init__(inner)
        self._meter = meter

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Event, None]:
        call = _Call(await self._meter.admission.reserve(self.card, request, self._meter.purpose), self.card)
        booked = False
        outcome, error_code = None, ""
        try:
            async with aclosing(self.inner.stream(request)) as events:
                async for event in events:
                    match event:
                        case TextDelta(text) | ReasoningDelta(text) | RefusalDelta(text):
                            call.see(text)
                        case ToolCallDelta():
                            call.see(event.arguments)
                        case AnsweredBy():
                            call.of(event)
                        case UsageReported(usage):
                            call.usage = usage.plausible()
                            continue
                        case Finished():
                            usage, booked = await call.settled(request, Outcome.FINISHED), True
                            await self._book(call, usage, Outcome.FINISHED, "")
                            yield UsageReported(usage)
                        case _:
                            pass
                    yield event
        except AmplifyError as error:
            outcome, error_code = Outcome.FAILED, error.code
            raise
        except Exception as error:
            outcome, error_code = Outcome.FAILED, type(error).__name__
            raise
        finally:
            # Reached too when a run is stopped: cancellation and an early aclose() run no handler above.
            if not booked:
                settling = self._settle(call, request, outcome or self._meter.why_stopped(), error_code)
                # A task of its own: who is cancelled again while tokens are counted must not take the row along.
                await asyncio.shield(_bookings.spawn(settling, name="book"))

    async def _settle(self, call: _Call, request: ModelRequest, outcome: Outcome, error_code: str) -> None:
        await self._book(call, await call.settled(request, outcome), outcome, error_code)

    async def _book(self, call: _Call, usage: Usage, outcome: Outcome, error_code: str) -> None:
        meter, card, held = self._meter, call.card, call.reservation
        meter.spent(usage)
        meter.admission.used(held, usage)
        cost = cost_or_nothing(card, usage, now=held.reserved_at)  # of the day and month in which it counts
        record = UsageRecord(
            call_id=held.call_id,
            run_id=held.run_id,
            request_id=held.request_id,
            user_id=held.user_id,
            account_id=held.account_id,
            api_key_id=held.api_key_id,
            group_set=held.group_set,
            purpose=held.purpose,
            assistant=meter.assistant(),
            model_id=card.id,
            provider=card.provider,
            input_tokens=usage.input,
            cache_read_tokens=usage.cache_read,
            cache_write_tokens=usage.cache_write,
            output_tokens=usage.output,
            reasoning_tokens=usage.reasoning,
            estimated=usage.estimated,
            raw_usage=dict(usage.raw),
            micro_dollars=cost.micro_dollars,
            price_version=cost.price_version,
            first_token_ms=_milliseconds(call.started, call.first_token),
            duration_ms=round((time.monotonic() - call.started) * 1000),
            outcome=outcome,
            error_code=error_code,
            started_at=held.reserved_at,
            ended_at=max(held.reserved_at, meter.admission.books.clock()),
        )
        figures.observe(record)
        await meter.admission.books.settle(record)


def _milliseconds(start: float, end: float | None) -> int | None:
    return None if end is None else round((end - start) * 1000)
