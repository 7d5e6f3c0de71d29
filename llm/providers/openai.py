"""OpenAI's chat completions, as OpenAI, vLLM, Ollama, llama.cpp and many others speak them.

`to_wire` and `from_wire` are pure; `OpenAIChat` is the thin call between them. Source of the shapes:
https://platform.openai.com/docs/api-reference/chat
"""

import asyncio
import random
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from io import BytesIO
from typing import Any

import aiohttp
import orjson
import structlog

from core.errors import (
    ModelBrokeOff,
    ModelBusy,
    ModelFailed,
    ModelRefused,
    ModelRejectedKey,
    ModelTimedOut,
    ModelUnreachable,
)
from core.http import HttpClient
from llm.endpoints import Endpoint
from llm.events import Event, Finished, FinishReason, ReasoningDelta, TextDelta, ToolCallDelta, Usage, UsageReported
from llm.messages import ModelRequest
from llm.model import ModelCard
from llm.sse import SseDecoder

log = structlog.get_logger(__name__)

LARGE_BODY_BYTES = 512 * 1024

# After `finish_reason` only the usage and `[DONE]` follow; a vendor that forgets them does not hold up the answer.
TAIL_SECONDS = 2.0

_FINISH: Mapping[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}


def to_wire(card: ModelCard, request: ModelRequest) -> dict[str, Any]:
    """The JSON body of one streamed call."""
    body: dict[str, Any] = {
        "model": card.id,
        "messages": [{"role": message.role, "content": message.text} for message in request.messages],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if request.temperature is not None:
        body["temperature"] = request.temperature
    limit = card.clamp_output(request.max_output_tokens)
    if limit is not None:
        # OpenAI replaced `max_tokens`; the servers that follow its API still know the old name best.
        body["max_completion_tokens" if card.provider == "openai" else "max_tokens"] = limit
    return body


def from_wire(chunk: Mapping[str, Any]) -> list[Event]:
    """The events of one `chat.completion.chunk`, in order. Raises ModelFailed for an error sent inside the stream."""
    if "error" in chunk and not chunk.get("choices"):
        raise _stream_error(chunk["error"])
    events: list[Event] = []
    for choice in chunk.get("choices") or ():
        delta = choice.get("delta") or {}
        if text := delta.get("content"):
            events.append(TextDelta(text))
        if reasoning := delta.get("reasoning_content") or delta.get("reasoning"):
            events.append(ReasoningDelta(reasoning))
        if calls := delta.get("tool_calls"):
            events.extend(_tool_call(call) for call in calls)
        if reason := choice.get("finish_reason"):
            events.append(Finished(_FINISH.get(reason, "stop")))
    if usage := chunk.get("usage"):
        events.append(UsageReported(usage_from_wire(usage)))
    return events


def _tool_call(call: Mapping[str, Any]) -> ToolCallDelta:
    function = call.get("function") or {}
    return ToolCallDelta(
        index=call.get("index", 0),
        id=call.get("id"),
        name=function.get("name"),
        arguments=function.get("arguments") or "",
    )


def usage_from_wire(usage: Mapping[str, Any]) -> Usage:
    """Disjoint classes: OpenAI counts cached tokens inside `prompt_tokens`, reasoning inside `completion_tokens`."""
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    return Usage(
        input=max(0, (usage.get("prompt_tokens") or 0) - cached),
        cache_read=cached,
        output=usage.get("completion_tokens") or 0,
        reasoning=(usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0,
        raw=dict(usage),
    )


def _stream_error(error: Any) -> ModelFailed:
    code = str(error.get("code") or error.get("type") or "") if isinstance(error, Mapping) else ""
    return ModelBusy() if "rate_limit" in code else ModelBrokeOff()


def _status_error(status: int) -> ModelFailed:
    match status:
        case 401 | 403:
            return ModelRejectedKey()
        case 429:
            return ModelBusy()
        case 408 | 503 | 504:
            return ModelTimedOut()
        case _ if status >= 500:  # noqa: PLR2004
            return ModelFailed()
        case _:
            return ModelRefused()


class OpenAIChat:
    """A model behind one or more endpoints that speak chat completions; each call takes one of them at random."""

    def __init__(self, card: ModelCard, endpoints: Sequence[Endpoint], client: HttpClient) -> None:
        self.card = card
        self._endpoints = tuple(endpoints)
        self._client = client

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Event, None]:
        endpoint = random.choice(self._endpoints)  # noqa: S311 - spreads load, guards nothing
        response = await self._call(endpoint, to_wire(self.card, request))
        decoder = SseDecoder()
        finished: Finished | None = None
        # Left early, the response is closed and not drained: the vendor stops generating at once.
        try:
            self._check(response)
            while chunk := await _read(response, complete=finished is not None):
                for event in _decoded(decoder.feed(chunk)):
                    if isinstance(event, Finished):
                        finished = event  # comes last here, after the usage that vendors send behind it
                    else:
                        yield event
        finally:
            response.close()
        if finished is None:
            raise ModelBrokeOff
        yield finished

    async def _call(self, endpoint: Endpoint, body: dict[str, Any]) -> aiohttp.ClientResponse:
        headers = {"Content-Type": "application/json", "Accept": "text/event-stream", **endpoint.headers}
        try:
            async with asyncio.timeout(self._client.timeouts.first_byte):
                return await self._client.session.post(
                    endpoint.url, data=_payload(body), headers=headers, allow_redirects=False
                )
        except TimeoutError as error:
            raise ModelTimedOut from error
        except (aiohttp.ClientError, OSError) as error:
            log.warning("model_unreachable", model=self.card.id, reason=type(error).__name__)
            raise ModelUnreachable from error

    def _check(self, response: aiohttp.ClientResponse) -> None:
        if response.status != 200:  # noqa: PLR2004
            # The body stays unread: vendors echo keys and prompts in it.
            log.warning("model_answered_error", model=self.card.id, status=response.status)
            raise _status_error(response.status)
        if response.content_type != "text/event-stream":
            log.warning("model_answered_no_stream", model=self.card.id, content_type=response.content_type)
            raise ModelFailed


def _payload(body: dict[str, Any]) -> bytes | BytesIO:
    """The body as bytes; a large one as a file, which is sent piece by piece so that the loop can breathe."""
    encoded = orjson.dumps(body)
    return encoded if len(encoded) < LARGE_BODY_BYTES else BytesIO(encoded)


async def _read(response: aiohttp.ClientResponse, *, complete: bool) -> bytes:
    """The bytes that came next, b"" at the end. Once the answer is complete, its tail is waited for only briefly."""
    try:
        if not complete:
            return await response.content.readany()
        async with asyncio.timeout(TAIL_SECONDS):
            return await response.content.readany()
    except (TimeoutError, aiohttp.ClientError, OSError) as error:
        if complete:
            return b""
        raise (ModelTimedOut if isinstance(error, TimeoutError) else ModelBrokeOff) from error


def _decoded(payloads: Iterable[bytes]) -> Iterable[Event]:
    for payload in payloads:
        if payload == b"[DONE]":
            continue
        try:
            chunk = orjson.loads(payload)
        except orjson.JSONDecodeError as error:
            raise ModelBrokeOff from error
        if not isinstance(chunk, dict):
            raise ModelBrokeOff
        yield from from_wire(chunk)
