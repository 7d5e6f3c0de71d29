"""A Model whose every call leaves exactly one row in the ledger."""

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import structlog

from accounts.principal import Principal
from core.errors import AmplifyError
from core.ids import new_uuid
from llm.events import Event, Finished, ReasoningDelta, TextDelta, ToolCallDelta, Usage, UsageReported
from llm.messages import ModelRequest
from llm.model import Model, ModelCard, WrappedModel
from llm.tokens import estimate_bytes, estimate_text, request_tokens
from usage.ledger import Ledger
from usage.models import Outcome, UsageRecord
from usage.prices import PRICES, Cost, cost_of

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Meter:
    """On whose behalf a model is called, and where that is written down."""

    ledger: Ledger
    principal: Principal
    run_id: str
    request_id: str
    why_stopped: Callable[[], Outcome]
    """Asked when a call is left early: only the run knows whether it was killed, abandoned or out of time."""
    spent: Callable[[Usage], None]
    """Told what each call used, as it is booked."""
    assistant: Callable[[], str] = str
    """Asked as a call is booked: which assistant made it."""
    purpose: str = "answer"


@dataclass(slots=True)
class _Call:
    """What is known of a call so far."""

    started: float = field(default_factory=time.monotonic)
    asked: bool = False
    """The model was asked; a run may be stopped before that."""
    first_token: float | None = None
    usage: Usage | None = None
    deltas: int = 0
    output_bytes: int = 0

    def see(self, text: str) -> None:
        if self.first_token is None:
            self.first_token = time.monotonic()
        self.deltas += 1
        self.output_bytes += len(text.encode("utf-8", "surrogatepass"))

    def settled(self, card: ModelCard, request: ModelRequest, outcome: Outcome) -> Usage:
        """What the vendor said; else our estimate of what it will charge for."""
        if self.usage is not None and outcome is Outcome.FINISHED:
            return self.usage
        # Most vendors send a delta a token, so that there are at least as many tokens as deltas.
        output = max(self.deltas, estimate_bytes(self.output_bytes))
        if self.usage is not None:
            # The input is told at the start; what was said until the call broke off, nobody told.
            return replace(self.usage, output=max(self.usage.output, output), estimated=True)
        if not self.asked or (outcome is Outcome.FAILED and not self.deltas):
            return Usage(estimated=True)
        return Usage(input=_estimated_input(card, request), output=output, estimated=True)


def _estimated_input(card: ModelCard, request: ModelRequest) -> int:
    """A conversation that is too long is cut before it is sent: never more than the model can read."""
    tokens = request_tokens(request, estimate_text)
    return tokens if card.context_window is None else min(tokens, card.context_window)


class Metered(WrappedModel):
    """Books the call before Finished goes on, and also when it fails or is left early.

    Yields UsageReported once, right before Finished: what the vendor said last, else an estimate marked so.
    """

    def __init__(self, inner: Model, meter: Meter) -> None:
        super().__init__(inner)
        self._meter = meter

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Event, None]:
        call = _Call()
        booked = False
        outcome, error_code = None, ""
        try:
            await PRICES.refresh()
            call.asked = True
            async with aclosing(self.inner.stream(request)) as events:
                async for event in events:
                    match event:
                        case TextDelta(text) | ReasoningDelta(text):
                            call.see(text)
                        case ToolCallDelta():
                            call.see(event.arguments)
                        case UsageReported(usage):
                            call.usage = usage.plausible()
                            continue
                        case Finished():
                            usage, booked = call.settled(self.card, request, Outcome.FINISHED), True
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
                stopped = outcome or self._meter.why_stopped()
                await self._book(call, call.settled(self.card, request, stopped), stopped, error_code)

    async def _book(self, call: _Call, usage: Usage, outcome: Outcome, error_code: str) -> None:
        meter, card = self._meter, self.card
        meter.spent(usage)
        cost = _cost(card, usage)
        duration = time.monotonic() - call.started
        now = datetime.now(UTC)
        await meter.ledger.record(
            UsageRecord(
                call_id=new_uuid(),
                run_id=meter.run_id,
                request_id=meter.request_id,
                user_id=meter.principal.user_id,
                account_id=meter.principal.account_id,
                api_key_id=meter.principal.api_key_id or "",
                purpose=meter.purpose,
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
                duration_ms=round(duration * 1000),
                outcome=outcome,
                error_code=error_code,
                started_at=now - timedelta(seconds=duration),
                ended_at=now,
            )
        )


def _cost(card: ModelCard, usage: Usage) -> Cost:
    """A price list that trips must not cost the row: it is booked without a price, which the admin shows."""
    try:
        return cost_of(card, usage)
    except Exception:
        log.exception("price_failed", model=card.id)
        return Cost(0, "")


def _milliseconds(start: float, end: float | None) -> int | None:
    return None if end is None else round((end - start) * 1000)
