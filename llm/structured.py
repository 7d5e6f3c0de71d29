"""Answers that are JSON: asked for in the way the model's card names, streamed, and checked before they end.

Stands outside `Prepared`, which puts the instruction that is added here into a role that the model takes.
"""

import re
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import replace
from typing import Literal, Protocol

import orjson
import structlog

from core.aio import COMPUTING
from core.errors import ModelInvalidOutput
from llm.events import Event, Finished, RefusalDelta, TextDelta, ToolCallDelta
from llm.json_schema import CheckedSchema, check_answer
from llm.messages import ForcedTool, Message, ModelRequest, OutputSchema, Tool, ToolChoice
from llm.model import ModelCard, StructuredOutput, WrappedModel

log = structlog.get_logger(__name__)

_ANSWER_TOOL = "Gives your answer to the user. Call it exactly once, with the whole answer."
_INSTRUCTION = "Answer with JSON only: no words before or after it, no code fence. "
_ANY_OBJECT = "It must be one JSON object."
_BY_SCHEMA = "It must be one JSON value that agrees with this JSON Schema:\n"


class Structured(WrappedModel):
    """Holds its model to `request.output`.

    Raises BadRequest at once for a schema that is wrong, ModelInvalidOutput in place of Finished for an answer that is.
    An answer that was cut short, filtered or refused, or is a call of the caller's own tools, goes on as it is.
    """

    def stream(self, request: ModelRequest) -> AsyncGenerator[Event, None]:
        return self.inner.stream(request) if request.output is None else self._held(request, request.output)

    async def _held(self, request: ModelRequest, output: OutputSchema) -> AsyncGenerator[Event, None]:
        checked = None if output.schema is None else await COMPUTING.run(CheckedSchema.of, output.schema)
        asked, reader = _ways(self.card, request, output)
        async with aclosing(_checked(self.inner.stream(asked), reader, checked, self.card)) as events:
            async for event in events:
                yield event


async def _checked(
    events: AsyncGenerator[Event, None], reader: "_Reader", schema: CheckedSchema | None, card: ModelCard
) -> AsyncGenerator[Event, None]:
    answer: list[str] = []
    exempt = False
    async with aclosing(_read(events, reader)) as read:
        async for event in read:
            match event:
                case TextDelta(text):
                    answer.append(text)
                case ToolCallDelta() | RefusalDelta():
                    exempt = True
                case Finished("stop" | "tool_calls") if not exempt:
                    await _check("".join(answer), schema, card)
                    yield Finished("stop")
                    continue
                case _:
                    pass
            yield event


async def _read(events: AsyncGenerator[Event, None], reader: "_Reader") -> AsyncGenerator[Event, None]:
    async with aclosing(events):
        async for event in events:
            for read in reader.end(event) if isinstance(event, Finished) else reader.feed(event):
                yield read


async def _check(text: str, schema: CheckedSchema | None, card: ModelCard) -> None:
    try:
        # Always in a thread: it is the schema that makes a check dear, not only the text.
        await COMPUTING.run(check_answer, text, schema)
    except ModelInvalidOutput:
        log.warning("model_answered_invalid_output", model=card.id, way=card.structured_output, chars=len(text))
        raise


def _ways(card: ModelCard, request: ModelRequest, output: OutputSchema) -> tuple[ModelRequest, "_Reader"]:
    """What the model is asked, and how its answer is read."""
    match _way(card, output):
        case "native":
            return request, _AsItIs()
        case "tool":
            tool = _answer_tool(output, {tool.name for tool in request.tools})
            return _with_tool(request, tool), _FromTool(tool.name, has_others=bool(request.tools))
        case "prompt":
            return _with_instruction(request, output), _FromText()


# These hold an answer to a schema, but know no "any JSON object".
_NO_JSON_MODE = frozenset({"anthropic", "bedrock"})


def _way(card: ModelCard, output: OutputSchema) -> StructuredOutput:
    if card.structured_output == "native" and output.schema is None and card.provider in _NO_JSON_MODE:
        return "prompt"
    if card.structured_output != "tool":
        return card.structured_output
    # Arguments are objects: what may be something else is asked for in words.
    schema = output.schema
    is_object = schema is None or schema.get("type") == "object" or ("type" not in schema and "properties" in schema)
    return "tool" if card.tools and is_object else "prompt"


def _answer_tool(output: OutputSchema, taken: set[str]) -> Tool:
    name = output.name
    while name in taken:
        name += "_"
    return Tool(name=name, description=_ANSWER_TOOL, parameters={**(output.schema or {}), "type": "object"})


def _with_tool(request: ModelRequest, tool: Tool) -> ModelRequest:
    """Beside tools of the caller's the model must call one of all; a choice that he has made himself stays."""
    only = request.tool_choice == "none" or not request.tools
    choice: ToolChoice = request.tool_choice if isinstance(request.tool_choice, ForcedTool) else "required"
    return replace(
        request,
        tools=(tool,) if only else (*request.tools, tool),
        tool_choice=ForcedTool(tool.name) if only else choice,
        parallel_tool_calls=False if only else request.parallel_tool_calls,
        output=None,
        effort=None,  # Anthropic's models cannot be made to call a tool and told to think at once
    )


