"""What is said to a model."""

from dataclasses import dataclass
from typing import Literal

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    role: Role
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRequest:
    """One call of a model, in our words; each provider translates it once."""

    messages: tuple[Message, ...]
    max_output_tokens: int | None = None
    """None leaves it to the model's own limit."""
    temperature: float | None = None
