"""How Anthropic's models are told to think first, at Anthropic and at Amazon.

Sources: https://platform.claude.com/docs/en/build-with-claude/extended-thinking (budgets),
https://platform.claude.com/docs/en/build-with-claude/thinking (adaptive, display),
https://platform.claude.com/docs/en/build-with-claude/effort,
https://docs.aws.amazon.com/bedrock/latest/userguide/claude-messages-adaptive-thinking.html.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llm.messages import Effort, ForcedTool, Message, ModelRequest, Reasoning, ToolResult
from llm.model import ModelCard

# Tokens; the service that this one follows gives the same.
_BUDGETS: Mapping[Effort, int] = {"minimal": 1024, "low": 1024, "medium": 2048, "high": 4096, "xhigh": 8192}
_LEAST_BUDGET = 1024
# Left for the answer, of all output tokens: a fifth, and so many at least.
_LEAST_ANSWER = 256
# "none" is the lowest level and no word about thinking: the models that think by themselves refuse to be kept from it.
_LOWEST = "low"


@dataclass(frozen=True, slots=True, kw_only=True)
class Thinking:
    """What to say about it."""

    config: Mapping[str, Any] | None = None
    """The vendor's object; None to say nothing. With it no temperature and no top_p may be sent."""
    effort: str | None = None


def thinking(card: ModelCard, request: ModelRequest, turns: Sequence[Message], limit: int | None) -> Thinking:
    """For this request, whose conversation is `turns` and whose output is `limit` tokens at most."""
    effort = request.effort
    if effort is None or card.thinking not in ("budget", "adaptive"):
        return Thinking()
    may = effort != "none" and _allowed(request, turns)
    if card.thinking == "adaptive":
        # Newer models think behind closed doors unless they are asked for a summary.
        config = {"type": "adaptive", "display": "summarized"}
        return Thinking(config=config if may else None, effort=_LOWEST if effort in ("none", "minimal") else effort)
    if not may or not _begun_with_reasoning(turns) or (budget := _budget(effort, limit)) < _LEAST_BUDGET:
        return Thinking()
    return Thinking(config={"type": "enabled", "budget_tokens": budget})


def _allowed(request: ModelRequest, turns: Sequence[Message]) -> bool:
    """Thinking is refused beside a forced tool, and where the caller has begun the answer."""
    forced = request.tools and (request.tool_choice == "required" or isinstance(request.tool_choice, ForcedTool))
    return not forced and turns[-1].role == "user"


def _budget(effort: Effort, limit: int | None) -> int:
    wanted = _BUDGETS[effort]
    return wanted if limit is None else min(wanted, limit - max(limit // 5, _LEAST_ANSWER))


def _begun_with_reasoning(turns: Sequence[Message]) -> bool:
    """Amid calls of tools thinking cannot be switched on: the answer must have begun with it."""
    first = None
    for turn in reversed(turns):
        if turn.role == "assistant":
            first = turn
        elif not any(turn.parts_of(ToolResult)):
            break
    return first is None or isinstance(first.parts[0], Reasoning)
