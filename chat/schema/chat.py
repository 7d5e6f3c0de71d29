"""The body of `POST /chat` and of `chat.start`: a question, or the kill switch."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from chat.question import Question
from chat.schema.base import MAX_MESSAGES, MAX_REQUEST_ID, Id, Part, RequestId, checked
from chat.schema.content import Content, parts
from chat.schema.tools import (
    FunctionIn,
    ResponseFormat,
    ToolChoiceIn,
    ToolsIn,
    output_schema,
    tool_choice,
)
from core.errors import BadRequest
from llm.messages import ForcedTool, Message, ModelRequest, Tool, ToolChoice

_Temperature = Annotated[float | None, Field(ge=0, le=2)]


class MessageIn(Part):
    """One message; what clients store beside `role` and `content` is not for the model."""

    role: Literal["system", "user", "assistant"]
    content: Content

    def message(self) -> Message:
        return Message(role=self.role, parts=tuple(parts(self.content)))


class ModelChoice(Part):
    """Clients send their whole model record; only its id counts, the rest is the server's."""

    id: Id


class Options(Part):
    """Where today's clients put most of what they want; some of it also stands at the top."""

    model_config = ConfigDict(strict=True, extra="allow", frozen=True)

    model: ModelChoice | None = None
    request_id: Annotated[RequestId | None, Field(alias="requestId")] = None
    stream_format: Annotated[Literal["seed", "answer"] | None, Field(alias="streamFormat")] = None
    temperature: _Temperature = None
    reasoning_level: Annotated[Literal["low", "medium", "high"] | None, Field(alias="reasoningLevel")] = None
    disable_reasoning: Annotated[bool, Field(alias="disableReasoning")] = False
    tools: ToolsIn | None = None
    tool_choice: ToolChoiceIn | None = None
    functions: list[FunctionIn] | None = None
    function_call: str | None = None


class ChatRequest(Part):
    """A question: `messages`, and how it should be answered."""

    messages: Annotated[list[MessageIn], Field(min_length=1, max_length=MAX_MESSAGES)]
    model: Id | None = None
    temperature: _Temperature = None
    top_p: Annotated[float | None, Field(gt=0, le=1)] = None
    max_tokens: Annotated[int | None, Field(ge=1)] = None
    stream: bool = True
    tools: ToolsIn | None = None
    tool_choice: ToolChoiceIn | None = None
    response_format: ResponseFormat | None = None
    data_sources: list[dict[str, Any] | str] | None = Field(alias="dataSources", default=None)
    options: Options | None = None

    @property
    def stream_format(self) -> str | None:
        return self._options.stream_format

    @property
    def _options(self) -> Options:
        return self.options or Options()

    def question(self) -> Question:
        """`options.model.id` decides; a top-level `model` serves callers without options."""
        options = self._options
        return Question(
            model_id=options.model.id if options.model else self.model,
            request=self._request(),
            request_id=options.request_id or "",
            options=options.model_extra or {},
        )

    def _request(self) -> ModelRequest:
        options = self._options
        return ModelRequest(
            messages=tuple(self._messages()),
            max_output_tokens=self.max_tokens,
            temperature=options.temperature if self.temperature is None else self.temperature,
            top_p=self.top_p,
            tools=tuple(self._tools()),
            tool_choice=self._tool_choice(),
            output=output_schema(self.response_format),
            effort="none" if options.disable_reasoning else options.reasoning_level,
        )

    def _messages(self) -> Iterator[Message]:
        """Blank messages of a history (a stopped answer leaves one) say nothing to a model."""
        for message in self.messages:
            if not isinstance(message.content, str) or message.content.strip():
                yield message.message()

    def _tools(self) -> Iterator[Tool]:
        if listed := self.tools or self._options.tools:
            yield from (tool.function.tool() for tool in listed)
        else:
            yield from (function.tool() for function in self._options.functions or ())

    def _tool_choice(self) -> ToolChoice:
        if chosen := self.tool_choice or self._options.tool_choice:
            return tool_choice(chosen)
        match self._options.function_call:
            case None | "auto":
                return "auto"
            case "none":
                return "none"
            case name:
                return ForcedTool(name)


class KillSwitch(Part):
    """Stop (`value` true) the caller's runs of that request id, or take an early stop back (false)."""

    request_id: str
    value: bool


def unwrapped(content: dict[str, Any]) -> dict[str, Any]:
    """The question itself: the platform's API for developers wraps it as `{"data": {…}}`, wants one JSON answer, and
    takes the system message from `options.prompt` if the conversation has none."""
    inner = content.get("data")
    if not isinstance(inner, dict) or "messages" in content:
        return content
    return {**inner, "messages": _with_prompt(inner), "stream": False} if "messages" in inner else inner


def _with_prompt(content: dict[str, Any]) -> Any:
    messages, options = content["messages"], content.get("options")
    prompt = options.get("prompt") if isinstance(options, dict) else None
    if not isinstance(prompt, str) or not isinstance(messages, list) or not messages:
        return messages
    first = messages[0]
    if isinstance(first, dict) and first.get("role") == "system":
        return messages
    return [{"role": "system", "content": prompt}, *messages]


def parse_chat(content: dict[str, Any]) -> ChatRequest:
    """A question out of a decoded body. Raises BadRequest."""
    request = checked(ChatRequest, unwrapped(content))
    last = request.messages[-1].content
    if not (last.strip() if isinstance(last, str) else last):
        raise BadRequest(f"messages[{len(request.messages) - 1}].content is empty: the last message is the question.")
    return request


def parse_kill(value: Any) -> KillSwitch:
    """The kill switch out of a decoded body's `killSwitch`. Raises BadRequest with the sentences clients know."""
    fields = value if isinstance(value, dict) else {}
    request_id = fields.get("requestId")
    if not isinstance(request_id, str) or not request_id:
        raise BadRequest("No requestId provided for killswitch request")
    if len(request_id) > MAX_REQUEST_ID or not isinstance(fields.get("value"), bool):
        raise BadRequest("Invalid killswitch request")
    return KillSwitch(request_id=request_id, value=fields["value"])
