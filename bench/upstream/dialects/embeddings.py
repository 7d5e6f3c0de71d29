"""Embeddings, as OpenAI and Azure speak them (platform.openai.com/docs/api-reference/embeddings).

A text's vector follows from the text alone, so that equal texts are found again; near texts are not near.
"""

import base64
import hashlib
import math
import struct
from array import array
from collections.abc import Iterator
from typing import Any, cast

import orjson

from bench.upstream.dialects.azure import azure_refusal, deployment, model_from_path
from bench.upstream.dialects.base import Ask, BadRequestError, Brief, Embed, Encoder, Refusal, json_body
from bench.upstream.dialects.openai import model_of, openai_overflow, openai_refusal, overflow_message
from bench.upstream.http import Request
from bench.upstream.plan import Fault

DIMENSIONS = 1536
MAX_DIMENSIONS = 4096
MAX_INPUTS = 2048


def vector(text: bytes, dimensions: int) -> "array[float]":
    """The unit vector of a text, in single precision."""
    drawn = struct.unpack(f"<{dimensions}i", hashlib.shake_128(text).digest(4 * dimensions))
    length = math.sqrt(sum(value * value for value in drawn))
    return array("f", (value / length for value in drawn))


class EmbeddingsEncoder:
    """Vectors, not words: it is never streamed."""

    __slots__ = ("_brief",)

    def __init__(self, brief: Brief) -> None:
        self._brief = brief

    def whole(self, text: str, reason: str, tool: tuple[str, str] | None) -> bytes:
        usage = self._brief.usage
        answer = {"object": "list", "data": list(self._data()), "model": self._brief.ask.model}
        counts = {"prompt_tokens": usage.input, "total_tokens": usage.input} if usage else None
        return orjson.dumps(answer if counts is None else answer | {"usage": counts})

    def _data(self) -> Iterator[dict[str, Any]]:
        embed = self._brief.ask.embed
        assert embed is not None  # `Embeddings.parse` put it there
        for index, text in enumerate(embed.inputs):
            numbers = vector(text, embed.dimensions)
            written = base64.b64encode(numbers.tobytes()).decode() if embed.base64 else numbers.tolist()
            yield {"object": "embedding", "index": index, "embedding": written}


def _inputs(body: dict[str, Any]) -> list[bytes]:
    """The texts of `input`: a string, a list of token numbers, or a list of either."""
    found = body.get("input")
    if isinstance(found, str) or (isinstance(found, list) and found and isinstance(found[0], int)):
        found = [found]
    if not isinstance(found, list) or not 0 < len(found) <= MAX_INPUTS:
        raise BadRequestError(f"'input' must be a text or an array of 1 to {MAX_INPUTS} of them")
    if any(not isinstance(item, str | list) or not item for item in found):
        raise BadRequestError("'input' cannot hold anything but texts and token numbers, nor be empty")
    return [item.encode() if isinstance(item, str) else orjson.dumps(item) for item in found]


def _embed(body: dict[str, Any]) -> Embed:
    dimensions = body.get("dimensions", DIMENSIONS)
    if not isinstance(dimensions, int) or not 0 < dimensions <= MAX_DIMENSIONS:
        raise BadRequestError(f"'dimensions' must be from 1 to {MAX_DIMENSIONS}")
    coding = body.get("encoding_format") or "float"
    if coding not in ("float", "base64"):
        raise BadRequestError("'encoding_format' must be float or base64")
    return Embed(inputs=_inputs(body), dimensions=dimensions, base64=coding == "base64")


class Embeddings:
    """`POST /v1/embeddings`. Key: a bearer token."""

    special_faults: frozenset[Fault] = frozenset()

    def accepts(self, method: str, path: str) -> bool:
        return method == "POST" and path == "/v1/embeddings"

    def parse(self, request: Request) -> Ask:
        return self._ask(request, None)

    def _ask(self, request: Request, model: str | None) -> Ask:
        body = json_body(request)
        return Ask(model=model_of(body, model), stream=False, embed=_embed(body))

    def encoder(self, brief: Brief) -> Encoder:
        return cast("Encoder", EmbeddingsEncoder(brief))  # an ask without `stream` needs no more than its `whole`

    def refusal(self, status: int, message: str, *, retry_after: int | None = None) -> Refusal:
        return openai_refusal(status, message)

    def overflow(self, asked: int) -> Refusal:
        return openai_overflow(overflow_message(asked), "input")


class AzureEmbeddings(Embeddings):
    """`POST /openai/deployments/<name>/embeddings?api-version=…` and `POST /openai/v1/embeddings`.

    Key: `api-key`, or a bearer token.
    """

    def accepts(self, method: str, path: str) -> bool:
        found = deployment(path)
        ours = path == "/openai/v1/embeddings" or (found is not None and found[1] == "embeddings")
        return method == "POST" and ours

    def parse(self, request: Request) -> Ask:
        return self._ask(request, model_from_path(request))

    def refusal(self, status: int, message: str, *, retry_after: int | None = None) -> Refusal:
        return azure_refusal(status, message)
