"""What all request bodies share: read once, strictly, within bounds; a mistake is answered with a sentence that says
where it is."""

from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, Any, TypeVar

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json

from core.aio import COMPUTING
from core.errors import BadRequest

# A conversation of a thousand exchanges is past any model's window; more is a client gone wrong.
MAX_MESSAGES = 2000
_ID_LENGTH = 255
MAX_REQUEST_ID = 128

INLINE_BYTES = 256 * 1024
"""What is read on the loop: up to some 2 ms. Larger bodies are worth the way to a thread."""


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
T = TypeVar("T")
Source = TypeVar("Source")


async def parsed(parse: Callable[[Source], T], source: Source, *, size: int) -> T:
    """What `parse` makes of what came as a body of so many bytes: here, or of a large one in a thread, so that the loop
    goes on meanwhile."""
    return parse(source) if size <= INLINE_BYTES else await COMPUTING.run(parse, source)


def loads(body: bytes | str) -> Any:
    """Decode JSON. Raises ValueError that names the position of the mistake."""
    if len(body) > INLINE_BYTES:
        # Both readers hold the interpreter's lock from beginning to end: for 30 MB of base64 orjson 25 ms, this one 4.
        with suppress(ValueError):
            return from_json(body, allow_inf_nan=False, cache_strings="keys")
    # So that mistakes are told in the same words, and the same depth is let in, whatever the size.
    return orjson.loads(body)


def parse_json(body: bytes) -> dict[str, Any]:
    """The body as an object. Raises BadRequest that names the position of the mistake."""
    try:
        content = loads(body)
    except ValueError as error:
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