def _with_instruction(request: ModelRequest, output: OutputSchema) -> ModelRequest:
    """Behind the system messages at the beginning, since several vendors take them nowhere else."""
    rule = _ANY_OBJECT if output.schema is None else _BY_SCHEMA + orjson.dumps(output.schema, default=dict).decode()
    messages = request.messages
    leading = next((place for place, message in enumerate(messages) if message.role != "system"), len(messages))
    instruction = Message.of("system", _INSTRUCTION + rule)
    return replace(request, messages=(*messages[:leading], instruction, *messages[leading:]), output=None)


class _Reader(Protocol):
    """Turns the model's events into those of an answer in text."""

    def feed(self, event: Event) -> Iterator[Event]: ...

    def end(self, finished: Finished) -> Iterator[Event]:
        """What was held back, then Finished."""


class _AsItIs:
    def feed(self, event: Event) -> Iterator[Event]:
        yield event

    def end(self, finished: Finished) -> Iterator[Event]:
        yield finished


class _FromText:
    """The answer is the text, without the fence that models like to put around it."""

    def __init__(self) -> None:
        self._fence = Unfenced()

    def feed(self, event: Event) -> Iterator[Event]:
        if not isinstance(event, TextDelta):
            yield event
        elif text := self._fence.feed(event.text):
            yield TextDelta(text)

    def end(self, finished: Finished) -> Iterator[Event]:
        if text := self._fence.end():
            yield TextDelta(text)
        yield finished


class _FromTool:
    """The answer is the arguments of one tool's first call.

    Text is held back: before the answer it is chatter and is left out; before a call of the caller's own tools it
    goes on; and a model that calls nothing, because its server knows no forced tools, may have answered in it.
    """

    def __init__(self, name: str, *, has_others: bool) -> None:
        self._name = name
        self._has_others = has_others
        self._calls: dict[int, Literal["answer", "other", "again"]] = {}
        self._spoken: list[str] = []
        self._is_empty = True

    def feed(self, event: Event) -> Iterator[Event]:
        match event:
            case TextDelta(text):
                if self._called("other"):
                    yield event
                elif not self._calls:
                    self._spoken.append(text)
            case ToolCallDelta():
                yield from self._call(event)
            case _:
                yield event

    def end(self, finished: Finished) -> Iterator[Event]:
        if not self._calls:
            fence = Unfenced()
            if text := fence.feed("".join(self._spoken)) + fence.end():
                yield TextDelta(text)
        elif self._called("answer") and self._is_empty and finished.reason in {"stop", "tool_calls"}:
            yield TextDelta("{}")  # how vendors say that there are no arguments
        yield finished

    def _call(self, event: ToolCallDelta) -> Iterator[Event]:
        is_first = not self._calls
        match self._calls.setdefault(event.index, self._kind(event)):
            case "answer" if event.arguments:
                self._is_empty = False
                yield TextDelta(event.arguments)
            case "other":
                if is_first and self._spoken:
                    yield TextDelta("".join(self._spoken))
                yield event
            case _:
                pass

    def _kind(self, event: ToolCallDelta) -> Literal["answer", "other", "again"]:
        if self._has_others and event.name != self._name:
            return "other"
        # Some models answer twice; the first answer counts.
        return "again" if self._called("answer") else "answer"

    def _called(self, kind: str) -> bool:
        return kind in self._calls.values()


_OPENING = re.compile(r'```(?:[\w+.-]*\s+|(?=[\[{"]))')
_MAYBE_OPENING = re.compile(r"`{1,2}|```[\w+.-]{0,30}")
# JSON has no line breaks within its strings and no backticks outside of them, so this is never part of the answer.
_CLOSING = re.compile(r"\n[ \t]*```")
_MOST_HELD = 200


class Unfenced:
    """Takes the code fence around an answer off while it streams; holds back only what may belong to the fence."""

    def __init__(self) -> None:
        self._held = ""
        self._state = "before"

    def feed(self, text: str) -> str:
        """As much of the answer as is certain now."""
        self._held += text
        if self._state == "before":
            self._open()
        match self._state:
            case "before":
                return ""
            case "opened" | "inside":
                return self._inside()
            case "behind":
                self._held = ""
                return ""
            case _:
                return self._release(len(self._held))

    def end(self) -> str:
        """What was held back and is no fence."""
        rest = self._release(len(self._held))
        return "" if self._state in {"opened", "inside"} and rest.strip() in {"", "```"} else rest

    def _open(self) -> None:
        self._held = self._held.lstrip()
        if opening := _OPENING.match(self._held):
            self._held = self._held[opening.end() :]
            self._state = "opened"
        elif self._held and not _MAYBE_OPENING.fullmatch(self._held):
            self._state = "plain"

    def _inside(self) -> str:
        if self._state == "opened" and (begun := self._held.lstrip()):
            self._held, self._state = begun, "inside"
        if closing := _CLOSING.search(self._held):
            answer = self._release(closing.start())
            self._held, self._state = "", "behind"
            return answer
        certain = len(self._held.rstrip().rstrip("`").rstrip())
        return self._release(certain if len(self._held) - certain <= _MOST_HELD else len(self._held))

    def _release(self, length: int) -> str:
        released, self._held = self._held[:length], self._held[length:]
        return released
