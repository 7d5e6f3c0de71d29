"""A question as every transport hands it to the service, whatever wire it came by."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from llm.messages import ModelRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    model_id: str | None
    """None is the default model."""
    request: ModelRequest
    request_id: str = ""
    """The caller's own name for it, for the kill switch."""
    options: Mapping[str, Any] = field(default_factory=dict)
