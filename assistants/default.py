"""The default assistant: passes the conversation to the model."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from assistants.turn import Turn
from llm.events import Event


class DefaultAssistant:
    name = "default"
    display_name = "Amplify Assistant"

    def accepts(self, turn: Turn) -> bool:
        return True

    async def answer(self, turn: Turn) -> AsyncGenerator[Event, None]:
        async with aclosing(turn.model.stream(turn.request())) as events:
            async for event in events:
                yield event
