"""A conversation as Anthropic's and Amazon's APIs take it: user and assistant in turns, the system's words apart.

Sources: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Message.html,
https://platform.claude.com/docs/en/api/messages, https://platform.claude.com/docs/en/agents-and-tools/tool-use/overview.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import groupby
from typing import Any

import orjson

from core.errors import BadRequest
from llm.messages import Image, Message, ModelRequest, Part, Reasoning, Text, Tool, ToolCall, ToolResult

# Said where a conversation begins with the model's words: the first ones must be the user's.
OPENING = Message.of("user", "[The conversation begins with your words.]")
NO_OUTPUT = "[The tool gave no output.]"
# Under this name the model sees arguments of a call of its own that are not a JSON object.
BROKEN_ARGUMENTS = "invalid_arguments"
# Before the signature of reasoning that the vendor gave only encrypted; signatures themselves are base64.
REDACTED = "redacted:"

_IMAGE_FORMATS = {
    "image/png": "png",
    "image/jpeg": "jpeg",
    "image/jpg": "jpeg",
    "image/gif": "gif",
    "image/webp": "webp",
}
_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def turns(messages: Iterable[Message]) -> tuple[Message, ...]:
    """What user and assistant said, in alternation, beginning with the user: neighbours of one role become one.

    Blank text is left out, and reasoning that nobody signed: both vendors refuse them. Raises BadRequest if nothing is
    left.
    """
    said = [message for message in map(_spoken, messages) if message.parts and message.role != "system"]
    if not said:
        raise BadRequest("There is nothing to answer. Send at least one message of the user that is not empty.")
    merged = [
        Message(role=role, parts=_ordered([part for message in group for part in message.parts]))
        for role, group in groupby(said, key=lambda message: message.role)
    ]
    if merged[0].role != "user":
        merged.insert(0, OPENING)
    merged[-1] = _begun_answer(merged[-1])
    return tuple(merged)


def _spoken(message: Message) -> Message:
    return replace(message, parts=tuple(part for part in message.parts if _says_something(part)))


def _says_something(part: Part) -> bool:
    match part:
        case Text(text):
            return bool(text.strip())
        case Reasoning():
            return bool(part.signature)
        case _:
            return True


def _ordered(parts: list[Part]) -> tuple[Part, ...]:
    """Results of tools stand first: the vendors look for them right behind the calls."""
    return tuple(sorted(parts, key=lambda part: not isinstance(part, ToolResult)))


def _begun_answer(last: Message) -> Message:
    """An answer that the caller has begun must not end in white space."""
    if last.role == "assistant" and isinstance(text := last.parts[-1], Text):
        return replace(last, parts=(*last.parts[:-1], Text(text.text.rstrip())))
    return last


def system_texts(messages: Iterable[Message]) -> list[str]:
    """The system's words, wherever in the conversation they stand."""
    parts = [part for message in messages if message.role == "system" for part in message.parts]
    if not all(isinstance(part, Text) for part in parts):
        raise BadRequest("A system message can only hold text for this model. Put images into a message of the user.")
    return [part.text for part in parts if isinstance(part, Text) and part.text.strip()]


def listed_tools(request: ModelRequest) -> tuple[Tool, ...]:
    """The tools to tell of. A history with calls in it is refused without any, so then they are listed though they must
    not be called, or stand-ins for those that the caller no longer offers."""
    called = dict.fromkeys(call.name for message in request.messages for call in message.parts_of(ToolCall))
    if request.tools and (request.tool_choice != "none" or called):
        return request.tools
    return tuple(Tool(name=name, description="Was used earlier; cannot be called any more.") for name in called)


def arguments(call: ToolCall) -> dict[str, Any]:
    """A call's arguments as the object that they must be; the model sees again what it wrote if it is none."""
    if not call.arguments.strip():
        return {}
    try:
        content = orjson.loads(call.arguments)
    except orjson.JSONDecodeError:
        content = None
    return content if isinstance(content, dict) else {BROKEN_ARGUMENTS: call.arguments}


def result_text(result: ToolResult) -> str:
    return result.text if result.text.strip() else NO_OUTPUT


def fitting_id(call_id: str) -> str:
    """The id of a call as both vendors take it; another vendor's that does not fit becomes one that does, always the
    same."""
    if _ID.fullmatch(call_id):
        return call_id
    return f"call_{hashlib.sha256(call_id.encode()).hexdigest()[:32]}"


def image_format(image: Image) -> str:
    """`png`, `jpeg`, `gif` or `webp`. Raises BadRequest for any other one."""
    if not (known := _IMAGE_FORMATS.get(image.media_type.lower())):
        raise BadRequest("This model takes PNG, JPEG, GIF and WebP images. Send the image in one of these formats.")
    return known


def with_extra(body: Mapping[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of the card join those of the request, also inside an object that both have, and win."""
    merged = dict(body)
    for name, value in extra.items():
        both_objects = isinstance(value, Mapping) and isinstance(merged.get(name), Mapping)
        merged[name] = {**merged[name], **value} if both_objects else value
    return merged
