"""The request body: read once, strictly, within bounds; a mistake is answered with a sentence that says where."""

from typing import Annotated, Any, Literal

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from core.errors import BadRequest
from llm.messages import Message

# A conversation of a thousand exchanges is past any model's window; more is a client gone wrong.
MAX_MESSAGES = 2000
_ID_LENGTH = 512


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("contains the NUL character U+0000, remove it")
    return text


Text = Annotated[str, AfterValidator(_no_nul)]
Id = Annotated[str, Field(min_length=1, max_length=_ID_LENGTH), AfterValidator(_no_nul)]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


class MessageIn(_Part):
    """One message; what clients store beside `role` and `content` is not for the model."""

    role: Literal["system", "user", "assistant"]
    content: Text


class ModelChoice(_Part):
    """Clients send their whole model record; only its id counts, the rest is the server's."""

    id: Id


class Options(_Part):
    model_config = ConfigDict(strict=True, extra="allow", frozen=True)

    model: ModelChoice | None = None
    request_id: Annotated[Id | None, Field(alias="requestId")] = None
    stream_format: Annotated[Literal["seed", "answer"] | None, Field(alias="streamFormat")] = None


class ChatRequest(_Part):
    """A question: `messages`, and how it should be answered."""

    messages: Annotated[list[MessageIn], Field(min_length=1, max_length=MAX_MESSAGES)]
    model: Id | None = None
    temperature: Annotated[float | None, Field(ge=0, le=2)] = None
    max_tokens: Annotated[int | None, Field(ge=1)] = None
    stream: bool = True
    data_sources: Annotated[list[dict[str, Any]], Field(alias="dataSources")] = []
    options: Options = Options()

    @property
    def model_id(self) -> str | None:
        """`options.model.id` decides; a top-level `model` serves callers without options; None is the default model."""
        return self.options.model.id if self.options.model else self.model

    def conversation(self) -> tuple[Message, ...]:
        """What the model is told: blank messages of a history (a stopped answer leaves one) say nothing to it."""
        return tuple(Message(role=m.role, text=m.content) for m in self.messages if m.content.strip())


class KillSwitch(_Part):
    """Stop (`value` true) the caller's runs of that request id, or take an early stop back (false)."""

    request_id: str
    value: bool


def parse_json(body: bytes) -> dict[str, Any]:
    """The body as an object. Raises BadRequest that names the position of the mistake."""
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"Invalid JSON in request body: {error}.") from error
    if not isinstance(content, dict):
        raise BadRequest("Invalid request body: send a JSON object.")
    return content


def parse_chat(content: dict[str, Any]) -> ChatRequest:
    """A question out of a decoded body. Raises BadRequest."""
    try:
        request = ChatRequest.model_validate(content)
    except ValidationError as error:
        raise BadRequest(_sentence(error)) from error
    if not request.messages[-1].content.strip():
        raise BadRequest(f"messages[{len(request.messages) - 1}].content is empty: the last message is the question.")
    return request


def parse_kill(value: Any) -> KillSwitch:
    """The kill switch out of a decoded body's `killSwitch`. Raises BadRequest with the sentences clients know."""
    fields = value if isinstance(value, dict) else {}
    request_id = fields.get("requestId")
    if not isinstance(request_id, str) or not request_id:
        raise BadRequest("No requestId provided for killswitch request")
    if not isinstance(fields.get("value"), bool):
        raise BadRequest("Invalid killswitch request")
    return KillSwitch(request_id=request_id, value=fields["value"])


def _sentence(error: ValidationError) -> str:
    """The first mistake, as `messages[0].content should be a valid string`; what was sent is not repeated."""
    first = error.errors(include_url=False, include_input=False)[0]
    where = ""
    for step in first["loc"]:
        where += f"[{step}]" if isinstance(step, int) else f".{step}"
    what = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
    what = what[0].lower() + what[1:]
    if first["type"] == "missing":
        what = "is missing"
    more = error.error_count() - 1
    also = f" ({more} more mistakes follow)" if more > 1 else " (1 more mistake follows)" if more else ""
    return f"Invalid request body: {where.lstrip('.')} {what}{also}."
