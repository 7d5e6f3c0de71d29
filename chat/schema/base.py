"""What all request bodies share: read once, strictly, within bounds; a mistake is answered with a sentence that says
where it is."""

from typing import Annotated, Any, TypeVar

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from core.errors import BadRequest

# A conversation of a thousand exchanges is past any model's window; more is a client gone wrong.
MAX_MESSAGES = 2000
_ID_LENGTH = 255
MAX_REQUEST_ID = 128


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("contains the NUL character U+0000, remove it")
    return text


Text = Annotated[str, AfterValidator(_no_nul)]
Id = Annotated[str, Field(min_length=1, max_length=_ID_LENGTH), AfterValidator(_no_nul)]
RequestId = Annotated[str, Field(min_length=1, max_length=MAX_REQUEST_ID), AfterValidator(_no_nul)]
"""Lengths are those of the ledger's columns: what is let in can be booked."""


class Part(BaseModel):
    """The base of every part of a body: strict, and deaf to what it does not know."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


P = TypeVar("P", bound=Part)


def parse_json(body: bytes) -> dict[str, Any]:
    """The body as an object. Raises BadRequest that names the position of the mistake."""
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"Invalid JSON in request body: {error}.") from error
    if not isinstance(content, dict):
        raise BadRequest("Invalid request body: send a JSON object.")
    return content


def checked(kind: type[P], content: dict[str, Any]) -> P:
    """A decoded body as `kind`. Raises BadRequest with the first mistake in a sentence."""
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise BadRequest(_sentence(error)) from error


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
