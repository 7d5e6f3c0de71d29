"""Several endpoints behind one model: chosen by weight, rested after failures, the next one tried before the first
token."""

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass, field
from weakref import WeakSet, WeakValueDictionary

import structlog

from core.errors import AmplifyError, BadRequest, ModelBusy, ModelFailed
from llm.endpoints import Endpoint
from llm.events import AnsweredBy, Event, Status
from llm.messages import ModelRequest
from llm.model import Model, ModelCard

log = structlog.get_logger(__name__)

# Seconds. A rest doubles with each failure in a row.
REST_AFTER_BUSY = 5.0
REST_AFTER_FAILURE = 1.0
LONGEST_REST = 60.0
# So many failures in a row open the circuit: nobody is sent there until a rest is over and one call has gone well.
FAILURES_TO_OPEN = 5
# How long a call waits for room when every endpoint has as many calls as it may.
ROOM_SECONDS = 10.0
# Between two attempts at one endpoint; spread, so that those who failed together do not return together.
PAUSE_SECONDS = (0.1, 0.4)

pools: "WeakSet[Pool]" = WeakSet()
"""Every pool of this process, for the admin and the metrics."""

_known: "WeakValueDictionary[tuple[str, str], Member]" = WeakValueDictionary()
"""Model id and endpoint to what is known of it, for as long as there is a pool with it."""


@dataclass(eq=False)
class Member:
    """One endpoint of one model as this process knows it."""

    model: Model
    name: str
    weight: float = 1.0
    max_concurrent: int | None = None
    clock: Callable[[], float] = time.monotonic
    in_flight: int = 0
    calls: int = 0
    failures: int = 0
    failures_in_a_row: int = 0
    last_error: str = ""
    resting_until: float = 0.0
    told_to_wait: bool = False
    """The vendor itself said for how long (`Retry-After`)."""
    rooms: "WeakSet[asyncio.Event]" = field(default_factory=WeakSet)
    """Set whenever it may have room again, for those who wait in its pools."""

    @classmethod
    def at(cls, endpoint: Endpoint, model: Model) -> "Member":
        """The model at an endpoint. Where a pool has the same already, as when an administrator changes the card, this
        is the pool's own member: what is known of its health stays, and so does the count of its calls."""
        key = model.card.id, endpoint.identity
        member = _known.get(key)
        if member is None:
            member = _known[key] = cls(model, endpoint.name)
        member.model, member.weight, member.max_concurrent = model, endpoint.weight, endpoint.max_concurrent
        return member

    @property
    def rest(self) -> float:
        """Seconds of rest that are left."""
        return max(0.0, self.resting_until - self.clock())

    @property
    def is_open(self) -> bool:
        """The circuit is open: only a probe may pass, when the rest is over."""
        return self.failures_in_a_row >= FAILURES_TO_OPEN

    @property
    def has_room(self) -> bool:
        limit = 1 if self.is_open else self.max_concurrent
        return limit is None or self.in_flight < limit

    @property
    def state(self) -> str:
        if self.is_open:
            return "open" if self.rest else "probing"
        return "resting" if self.rest else "ready"

    @property
    def must_not_be_asked(self) -> bool:
        """Even when there is no other: its vendor asked for silence, or it has failed too often."""
        return self.rest > 0 and (self.told_to_wait or self.is_open)

    @contextmanager
    def one_call(self) -> Iterator[None]:
        self.in_flight += 1
        self.calls += 1
        try:
            yield
        finally:
            self.in_flight -= 1
            self._tell_of_room()

    def _tell_of_room(self) -> None:
        for room in self.rooms:
            room.set()

    def begun(self) -> None:
        """The first piece of an answer has come: that is enough to close the circuit again."""
        if self.is_open:
            self.succeeded()
            self._tell_of_room()

    def succeeded(self) -> None:
        if self.must_not_be_asked:
            return  # by a call from before: the vendor's word, or the open circuit, is newer
        self.failures_in_a_row = 0
        self.resting_until = 0.0
        self.told_to_wait = False

    def failed(self, error: ModelFailed) -> None:
        """Rest it for as long as the vendor said, else longer with each failure in a row.

        What fails while it rests is the same trouble once more: one short trouble must not open the circuit, however
        many calls it meets.
        """
        self.failures += 1
        self.last_error = error.code
        if self.failures_in_a_row and self.rest and error.retry_after is None:
            return
        self.failures_in_a_row += 1
        self.told_to_wait = error.retry_after is not None
        self.resting_until = self.clock() + (self._doubled(error) if error.retry_after is None else error.retry_after)

    def _doubled(self, error: ModelFailed) -> float:
        first = REST_AFTER_BUSY if isinstance(error, ModelBusy) else REST_AFTER_FAILURE
        # Not 2 ** failures: after a day of them no float holds it.
        doublings = min(self.failures_in_a_row - 1, 10)
        return float(min(first * 2**doublings, LONGEST_REST))


