"""The turn: all that an answer may know."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from accounts.principal import Principal
from llm.messages import ModelRequest
from llm.model import Model


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    principal: Principal
    model: Model
    request: ModelRequest
    """What the person asked, as a model takes it."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """What the client sent besides; read by the assistants that know what it means."""
