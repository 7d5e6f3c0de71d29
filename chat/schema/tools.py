"""Tools, tool choices and answer formats in OpenAI's shape, as both front doors take them."""

from typing import Annotated, Any, Literal

from pydantic import Field

from chat.schema.base import Part
from llm.messages import ForcedTool, OutputSchema, Tool, ToolChoice

MAX_TOOLS = 128
_NAME = r"^[A-Za-z0-9_.:-]{1,64}$"


class FunctionIn(Part):
    name: Annotated[str, Field(pattern=_NAME)]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None

    def tool(self) -> Tool:
        parameters = self.parameters or {"type": "object", "properties": {}}
        return Tool(name=self.name, description=self.description or "", parameters=parameters, strict=bool(self.strict))


class ToolIn(Part):
    type: Literal["function"]
    function: FunctionIn


class _NamedFunction(Part):
    name: Annotated[str, Field(pattern=_NAME)]


class NamedTool(Part):
    type: Literal["function"]
    function: _NamedFunction


ToolsIn = Annotated[list[ToolIn], Field(max_length=MAX_TOOLS)]
ToolChoiceIn = Literal["auto", "none", "required"] | NamedTool


def tool_choice(choice: ToolChoiceIn | None) -> ToolChoice:
    if isinstance(choice, NamedTool):
        return ForcedTool(choice.function.name)
    return choice or "auto"


class JsonSchemaIn(Part):
    name: Annotated[str, Field(pattern=_NAME)] = "answer"
    json_schema: Annotated[dict[str, Any], Field(alias="schema")]
    strict: bool | None = None


class TextFormat(Part):
    type: Literal["text"]


class JsonObjectFormat(Part):
    type: Literal["json_object"]


class JsonSchemaFormat(Part):
    type: Literal["json_schema"]
    json_schema: JsonSchemaIn


ResponseFormat = Annotated[TextFormat | JsonObjectFormat | JsonSchemaFormat, Field(discriminator="type")]


def output_schema(form: TextFormat | JsonObjectFormat | JsonSchemaFormat | None) -> OutputSchema | None:
    match form:
        case JsonSchemaFormat(json_schema=wanted):
            return OutputSchema(name=wanted.name, schema=wanted.json_schema, strict=bool(wanted.strict))
        case JsonObjectFormat():
            return OutputSchema()
        case _:
            return None
