"""The turn: all that an answer may know."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from accounts.principal import Principal
from llm.messages import Message, ModelRequest
from llm.model import Model


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    principal: Principal
    model: Model
    messages: tuple[Message, ...]
    max_output_tokens: int | None = None
    temperature: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    """What the client sent besides; read by the assistants that know what it means."""

    def request(self) -> ModelRequest:
        return ModelRequest(
            messages=self.messages, max_output_tokens=self.max_output_tokens, temperature=self.temperature
        )
