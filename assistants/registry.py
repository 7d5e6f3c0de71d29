"""Which assistants there are, and which one answers a turn."""

import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Protocol

from assistants.turn import Turn
from llm.events import Event, StateChanged, Status


class Assistant(Protocol):
    """A way to answer. Consume `answer` inside `aclosing()`."""

    name: str
    """As it stands in state and books."""
    display_name: str
    """As people read it."""

    def accepts(self, turn: Turn) -> bool:
        """Whether this turn is for it."""

    def answer(self, turn: Turn) -> AsyncGenerator[Event, None]: ...


class AssistantRegistry:
    """Asks its assistants in order; the last one accepts everything."""

    def __init__(self, assistants: Sequence[Assistant]) -> None:
        self._assistants = tuple(assistants)

    def choose(self, turn: Turn) -> Assistant:
        return next(assistant for assistant in self._assistants if assistant.accepts(turn))

    async def answer(self, turn: Turn, *, chosen: Callable[[str], None]) -> AsyncGenerator[Event, None]:
        """Announce who answers, as today's clients expect it, then let them answer. `chosen` is told the name."""
        started = time.monotonic()
        choosing = Status(message="Finding the assistant for this …", in_progress=True)
        yield choosing
        assistant = self.choose(turn)
        chosen(assistant.name)
        yield Status(id=choosing.id, message=choosing.message)
        yield StateChanged({"currentAssistant": assistant.name, "currentAssistantId": assistant.name})
        yield Status(
            # Clients look for the word "responding".
            message=f'The "{assistant.display_name}" is responding.',
            extras={"icon": "assistant", "sticky": True},
        )
        yield StateChanged({"routingTime": round((time.monotonic() - started) * 1000)})
        yield StateChanged({"assistant": assistant.name})
        async with aclosing(assistant.answer(turn)) as events:
            async for event in events:
                yield event
