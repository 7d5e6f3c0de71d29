"""Make a conversation fit into its model's window, by leaving out the oldest of it.

Stand outside `Prepared` and `Structured` (`Fitted(Structured(Prepared(…)))`): what those add is reckoned with here.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

import structlog

from core.aio import COMPUTING
from core.errors import ModelOverflowed
from llm.events import Event, Status
from llm.messages import Message, ModelRequest, ToolCall, ToolResult
from llm.model import ModelCard, WrappedModel
from llm.tokens import Counter, counter_of, counts_at_once, fixed_tokens, message_tokens, request_tokens, utf8_length

log = structlog.get_logger(__name__)

# Kept free for the answer where neither the caller nor the card names a limit; a quarter of the window at most.
DEFAULT_OUTPUT_TOKENS = 4_096
# Vendors add frames and markers of their own that nobody can count from outside: 2 % of the window.
MARGIN_DIVISOR = 50
# When the vendor still finds it too long, our count is wrong for this text: so much of what was sent is tried next.
SECOND_TRY_PERCENT = 70


def input_budget(card: ModelCard, request: ModelRequest) -> int | None:
    """Tokens that the input may have, beside the answer; None where nobody knows the window."""
    if card.context_window is None:
        return None
    reserve = card.clamp_output(request.max_output_tokens)
    if reserve is None:
        reserve = min(DEFAULT_OUTPUT_TOKENS, card.context_window // 4)
    return max(0, card.context_window - reserve - card.context_window // MARGIN_DIVISOR)


def fit_to_window(card: ModelCard, request: ModelRequest, count: Counter, *, budget: int | None = None) -> ModelRequest:
    """The request with as much of its newest history as fits. Pure, in linear time; `budget` replaces the card's.

    System messages and the last message stay, with the tool call that it answers and the question behind that. The
    oldest of the others go first, tool calls with their results. Raises ModelOverflowed if what must stay is too long.
    """
    budget = input_budget(card, request) if budget is None else budget
    if budget is None:
        return request
    parted = _Parted.of(card, request, count)
    if parted.fixed > budget:
        raise ModelOverflowed(
            f"The last message and the instructions have about {parted.fixed:,} tokens; {card.name} takes {budget:,} "
            "beside its answer. Shorten them, or choose a model with a larger window."
        )
    return parted.within(budget)


def fit_again(card: ModelCard, request: ModelRequest, count: Counter) -> ModelRequest | None:
    """The request with some history less, for a vendor that found it too long; None if there is none to leave out."""
    parted = _Parted.of(card, request, count)
    smaller = parted.within(request_size(card, request, count) * SECOND_TRY_PERCENT // 100)
    return smaller if len(smaller.messages) < len(request.messages) else None


def request_size(card: ModelCard, request: ModelRequest, count: Counter) -> int:
    """Tokens of the request, the administrator's system prompt included."""
    return request_tokens(request, count) + _own_prompt(card, count)


