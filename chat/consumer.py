"""The base of our HTTP consumers: bounded bodies, JSON errors in one shape, CORS, and a client's leaving noticed."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any

import orjson
import structlog
from channels.generic.http import AsyncHttpConsumer

from chat.service import ChatService
from core import tracing
from core.cors import Headers, cors_headers, preflight_headers
from core.errors import AmplifyError, BadRequest, MethodNotAllowed, PayloadTooLarge, RequestTimeout
from core.ids import request_id

log = structlog.get_logger(__name__)

Receive = Callable[[], Awaitable[dict[str, Any]]]
Linger = Callable[[], Awaitable[None]]
Rest = Callable[[], Awaitable[None]] | None

LINGER_SECONDS = 2.0


class ClientLeft(Exception):
    """The client closed the connection before its request was complete."""


class HttpConsumer(AsyncHttpConsumer):
    """One HTTP request. Subclasses say which methods they take and implement `respond`.

    Channels' own dispatch is replaced: it keeps whole bodies of any size, hops to a thread for every message, and
    hears of a client's leaving only when the answer is complete.
    """

    methods: tuple[str, ...] = ("POST",)
    route = ""
    """Its address as it stands in traces, where a part of it varies, as in `/runs/{run_id}/events`."""
    traced = True
    """Whether each request is a span; not where machines ask every few seconds."""

    def __init__(self, service: ChatService) -> None:
        super().__init__()
        self.service = service

    async def respond(self, body: bytes) -> Rest:
        """Answer the request, or return what is left to do when the body may be forgotten: streams last, and a body
        of 50 MB must not last with them. An AmplifyError that is raised before the first byte becomes the answer."""
        raise NotImplementedError

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Callable[[Any], Awaitable[None]]) -> None:
        self.scope, self.receive, self.base_send = scope, receive, send
        # The last of repeated headers counts; ASGI gives names in lower case.
        self.headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        self.request_id = request_id(self.headers.get("x-request-id"))
        self.begun = False
        self.run_id = ""
        self.span = self._start_span() if self.traced else tracing.Span()
        try:
            with self.span.current():
                await self._answer_or_refuse()
        finally:
            self.span.set({"amplify.run.id": self.run_id} if self.run_id else {})
            self.span.end()

    def _start_span(self) -> tracing.Span:
        if not tracing.is_on():
            return tracing.Span()
        method, route = self.scope["method"], self.route or self.scope["path"]
        # Any text may stand as a method; only those that are ours become part of a name.
        method = method if method in {*self.methods, "OPTIONS"} else "_OTHER"
        attributes = {"http.request.method": method, "http.route": route}
        return tracing.start(f"{method} {route}", attributes, kind="server", headers=self.headers)

    async def _answer_or_refuse(self) -> None:
        scope = self.scope
        try:
            await self._answer()
        except ClientLeft:
            self.span.set({"amplify.client_left": True})
        except AmplifyError as error:
            await self._refuse(error)
        except Exception:
            log.exception("request_crashed", request=self.request_id, path=scope["path"])
            await self._refuse(AmplifyError())

    async def _answer(self) -> None:
        method = self.scope["method"]
        if method == "OPTIONS":
            await self.reply(HTTPStatus.NO_CONTENT, b"", headers=self._preflight())
        elif method not in self.methods:
            raise MethodNotAllowed(f"{method} is not for this address. Use {' or '.join(self.methods)}.")
        else:
            rest = await self.respond(await self._body())
            if rest is not None:
                await rest()

    async def _body(self) -> bytes:
        """The whole body. Raises PayloadTooLarge as soon as that is clear, RequestTimeout, ClientLeft."""
        limits = self.service.limits
        if _declared_length(self.headers) > limits.body_bytes:
            raise body_too_large(limits.body_bytes)
        chunks: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(limits.body_seconds):
                while True:
                    message = await self.receive()
                    if message["type"] == "http.disconnect":
                        raise ClientLeft
                    size += len(message.get("body", b""))
                    if size > limits.body_bytes:
                        raise body_too_large(limits.body_bytes)
                    chunks.append(message.get("body", b""))
                    if not message.get("more_body", False):
                        return b"".join(chunks)
        except TimeoutError as error:
            raise RequestTimeout from error

    async def _refuse(self, error: AmplifyError) -> None:
        if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            self.span.fail(error.code)
        else:  # the caller's own mistake: no failure of the service
            self.span.set({"error.type": error.code})
        if self.begun:
            # Too late for a status: the connection ends, the client sees an incomplete body.
            log.warning("response_broken_off", request=self.request_id, code=error.code)
            return
        headers = [(name.lower().encode(), value.encode()) for name, value in self.error_headers(error).items()]
        body_is_coming = isinstance(error, PayloadTooLarge | RequestTimeout)
        if body_is_coming:
            headers.append((b"connection", b"close"))
        await self.reply_json(
            error.status, self.error_body(error), headers=headers, and_then=self._discard if body_is_coming else None
        )

    def error_headers(self, error: AmplifyError) -> Mapping[str, str]:
        """The headers that tell this address's clients of an error."""
        return error.answer_headers()

    def error_body(self, error: AmplifyError) -> dict[str, Any]:
        """The JSON object that tells this address's clients of an error."""
        return error.body(self.request_id)

    async def _discard(self) -> None:
        """Let the rest of a refused body run out for a while.

        A connection closed in the middle of it would be reset, and the client would not see the answer.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                while (await self.receive()).get("more_body", False):
                    pass

    async def reply_json(
        self, status: int, content: Mapping[str, Any], headers: Headers | None = None, and_then: Linger | None = None
    ) -> None:
        typed = [(b"content-type", b"application/json"), *(headers or ())]
        await self.reply(status, orjson.dumps(content), headers=typed, and_then=and_then)

    async def reply(
        self, status: int, body: bytes, headers: Headers | None = None, and_then: Linger | None = None
    ) -> None:
        """A complete answer with the headers that every answer has; `and_then` runs before the connection closes."""
        length = [] if status == HTTPStatus.NO_CONTENT else [(b"content-length", b"%d" % len(body))]
        await self.begin(status, [*(headers or ()), *length])
        if and_then is None:
            await self.send_body(body)
        else:
            await self.send_body(body, more_body=True)
            await and_then()
            await self.send_body(b"")

    async def begin(self, status: int, headers: Headers) -> None:
        self.begun = True
        self.span.set({"http.response.status_code": status})
        common = [(b"x-request-id", self.request_id.encode()), *self._cors()]
        if self.run_id:
            common.append((b"x-run-id", self.run_id.encode()))
        await self.send_headers(status=status, headers=[*headers, *common])

    async def send_body(self, body: bytes, *, more_body: bool = False) -> None:
        """A piece of the body; straight to the server, as this runs once a token."""
        await self.base_send({"type": "http.response.body", "body": body, "more_body": more_body})

    def _cors(self) -> Headers:
        return cors_headers(self.service.allowed_origins, self.headers.get("origin"))

    def _preflight(self) -> Headers:
        return preflight_headers(b"GET,POST,OPTIONS")


def _declared_length(headers: Mapping[str, str]) -> int:
    declared = headers.get("content-length", "0")
    if not declared.isdecimal():
        raise BadRequest("Content-Length is not a number.")
    return int(declared)


def body_too_large(limit: int) -> PayloadTooLarge:
    return PayloadTooLarge(
        f"The request body is larger than {limit // 1024 // 1024} MB. Send less, or upload documents."
    )
