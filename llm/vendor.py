"""One call of one vendor at one endpoint: the only place where bytes go out to a vendor and come back.

A `Provider` is pure: it says what to send and how to read what comes. `VendorModel` does the rest, the same for all:
timeouts, early close, error answers, broken streams.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, Protocol

import aiohttp
import orjson
import structlog

from core.aio import COMPUTING
from core.errors import ModelBrokeOff, ModelFailed, ModelTimedOut, ModelUnreachable
from core.http import HttpClient
from llm.endpoints import Endpoint
from llm.events import Event, Finished, ToolCallDelta
from llm.messages import ModelRequest, Verbatim
from llm.model import ModelCard

log = structlog.get_logger(__name__)

# From here on a body is made in a thread, kept while it may be asked for again, and sent piece by piece.
LARGE_BODY_BYTES = 256 * 1024
# An error answer is read only to tell what kind it is; its text goes nowhere.
MAX_REFUSAL_BYTES = 64 * 1024
# After the answer's last part only usage and end marks follow; a vendor that forgets them does not hold it up.
TAIL_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WireCall:
    """What to send: always a POST."""

    url: str
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    content_type: str = "text/event-stream"
    """Of the answer; any other one is a failure."""


ToWire = Callable[[ModelCard, ModelRequest], Mapping[str, Any]]


async def wire_body(to_wire: ToWire, card: ModelCard, request: ModelRequest) -> bytes:
    """The JSON that `to_wire` makes of the request. A large one is made in a thread, and once for all attempts."""
    if request.size < LARGE_BODY_BYTES:
        return _dumped(to_wire, card, request)
    for maker, made_for, made in request.bodies:
        if maker is to_wire and made_for == card:
            return made
    body = await COMPUTING.run(_dumped, to_wire, card, request)
    request.bodies.append((to_wire, card, body))
    return body


def _dumped(to_wire: ToWire, card: ModelCard, request: ModelRequest) -> bytes:
    body: bytes = orjson.dumps(to_wire(card, request), default=_copied, option=orjson.OPT_PASSTHROUGH_SUBCLASS)
    return body


def _copied(value: Any) -> orjson.Fragment:
    if isinstance(value, Verbatim):
        return orjson.Fragment(b"".join((b'"', value.encode("ascii"), b'"')))
    raise TypeError(f"{type(value).__name__} has no place in JSON.")


class StreamReader(Protocol):
    """Reads one answer's bytes, however the network has cut them."""

    @property
    def done(self) -> bool:
        """The vendor's mark of the end has come, or its failure: nothing follows, and nothing is waited for."""

    @property
    def failure(self) -> ModelFailed | None:
        """What the answer ended in, told behind its last events: an error that the vendor sends inside the stream, or
        ModelBrokeOff for what is not its format."""

    def feed(self, chunk: bytes) -> Sequence[Event]:
        """The events that `chunk` completes: deltas, UsageReported, Finished (once; usage may come behind it)."""


class Provider(Protocol):
    """How one vendor is spoken to."""

    async def call(self, card: ModelCard, endpoint: Endpoint, request: ModelRequest) -> WireCall:
        """One streamed call, keys and signature included; waits only for credentials that have to be fetched.

        Raises BadRequest for what this vendor cannot be told.
        """

    def reader(self) -> StreamReader: ...

    def refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> ModelFailed:
        """What an answer with an error status means; its message never repeats the body."""


class VendorModel:
    """A model at one endpoint."""

    def __init__(self, card: ModelCard, endpoint: Endpoint, provider: Provider, client: HttpClient) -> None:
        self.card = card
        self.endpoint = endpoint
        self._provider = provider
        self._client = client

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Event, None]:
        call = await self._provider.call(self.card, self.endpoint, request)
        response, content_type = await self._send(call), call.content_type
        del call  # the answer lasts, and a body of 50 MB must not last with it
        finished: Finished | None = None
        tail = None
        calls = _Calls()
        # Left early, the response is closed and not drained: the vendor stops generating at once.
        try:
            await self._check(response, content_type)
            request.bodies.clear()  # it was taken: as a rule nobody asks for it again
            reader = self._provider.reader()
            while not reader.done and (chunk := await _read(response, tail)):
                for event in reader.feed(chunk):
                    if isinstance(event, Finished):
                        finished = event  # comes last here, after the usage that vendors send behind it
                        tail = asyncio.get_running_loop().time() + TAIL_SECONDS
                    else:
                        if isinstance(event, ToolCallDelta):
                            calls.see(event)
                        yield event
        finally:
            response.close()
        if reader.failure is not None:
            raise reader.failure
        if finished is None:
            raise ModelBrokeOff
        for completed in calls.without_arguments():
            yield completed
        yield finished

    async def _send(self, call: WireCall) -> aiohttp.ClientResponse:
        headers = {"Content-Type": "application/json", "Accept": call.content_type, **call.headers}
        try:
            async with asyncio.timeout(self._client.timeouts.first_byte):
                return await self._client.session.post(
                    call.url, data=_payload(call.body), headers=headers, allow_redirects=False
                )
        except TimeoutError as error:
            raise ModelTimedOut from error
        except (aiohttp.ClientError, OSError) as error:
            log.warning("model_unreachable", model=self.card.id, reason=type(error).__name__)
            raise ModelUnreachable from error

    async def _check(self, response: aiohttp.ClientResponse, content_type: str) -> None:
        if response.status != 200:  # noqa: PLR2004
            error = self._provider.refusal(response.status, response.headers, await _refusal_body(response))
            # Never its text: vendors echo keys and prompts in it.
            log.warning("model_answered_error", model=self.card.id, status=response.status, code=error.code)
            raise error
        if response.content_type != content_type:
            log.warning("model_answered_no_stream", model=self.card.id, content_type=response.content_type)
            raise ModelFailed


class _Calls:
    """The tool calls of an answer. Some vendors leave out the arguments of a call that has none; JSON needs `{}`."""

    __slots__ = ("_has_arguments",)

    def __init__(self) -> None:
        self._has_arguments: dict[int, bool] = {}

    def see(self, delta: ToolCallDelta) -> None:
        self._has_arguments[delta.index] = bool(delta.arguments) or self._has_arguments.get(delta.index, False)

    def without_arguments(self) -> Iterator[ToolCallDelta]:
        return (ToolCallDelta(index=index, arguments="{}") for index, has in self._has_arguments.items() if not has)


def _payload(body: bytes) -> bytes | BytesIO:
    """A large body as a file, which is sent piece by piece so that the loop can breathe."""
    return body if len(body) < LARGE_BODY_BYTES else BytesIO(body)


async def _refusal_body(response: aiohttp.ClientResponse) -> bytes:
    """As much of an error answer as comes soon."""
    body = b""
    try:
        async with asyncio.timeout(TAIL_SECONDS):
            while len(body) < MAX_REFUSAL_BYTES and (chunk := await response.content.readany()):
                body += chunk
    except (TimeoutError, aiohttp.ClientError, OSError):
        pass
    return body


async def _read(response: aiohttp.ClientResponse, tail: float | None) -> bytes:
    """The bytes that came next, b"" at the end. What follows a complete answer is waited for until `tail` (loop time)
    and its breaking off is no failure."""
    try:
        if tail is None:
            return await response.content.readany()
        async with asyncio.timeout_at(tail):
            return await response.content.readany()
    except (TimeoutError, aiohttp.ClientError, OSError) as error:
        if tail is not None:
            return b""
        raise (ModelTimedOut if isinstance(error, TimeoutError) else ModelBrokeOff) from error