class Pool:
    """A model behind its endpoints. Fails over only before the first event: afterwards the answer would be mixed."""

    def __init__(self, card: ModelCard, members: Sequence[Member]) -> None:
        self.card = card
        self.members = tuple(members)
        self._attempts = max(3, 2 * len(self.members))
        self._room = asyncio.Event()
        for member in self.members:
            member.rooms.add(self._room)
        pools.add(self)

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Event, None]:
        tried: list[Member] = []
        useless: set[Member] = set()
        error: ModelFailed | BadRequest | None = None
        while len(tried) < self._attempts:
            member = await self._choose(tried, useless, error)
            if member in tried:
                await asyncio.sleep(random.uniform(*PAUSE_SECONDS))  # noqa: S311 - spreads load, guards nothing
                # Its room, or the whole endpoint, may be gone by now.
                member = await self._choose(tried, useless, error)
            tried.append(member)
            begun = False
            model = member.model
            try:
                with member.one_call():
                    async with aclosing(model.stream(request)) as events:
                        async for event in events:
                            if not begun:
                                begun = True
                                member.begun()
                                yield AnsweredBy(model_id=self.card.id, provider=model.card.provider)
                            yield event
                member.succeeded()
                return
            except BadRequest as refusal:
                if begun:
                    raise
                useless.add(member)  # its vendor cannot be told this; another one perhaps can
                error = refusal
            except ModelFailed as failure:
                if failure.endpoint_failed:
                    member.failed(failure)
                    log.warning("endpoint_failed", model=self.card.id, endpoint=member.name, code=failure.code)
                else:
                    member.succeeded()  # it answered: the request was wrong
                if begun or not failure.endpoint_failed:
                    raise
                if not failure.retryable:
                    useless.add(member)  # a rejected key stays rejected; another endpoint has another one
                error = failure
        assert error is not None
        raise error

    async def _choose(
        self, tried: Sequence[Member], useless: AbstractSet[Member], error: AmplifyError | None
    ) -> Member:
        """The next endpoint to try. Raises the last error, or ModelBusy, if none may be asked."""
        deadline = time.monotonic() + ROOM_SECONDS
        while True:
            allowed = [m for m in self.members if m not in useless and not m.must_not_be_asked]
            if not allowed:
                raise self._why_none(useless, error)
            if free := [member for member in allowed if member.has_room]:
                return _best(free, tried)
            await self._wait_for_room(deadline)

    def _why_none(self, useless: AbstractSet[Member], error: AmplifyError | None) -> AmplifyError:
        """The last failure; but where one vendor refused the request and another only rests, it is worth waiting."""
        rests = [member.rest for member in self.members if member not in useless]
        if error is None or (rests and isinstance(error, BadRequest)):
            return ModelBusy(retry_after=min(rests))
        return error

    async def _wait_for_room(self, deadline: float) -> None:
        """Until a call has ended or a rest is over. Raises ModelBusy at the deadline."""
        left = deadline - time.monotonic()
        if left <= 0:
            raise ModelBusy
        rests = [member.rest for member in self.members if member.must_not_be_asked]
        self._room.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(min([left, *rests])):
                await self._room.wait()


def _best(members: Sequence[Member], tried: Sequence[Member]) -> Member:
    """Those least tried, rested ones first; among equals by weight, at random."""

    def rank(member: Member) -> tuple[int, bool]:
        return tried.count(member), member.rest > 0

    least = min(rank(member) for member in members)
    best = [member for member in members if rank(member) == least]
    return random.choices(best, [member.weight for member in best])[0]  # noqa: S311 - spreads load, guards nothing


class Fallback:
    """Models in order of preference; the next one answers if the one before failed before its first event.

    Each model meters itself, so that the books name the one that was really called.
    """

    def __init__(self, models: Sequence[Model]) -> None:
        self.models = tuple(models)

    @property
    def card(self) -> ModelCard:
        return self.models[0].card

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Event, None]:
        first: ModelFailed | None = None
        for model, following in zip(self.models, [*self.models[1:], None], strict=True):
            begun = False
            try:
                async with aclosing(model.stream(request)) as events:
                    async for event in events:
                        begun = True
                        yield event
                return
            except ModelFailed as error:
                if begun or not error.endpoint_failed:
                    raise
                if following is None:
                    raise
                first = first or error
                log.warning("model_fell_back", model=model.card.id, to=following.card.id, code=error.code)
                yield Status(
                    message=f"{model.card.name} does not answer at the moment; {following.card.name} does.",
                    extras={"icon": "bolt", "sticky": True},
                )
            except BadRequest:
                # What the asked model takes, its stand-in may not: that is no fault of the caller's.
                if begun or first is None:
                    raise
                if following is None:
                    raise first from None
