"""The Model protocol, the card that says what a model can do, and the wrapper that behaviours are made from."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

from llm.events import Event
from llm.messages import ModelRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """Facts about a model, as data. Sizes in tokens; None where nobody said."""

    id: str
    name: str
    provider: str
    """How it is spoken to and billed: `openai`, `compatible`, `embedded`, …"""
    context_window: int | None = None
    output_limit: int | None = None

    def clamp_output(self, wanted: int | None) -> int | None:
        """The output limit to ask for: what the caller wants, within what the model can."""
        limits = [limit for limit in (wanted, self.output_limit) if limit is not None]
        if self.context_window is not None and limits:
            # Half the window at most, so that the question still fits.
            limits.append(max(1, self.context_window // 2))
        return min(limits, default=None)


class Model(Protocol):
    """Something that answers. Consume `stream` inside `aclosing()`: closing it early closes the vendor's stream."""

    @property
    def card(self) -> ModelCard: ...

    def stream(self, request: ModelRequest) -> AsyncGenerator[Event, None]:
        """Yield the answer's events. Raises `core.errors.ModelFailed`."""


class WrappedModel:
    """A Model around a Model: behaviour is added by wrapping, in wiring.py."""

    def __init__(self, inner: Model) -> None:
        self.inner = inner

    @property
    def card(self) -> ModelCard:
        return self.inner.card
