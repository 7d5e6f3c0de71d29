"""How many tokens a text, a conversation or a request has: exact for OpenAI's vocabularies, estimated for others.

Exact counts come from the tables in the package bpe-openai. Measured: the first count in a process loads o200k in
0.05 s on an idle core, 0.16 s on a busy one, and 68 MB (holding the GIL: `preload` does it before anybody waits);
then 8 to 30 MB of prose a second, without the GIL. So small texts are counted where one stands, and `count_messages`
and `count_request` take the large ones off the loop.

Everything here is a walk over the request with a `Counter` for its texts; with `utf8_length` as the counter the walk
gives an upper bound for almost no work, since no token is shorter than a byte.
"""

import importlib.machinery
import importlib.util
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, partial
from types import ModuleType
from typing import Any, Literal, Protocol

from core.aio import COMPUTING
from llm.messages import Image, Message, ModelRequest, Part, Reasoning, Text, Tool, ToolCall, ToolResult
from llm.model import ModelCard

Counter = Callable[[str], int]
"""Says how many tokens a text has."""

Encoding = Literal["o200k_base", "cl100k_base"]

_ENCODING_OF_PROVIDER: Mapping[str, Encoding] = {"openai": "o200k_base", "azure": "o200k_base"}
# What OpenAI trained before GPT-4o, by its own names: https://github.com/openai/tiktoken, tiktoken/model.py.
_CL100K_FAMILIES = ("gpt-4", "gpt-3.5", "gpt-35")

# English prose has about four characters a token in today's vocabularies; a message's frame costs about four tokens,
# the beginning of the answer three (https://cookbook.openai.com, "How to count tokens with tiktoken").
_BYTES_A_TOKEN = 4
_TOKENS_A_MESSAGE = 4
_TOKENS_OF_THE_ANSWERS_FRAME = 3
_TOKENS_A_TOOL = 8

IMAGE_TOKENS = 1_600
"""Of any image. Vendors reckon by its size after their own scaling: Anthropic up to about 1,600, OpenAI up to 1,445 in
high detail, Gemini 258 a tile. We do not open images, and a count that is too high is the harmless one."""

INLINE_BYTES = 64 * 1024
"""What is counted on the loop: up to some 6 ms."""


class _Encoder(Protocol):
    def count(self, text: str) -> int: ...


def utf8_length(text: str) -> int:
    """Bytes of a text: at least as many as it has tokens."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def estimate_text(text: str) -> int:
    """Tokens of a text, by its UTF-8 length; right within a quarter for prose."""
    return estimate_bytes(utf8_length(text))


def estimate_bytes(size: int) -> int:
    """Tokens of a UTF-8 text of so many bytes, rounded up."""
    return -(-size // _BYTES_A_TOKEN)


def estimate_messages(messages: Iterable[Message]) -> int:
    """Tokens that a conversation costs as input."""
    return sum(message_tokens(message, estimate_text) for message in messages)


def count_text(text: str, *, card: ModelCard) -> int:
    """Tokens of a text for this model. Blocks: 0.1 ms a kB, and to load the encoder at the first call."""
    return counter_of(card)(text)


def counter_of(card: ModelCard) -> Counter:
    """The exact counter where the model's vocabulary is known, else the estimate. Any text may be counted."""
    encoding = encoding_of(card)
    return estimate_text if encoding is None else _exact(encoding)


def encoding_of(card: ModelCard) -> Encoding | None:
    """The vocabulary a model was trained with; None where we do not have it."""
    encoding = _ENCODING_OF_PROVIDER.get(card.provider)
    # Closed by a hyphen, so that gpt-4o and gpt-4.1 are not taken for a gpt-4-turbo.
    is_old = any(f"{name}-".startswith(f"{old}-") for name in (card.id, card.wire_id) for old in _CL100K_FAMILIES)
    return "cl100k_base" if encoding and is_old else encoding


def preload(card: ModelCard) -> None:
    """Load what counting for this model needs, if it needs anything. Blocks; loaded once in a process."""
    if (encoding := encoding_of(card)) is not None:
        _encoder(encoding)


def counts_at_once(card: ModelCard, size: int) -> bool:
    """Whether so many bytes may be counted on the loop; else they belong into `core.aio.COMPUTING`."""
    encoding = encoding_of(card)
    return size <= INLINE_BYTES and (encoding is None or encoding in _loaded)


