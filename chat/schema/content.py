"""The content of messages in OpenAI's shape: text, or a list of text and images."""

import binascii
import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, PlainValidator, Tag

from chat.schema.base import Part, Text
from llm.messages import Image, Verbatim
from llm.messages import Part as ModelPart
from llm.messages import Text as ModelText

MAX_PARTS = 1000
# Characters, a multiple of four; decoded in less than a millisecond.
_PIECE = 128 * 1024
_DATA_URL = re.compile(r"data:(image/[a-z0-9.+-]+);base64,", re.IGNORECASE)


def _image(url: Any) -> Image:
    """An image from an address or from a data URL."""
    if not isinstance(url, str):
        raise ValueError("should be a text")  # noqa: TRY004 - pydantic collects ValueErrors
    if url.startswith(("https://", "http://")):
        return Image(url=url)
    found = _DATA_URL.match(url)
    if found is None:
        raise ValueError("should be an http(s) address or a data URL such as data:image/png;base64,…")
    data = Verbatim(url[found.end() :])
    _check_base64(data)
    return Image(media_type=found.group(1).lower(), base64=data)


def _check_base64(text: str) -> None:
    """Raises ValueError. In pieces, since each is decoded under the interpreter's lock."""
    padding = text.find("=")
    try:
        if 0 <= padding < len(text) - 2:
            raise ValueError("padding amid the text")  # noqa: TRY301 - said in the same words as the rest
        for start in range(0, len(text), _PIECE):
            binascii.a2b_base64(text[start : start + _PIECE], strict_mode=True)
    except ValueError as error:
        raise ValueError("is not valid base64") from error


class TextPart(Part):
    type: Literal["text"]
    text: Text

    def part(self) -> ModelPart:
        return ModelText(self.text)


class RefusalPart(Part):
    """What an earlier answer refused with."""

    type: Literal["refusal"]
    refusal: Text

    def part(self) -> ModelPart:
        return ModelText(self.refusal)


class _ImageUrl(Part):
    url: Annotated[Image, PlainValidator(_image)]


class ImagePart(Part):
    type: Literal["image_url"]
    image_url: _ImageUrl

    def part(self) -> ModelPart:
        return self.image_url.url


def _kind(content: Any) -> str:
    return "text" if isinstance(content, str) else "parts"


ContentPart = Annotated[TextPart | ImagePart | RefusalPart, Field(discriminator="type")]
Content = Annotated[
    Annotated[Text, Tag("text")] | Annotated[list[ContentPart], Field(max_length=MAX_PARTS), Tag("parts")],
    Discriminator(_kind),
]
"""Discriminated, so that a mistake is named where it is and not once for each kind."""


def parts(content: str | list[TextPart | ImagePart | RefusalPart] | None) -> Iterator[ModelPart]:
    """The content as the parts of a message."""
    if isinstance(content, str):
        yield ModelText(content)
    else:
        for item in content or ():
            yield item.part()
