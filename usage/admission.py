"""Let a run begin, or say why not: rate limits first, which cost nothing, then every limit on spending."""

from collections.abc import Sequence
from datetime import datetime

from accounts.limits import SpendLimit
from accounts.principal import Principal
from core.ids import new_run_id, new_uuid
from llm.events import Usage
from llm.messages import ModelRequest
from llm.model import ModelCard
from usage import group_sets
from usage.books import Books
from usage.budgets import BudgetBook
from usage.estimates import expected_cost, expected_usage
from usage.limits import Line
from usage.models import Reservation
from usage.prices import PRICES
from usage.rate_limits import RateLimiter, Slot


class Admission:
    """What a run was admitted with. Ends with the run, whatever becomes of it."""

    def __init__(
        self, books: Books, principal: Principal, lines: Sequence[Line], slot: Slot, *, request_id: str
    ) -> None:
        self.books = books
        self.principal = principal
        self.request_id = request_id
        self.run_id = new_run_id()
        self._lines = lines
        self._slot = slot
        self._first: Reservation | None = None

    async def begin(self, card: ModelCard, request: ModelRequest) -> None:
        """Reserve for its first call, so that a refusal is known before anything is answered."""
        self._first = await self._reserve(card, request, "answer")

    async def reserve(self, card: ModelCard, request: ModelRequest, purpose: str) -> Reservation:
        """Reserve for a call of this run. Raises BudgetExceeded, Unavailable."""
        first, self._first = self._first, None
        if first is not None and (first.model_id, first.purpose) == (card.id, purpose):
            return first
        if first is not None:
            self._give_back(first)
        return await self._reserve(card, request, purpose)

    def used(self, reservation: Reservation, usage: Usage) -> None:
        """A call has ended: correct what was reckoned with."""
        total = usage.input + usage.cache_read + usage.cache_write + usage.output
        self._slot.use(total - reservation.input_tokens - reservation.output_tokens)

    def end(self) -> None:
        """The run has ended: what it has not used is free again."""
        first, self._first = self._first, None
        if first is not None:
            self._give_back(first)
        self._slot.end()

    def _give_back(self, reservation: Reservation) -> None:
        self.books.release(reservation.call_id)
        self.used(reservation, Usage())

    async def _reserve(self, card: ModelCard, request: ModelRequest, purpose: str) -> Reservation:
        await PRICES.refresh()
        usage = expected_usage(card, request)
        held = self._reservation(card, usage, purpose, self.books.clock())
        await self.books.reserve(held, self._lines)
        self._slot.use(usage.input + usage.output)
        return held

    def _reservation(self, card: ModelCard, usage: Usage, purpose: str, now: datetime) -> Reservation:
        cost, principal = expected_cost(card, usage), self.principal
        return Reservation(
            call_id=new_uuid(),
            run_id=self.run_id,
            request_id=self.request_id,
            user_id=principal.user_id,
            account_id=principal.account_id,
            api_key_id=principal.api_key_id or "",
            group_set=group_sets.name_of(principal.groups),
            purpose=purpose,
            model_id=card.id,
            provider=card.provider,
            input_tokens=usage.input,
            output_tokens=usage.output,
            micro_dollars=cost.micro_dollars,
            price_version=cost.price_version,
            reserved_at=now,
        )


class Admissions:
    """Built once, in `amplify_chat.wiring`."""

    def __init__(self, books: Books, budgets: BudgetBook, rates: RateLimiter) -> None:
        self.books = books
        self._budgets = budgets
        self._rates = rates

    async def admit(
        self,
        principal: Principal,
        card: ModelCard,
        request: ModelRequest,
        *,
        request_id: str,
        tighter: SpendLimit | None = None,
    ) -> Admission:
        """Let a run of this caller begin with a call of this model; `tighter` is a limit that the request itself sets.

        Raises TooManyRequests, BudgetExceeded; Unavailable when nobody can tell. Call `end` when the run has ended.
        """
        slot = await self._rates.begin(principal)
        try:
            lines = await self._budgets.lines_for(principal, tighter=tighter)
            admission = Admission(self.books, principal, lines, slot, request_id=request_id)
            await admission.begin(card, request)
        except BaseException:
            slot.end()
            raise
        return admission