async def count_messages(messages: Iterable[Message], *, card: ModelCard) -> int:
    """Tokens that a conversation costs this model as input. Never holds up the loop."""
    return await count_request(ModelRequest(messages=tuple(messages)), card=card)


async def count_request(request: ModelRequest, *, card: ModelCard) -> int:
    """Tokens that a whole request costs as input: messages, tools, schema. Never holds up the loop."""
    return await _walked(partial(request_tokens, request), card)


async def count_answer(text: str, *, card: ModelCard) -> int:
    """Tokens that this model's answer had. Never holds up the loop."""
    return await _walked(lambda count: count(text), card)


async def _walked(walk: Callable[[Counter], int], card: ModelCard) -> int:
    if counts_at_once(card, walk(utf8_length)):
        return walk(counter_of(card))
    return await COMPUTING.run(lambda: walk(counter_of(card)))


def request_tokens(request: ModelRequest, count: Counter) -> int:
    """Tokens of a whole request. Pure, like all of the walk below."""
    return fixed_tokens(request, count) + sum(message_tokens(message, count) for message in request.messages)


def fixed_tokens(request: ModelRequest, count: Counter) -> int:
    """Tokens of all but the messages: tools, the schema of the answer, the frame of the answer."""
    tools = sum(_tool_tokens(tool, count) for tool in request.tools)
    schema = count(_as_text(request.output.schema or {})) + _TOKENS_A_TOOL if request.output else 0
    return tools + schema + _TOKENS_OF_THE_ANSWERS_FRAME


def message_tokens(message: Message, count: Counter) -> int:
    """Tokens of one message and its frame; tool results have a frame each, as most vendors want them apart."""
    return _TOKENS_A_MESSAGE + sum(_part_tokens(part, count) for part in message.parts)


def _part_tokens(part: Part, count: Counter) -> int:
    match part:
        case Text(text):
            return count(text)
        case Image():
            return IMAGE_TOKENS
        case ToolCall():
            return count(part.id) + count(part.name) + count(part.arguments) + _TOKENS_A_MESSAGE
        case ToolResult():
            return count(part.call_id) + count(part.name) + count(part.text) + _TOKENS_A_MESSAGE
        case Reasoning():
            return count(part.text)  # its signature is not read as text


def _tool_tokens(tool: Tool, count: Counter) -> int:
    """An estimate for every vendor: each shows the schema to its model in a form of its own."""
    return count(tool.name) + count(tool.description) + count(_as_text(tool.parameters)) + _TOKENS_A_TOOL


def _as_text(schema: Mapping[str, Any]) -> str:
    """A schema about as long as its JSON, however deep it is."""
    return '":"'.join(_words(schema))


def _words(schema: Mapping[str, Any]) -> Iterator[str]:
    left: list[Any] = [schema]
    while left:
        match left.pop():
            case Mapping() as mapping:
                yield from map(str, mapping)
                left.extend(mapping.values())
            case str() as word:
                yield word
            case Sequence() as items:
                left.extend(items)
            case other:
                yield str(other)


_loaded: set[Encoding] = set()


def _exact(encoding: Encoding) -> Counter:
    def count(text: str) -> int:
        try:
            return _encoder(encoding).count(text)
        except UnicodeEncodeError:  # lone surrogates; pairs of them become what they stand for
            return _encoder(encoding).count(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))

    return count


@cache
def _encoder(encoding: Encoding) -> _Encoder:
    # Through the bindings: they take any length and know no special tokens, so `<|endoftext|>` is a text like others.
    # The package's own wrapper refuses a million characters.
    encoder: _Encoder = _bindings().tokenizer_for_encoding(encoding)
    encoder.count("")
    _loaded.add(encoding)
    return encoder


@cache
def _bindings() -> ModuleType:
    """The package's extension without the package: its __init__ reads three tables into dicts, 0.6 s and 70 MB."""
    package = importlib.util.find_spec("bpe_openai")
    spec = package and importlib.machinery.PathFinder.find_spec(
        "bpe_openai._bindings", package.submodule_search_locations
    )
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError("The package bpe-openai is not installed: pip install -r requirements/base.txt")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
