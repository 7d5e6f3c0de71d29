"""Make a request fit for a model: what its card says that it cannot take is put another way, or left out."""

from collections.abc import AsyncGenerator, Iterator
from dataclasses import replace

from core.errors import BadRequest
from llm.events import Event
from llm.messages import Image, Message, ModelRequest, Part, Text, ToolCall
from llm.model import ModelCard, WrappedModel

BLIND_NOTE = "[An image stood here. You cannot see images: tell the user so, and suggest a model that can.]"


def prepared(card: ModelCard, request: ModelRequest) -> ModelRequest:
    """The request as this model can take it. Pure. Raises BadRequest for what cannot be put another way."""
    messages = [_message(card, message) for message in request.messages]
    if card.system_prompt:
        messages.insert(0, Message.of("system", card.system_prompt))
    if not card.system_prompts:
        messages = [replace(m, role="user") if m.role == "system" else m for m in messages]
    if request.tools and not card.tools:
        raise BadRequest(f"{card.name} cannot call tools. Choose another model, or leave `tools` out.")
    kept = tuple(message for message in messages if message.parts)
    if not kept:
        raise BadRequest("All of `messages` is blank: send a question.")
    if not card.sampling:
        request = replace(request, temperature=None, top_p=None, stop=())
    return replace(
        request,
        messages=kept,
        effort=card.nearest_effort(request.effort),
    )


def _message(card: ModelCard, message: Message) -> Message:
    parts = tuple(_parts(card, message))
    return message if parts == message.parts else replace(message, parts=parts)


def _parts(card: ModelCard, message: Message) -> Iterator[Part]:
    for part in message.parts:
        if isinstance(part, Text) and not part.text.strip():
            continue  # several vendors refuse blank text
        if isinstance(part, Image):
            yield _seen(card, part)
        elif isinstance(part, ToolCall) and part.signature and card.provider != "gemini":
            yield replace(part, signature="")  # another vendor's, from before the conversation changed its model
        else:
            yield part


def _seen(card: ModelCard, image: Image) -> Part:
    if not card.images:
        return Text(BLIND_NOTE)
    if image.url and not card.image_urls:
        raise BadRequest(f"{card.name} does not fetch images from addresses. Send the image itself, as a data URL.")
    return image


class Prepared(WrappedModel):
    """Gives its model only what the card says that it can take."""

    def stream(self, request: ModelRequest) -> AsyncGenerator[Event, None]:
        # The inner generator itself: one of our own around it would cost every frame two microseconds.
        return self.inner.stream(prepared(self.card, request))