def _own_prompt(card: ModelCard, count: Counter) -> int:
    return message_tokens(Message.of("system", card.system_prompt), count) if card.system_prompt else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Unit:
    """Messages that stay or go together: one, or tool calls and all up to the last of their results."""

    indices: tuple[int, ...]
    opens: str
    """What stands first in it: `user`, `assistant` or `result`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parted:
    """A request, parted into what must stay and units that may go."""

    request: ModelRequest
    count: Counter
    must: frozenset[int]
    """Indices of the messages that stay."""
    fixed: int
    """Tokens of all that stays, tools and frames included."""
    optional: tuple[_Unit, ...]
    """Newest first."""
    question: int
    """Index of the first message that stays, system messages aside; history kept in front of it needs an opening."""
    openings: frozenset[str]
    """What a conversation may open with: the user, or whatever this one opened with."""

    @classmethod
    def of(cls, card: ModelCard, request: ModelRequest, count: Counter) -> "_Parted":
        messages = request.messages
        units = _units(messages)
        openings = frozenset({"user", *(unit.opens for unit in units[:1])})
        staying = _staying(units, openings)
        system = {index for index, message in enumerate(messages) if message.role == "system"}
        must = frozenset(system.union(*(unit.indices for unit in staying)))
        tokens = sum(message_tokens(messages[index], count) for index in must)
        return cls(
            request=request,
            count=count,
            must=must,
            fixed=tokens + fixed_tokens(request, count) + _own_prompt(card, count),
            optional=tuple(unit for unit in reversed(units) if unit not in staying),
            question=staying[0].indices[0] if staying else 0,
            openings=openings,
        )

    def within(self, budget: int) -> ModelRequest:
        """What must stay, and the newest of the rest that fits beside it."""
        kept, left = [], budget - self.fixed
        for unit in self.optional:
            left -= sum(message_tokens(self.request.messages[index], self.count) for index in unit.indices)
            if left < 0:
                break
            kept.append(unit)
        while kept and kept[-1].indices[0] < self.question and kept[-1].opens not in self.openings:
            kept.pop()
        indices = self.must.union(*(unit.indices for unit in kept))
        if len(indices) == len(self.request.messages):
            return self.request
        return replace(self.request, messages=tuple(self.request.messages[index] for index in sorted(indices)))


def _staying(units: Sequence[_Unit], openings: frozenset[str]) -> tuple[_Unit, ...]:
    """The last unit; before it the question that it belongs to, where it cannot open a conversation itself."""
    if not units:
        return ()
    last = units[-1]
    if last.opens in openings:
        return (last,)
    return next(unit for unit in reversed(units) if unit.opens in openings), last


def _units(messages: Sequence[Message]) -> list[_Unit]:
    """The conversation without its system messages, in units. A result belongs to the latest call of its id."""
    spoken = [index for index, message in enumerate(messages) if message.role != "system"]
    reaches = _reaches([messages[index] for index in spoken])
    units: list[_Unit] = []
    end = start = len(spoken)
    for place in reversed(range(len(spoken))):
        start = min(start, reaches[place])
        if start == place:
            units.append(_unit(messages, tuple(spoken[place:end])))
            end = start
    return units[::-1]


def _reaches(messages: Sequence[Message]) -> list[int]:
    """For each message, the place of the earliest call that it has the result of; its own place without any."""
    callers: dict[str, int] = {}
    reaches = []
    for place, message in enumerate(messages):
        reach = place
        for part in message.parts:
            if isinstance(part, ToolCall):
                callers[part.id] = place
            elif isinstance(part, ToolResult):
                reach = min(reach, callers.get(part.call_id, place))
        reaches.append(reach)
    return reaches


def _unit(messages: Sequence[Message], indices: tuple[int, ...]) -> _Unit:
    first = messages[indices[0]]
    is_result = any(isinstance(part, ToolResult) for part in first.parts)
    return _Unit(indices=indices, opens="result" if is_result else first.role)


class Fitted(WrappedModel):
    """Gives its model as much of a conversation as it can take, and tells the person when that is not all.

    When the vendor still answers that it is too long, before its first event, less is sent once more.
    """

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Event, None]:
        sent = await self._fit(request)
        begun = False
        try:
            async with aclosing(self._send(sent, request)) as events:
                async for event in events:
                    begun = True
                    yield event
            return
        except ModelOverflowed as error:
            if begun:
                raise
            overflow = error
        smaller = await COMPUTING.run(fit_again, self.card, sent, counter_of(self.card))
        if smaller is None:
            raise overflow
        async with aclosing(self._send(smaller, request)) as events:
            async for event in events:
                yield event

    async def _fit(self, request: ModelRequest) -> ModelRequest:
        budget = input_budget(self.card, request)
        if budget is None or (size := request_size(self.card, request, utf8_length)) <= budget:
            return request
        count = counter_of(self.card)
        if counts_at_once(self.card, size):
            return fit_to_window(self.card, request, count)
        return await COMPUTING.run(fit_to_window, self.card, request, count)

    def _send(self, sent: ModelRequest, asked: ModelRequest) -> AsyncGenerator[Event, None]:
        missing = len(asked.messages) - len(sent.messages)
        return self._send_less(sent, missing) if missing else self.inner.stream(sent)

    async def _send_less(self, sent: ModelRequest, missing: int) -> AsyncGenerator[Event, None]:
        """The answer; a word about what was left out comes first, once the vendor has taken it."""
        told = False
        async with aclosing(self.inner.stream(sent)) as events:
            async for event in events:
                if not told:
                    log.info("history_left_out", model=self.card.id, messages=missing, kept=len(sent.messages))
                    yield left_out(missing)
                    told = True
                yield event


def left_out(messages: int) -> Status:
    """What the person is told."""
    what = "The oldest message was" if messages == 1 else f"The {messages:,} oldest messages were"
    return Status(
        summary="Long conversation",
        message=f"{what} left out, so that the rest fits into what the model can read at once.",
        extras={"icon": "info", "sticky": True},
    )
