"""The body of `POST /v1/chat/completions`, as OpenAI's clients send it.

Source: https://platform.openai.com/docs/api-reference/chat/create
"""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from chat.question import Question
from chat.schema.base import MAX_MESSAGES, Id, Part, Text, checked, parse_json
from chat.schema.content import Content, parts
from chat.schema.tools import ResponseFormat, ToolChoiceIn, ToolsIn, output_schema, tool_choice
from llm.messages import Effort, Message, ModelRequest, ToolCall, ToolResult
from llm.messages import Part as ModelPart


class SystemIn(Part):
    role: Literal["system", "developer"]
    content: Content

    def message(self) -> Message:
        return Message(role="system", parts=tuple(parts(self.content)))


class UserIn(Part):
    role: Literal["user"]
    content: Content

    def message(self) -> Message:
        return Message(role="user", parts=tuple(parts(self.content)))


class _CalledFunction(Part):
    name: Id
    arguments: Text


class _Google(Part):
    thought_signature: str = ""


class _Extra(Part):
    google: _Google = _Google()


class ToolCallIn(Part):
    id: Id
    type: Literal["function"] = "function"
    function: _CalledFunction
    extra_content: _Extra | None = None

    def part(self) -> ToolCall:
        signature = self.extra_content.google.thought_signature if self.extra_content else ""
        return ToolCall(id=self.id, name=self.function.name, arguments=self.function.arguments, signature=signature)


class AssistantIn(Part):
    role: Literal["assistant"]
    content: Content | None = None
    refusal: Text | None = None
    """What an earlier answer refused with, as we and OpenAI have told it."""
    tool_calls: list[ToolCallIn] | None = None

    def message(self) -> Message:
        calls: Iterator[ModelPart] = (call.part() for call in self.tool_calls or ())
        return Message(role="assistant", parts=(*parts(self.content), *parts(self.refusal), *calls))


class ToolResultIn(Part):
    role: Literal["tool"]
    tool_call_id: Id
    content: Content

    def message(self) -> Message:
        text = Message(role="user", parts=tuple(parts(self.content))).text
        return Message(role="user", parts=(ToolResult(call_id=self.tool_call_id, text=text),))


MessageIn = Annotated[SystemIn | UserIn | AssistantIn | ToolResultIn, Field(discriminator="role")]
Stop = Text | Annotated[list[Text], Field(max_length=4)]


class StreamOptions(Part):
    include_usage: bool = False


class CompletionRequest(Part):
    """What is not named here (`seed`, `user`, `metadata`, …) is let pass and has no effect."""

    model: Id
    messages: Annotated[list[MessageIn], Field(min_length=1, max_length=MAX_MESSAGES)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[int | None, Field(ge=1)] = None
    max_completion_tokens: Annotated[int | None, Field(ge=1)] = None
    temperature: Annotated[float | None, Field(ge=0, le=2)] = None
    top_p: Annotated[float | None, Field(gt=0, le=1)] = None
    stop: Stop | None = None
    n: Literal[1] | None = None
    logprobs: Literal[False] | None = None
    tools: ToolsIn | None = None
    tool_choice: ToolChoiceIn | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    reasoning_effort: Effort | None = None

    @property
    def wants_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage

    def question(self, request_id: str) -> Question:
        return Question(model_id=self.model, request_id=request_id, request=self._request())

    def _request(self) -> ModelRequest:
        return ModelRequest(
            messages=tuple(message.message() for message in self.messages),
            max_output_tokens=self.max_completion_tokens or self.max_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            stop=(self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ()),
            tools=tuple(tool.function.tool() for tool in self.tools or ()),
            tool_choice=tool_choice(self.tool_choice),
            parallel_tool_calls=self.parallel_tool_calls,
            output=output_schema(self.response_format),
            effort=self.reasoning_effort,
        )


def parse_completion(body: bytes) -> CompletionRequest:
    """A question out of a body. Raises BadRequest."""
    return checked(CompletionRequest, parse_json(body))
