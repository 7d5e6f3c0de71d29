"""The door of the REST API: an ASGI application before Django's.

Here, on the loop and once per request, it is seen who is asking; Django's threads only read it from the scope. The
credentials are those of the chat: a bearer token, or the session of one of our own pages. That the request comes from
one (`accounts.authentication.same_origin`) is asked of every method, and so is what protects from cross-site requests.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import orjson
import structlog

from accounts.principal import Principal
from core.cors import Headers, cors_headers, preflight_headers
from core.errors import AmplifyError, BadRequest, PayloadTooLarge, RequestTimeout
from core.ids import request_id

log = structlog.get_logger(__name__)

Scope = dict[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
Identify = Callable[[Mapping[str, str]], Awaitable[Principal]]

BODY_BYTES = 1024 * 1024
METHODS = b"GET,POST,PUT,PATCH,DELETE,OPTIONS"
# A connection that is closed in the middle of a body is reset, and its client does not see the answer.
LINGER_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiDoor:
    """Lets requests to `/api/` through to Django, with `request_id` and `caller` in their scope."""

    django: Application
    identify: Identify
    """Who makes a request with these headers; raises AmplifyError."""
    allowed_origins: Sequence[str] = ()
    body_seconds: float = 60.0
    """A body that is not here by then is not coming."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # The last of repeated headers counts, as with the hot routes; ASGI gives names in lower case.
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        request = request_id(headers.get("x-request-id"))
        marks = [(b"x-request-id", request.encode()), *cors_headers(self.allowed_origins, headers.get("origin"))]
        answer = _Answer(send, marks)
        if scope["method"] == "OPTIONS":
            return await answer.whole(204, b"", preflight_headers(METHODS))
        body = _Body(receive, self.body_seconds)
        caller = await self._caller(headers)
        # One spelling is enough for the routes: with the slash at the end.
        path = scope["path"] if scope["path"].endswith("/") else scope["path"] + "/"
        inner = {**scope, "path": path, "request_id": request, "caller": caller}
        try:
            _check_address(scope)
            await self.django(inner, body.receive, answer.send)
        except (BadRequest, PayloadTooLarge, RequestTimeout) as error:  # nothing has been answered yet
            await answer.refuse(error, request)
            await body.discard()
            await answer.end()
        return None

    async def _caller(self, headers: Mapping[str, str]) -> Principal | AmplifyError:
        """Who is asking, or why nobody is: some pages are for everybody."""
        try:
            return await self.identify(headers)
        except AmplifyError as error:
            return error
        except Exception:
            log.exception("identification_crashed")
            return AmplifyError()


def _check_address(scope: Scope) -> None:
    """Django would answer this one in a form of its own."""
    if not scope.get("query_string", b"").isascii():
        raise BadRequest("Percent-encode the query string.")


class _Body:
    """A request's body on its way to Django: bounded in bytes and in time."""

    def __init__(self, receive: Receive, seconds: float) -> None:
        self._receive = receive
        self._deadline = asyncio.get_running_loop().time() + seconds
        self._bytes = 0
        self._complete = False

    async def receive(self) -> Message:
        """Raises PayloadTooLarge, RequestTimeout."""
        if self._complete:  # Django goes on listening, for its client's leaving
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError as error:
            raise RequestTimeout from error
        self._bytes += len(message.get("body", b""))
        if self._bytes > BODY_BYTES:
            raise PayloadTooLarge("The request body is larger than 1 MB. Send less.")
        self._complete = not message.get("more_body", False)
        return message

    async def discard(self) -> None:
        """Let the rest of a refused body run out for a while."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                while (await self._receive()).get("more_body", False):
                    pass


class _Answer:
    """An answer on its way to the client, with the headers that every answer has."""

    def __init__(self, send: Send, marks: Headers) -> None:
        self._send = send
        self._marks = marks

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *self._marks]}
        await self._send(message)

    async def whole(self, status: int, body: bytes, headers: Headers) -> None:
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})

    async def refuse(self, error: AmplifyError, request: str) -> None:
        """All of the answer but its end, as more of the request is to come."""
        body = orjson.dumps(error.body(request))
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
        ]
        await self.send({"type": "http.response.start", "status": error.status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body, "more_body": True})

    async def end(self) -> None:
        await self.send({"type": "http.response.body", "body": b""})
