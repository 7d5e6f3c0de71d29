"""A model that says what it was told to: stands in where the embedded one cannot run, and in tests."""

from collections.abc import AsyncGenerator

from llm.events import Event, Finished, TextDelta, Usage, UsageReported
from llm.messages import ModelRequest
from llm.model import ModelCard
from llm.tokens import estimate_messages, estimate_text

STAND_IN = (
    "This is a scripted answer, not a language model: the embedded model has no wheel for this platform. "
    "Set OPENAI_API_KEY, or OPENAI_BASE_URL to a server such as Ollama, to talk to a real one."
)


class ScriptedModel:
    """Yields the words of one text, then estimated usage, then the end."""

    def __init__(self, text: str = STAND_IN, *, card: ModelCard | None = None) -> None:
        self.card = card or ModelCard(id="scripted", name="Scripted answer (no language model)", provider="embedded")
        self._text = text

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Event, None]:
        for word in self._text.split(" "):
            yield TextDelta(f"{word} ")
        tokens = estimate_text(self._text)
        yield UsageReported(Usage(input=estimate_messages(request.messages), output=tokens, estimated=True))
        yield Finished()
