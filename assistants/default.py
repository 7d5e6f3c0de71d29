"""The default assistant: passes the conversation to the model."""

from collections.abc import AsyncGenerator

from assistants.turn import Turn
from llm.events import Event


class DefaultAssistant:
    name = "default"
    display_name = "Amplify Assistant"

    def accepts(self, turn: Turn) -> bool:
        return True

    def answer(self, turn: Turn) -> AsyncGenerator[Event, None]:
        return turn.model.stream(turn.request)
