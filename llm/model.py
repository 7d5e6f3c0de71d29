"""The Model protocol, the card that says what a model can do, and the wrapper that behaviours are made from."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, get_args

from llm.events import Event
from llm.messages import Effort, ModelRequest

Thinking = Literal["", "effort", "budget", "adaptive"]
"""How a model is told to think first: not at all, by a level, by a number of tokens, or by a level it adapts."""

StructuredOutput = Literal["native", "tool", "prompt"]
"""How a model is held to a JSON schema: by the vendor, by forcing a tool's arguments, or by asking for it."""

EFFORTS: tuple[Effort, ...] = get_args(Effort)
# What every model that thinks can be told, whatever else its card says or does not say. A budget is a number, so it can
# be any; an adaptive model that is told "none" is not told to think.
_SAFE_EFFORTS: Mapping[Thinking, tuple[Effort, ...]] = {
    "": (),
    "effort": ("low", "medium", "high"),
    "budget": EFFORTS,
    "adaptive": ("none", "low", "medium", "high"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """Facts about a model, as data: nothing else in the code knows a model by name. Sizes in tokens."""

    id: str
    """What callers say."""
    name: str
    provider: str
    """How it is spoken to and billed: `openai`, `azure`, `bedrock`, `gemini`, `anthropic`, `compatible`, `embedded`."""
    vendor_id: str = ""
    """What the vendor calls it, where that is not `id`."""
    description: str = ""
    context_window: int | None = None
    """Input and output together; None where nobody said."""
    output_limit: int | None = None
    system_prompts: bool = True
    images: bool = True
    image_urls: bool = True
    """Takes the address of an image, not only its bytes."""
    tools: bool = True
    sampling: bool = True
    """Takes temperature, top_p and stop sequences (OpenAI's reasoning models do not)."""
    thinking: Thinking = ""
    efforts: Sequence[Effort] = ()
    """How much it can be told to think, in OpenAI's words; empty where nobody said: what all of its kind can."""
    structured_output: StructuredOutput = "native"
    system_prompt: str = ""
    """The administrator's own, said before every conversation."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of the vendor's request body."""

    @property
    def wire_id(self) -> str:
        return self.vendor_id or self.id

    def nearest_effort(self, wanted: Effort | None) -> Effort | None:
        """What to tell it for what the caller wants: the nearest that it knows, of two the lower; None for nothing."""
        known = self.efforts or _SAFE_EFFORTS[self.thinking]
        if wanted is None or not self.thinking or not known:
            return None
        place = EFFORTS.index(wanted)
        return min(sorted(known, key=EFFORTS.index), key=lambda effort: abs(EFFORTS.index(effort) - place))

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
