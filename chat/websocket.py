"""Chat over a WebSocket: many runs on one socket, cancel and resume. The protocol is described in docs/websocket.md."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

import orjson
import structlog
from channels.consumer import get_handler_name
from channels.exceptions import DenyConnection
from channels.generic.websocket import AsyncWebsocketConsumer

from accounts.principal import Principal
from chat.http import usage_json
from chat.runs import Run
from chat.schema.base import loads, parsed
from chat.schema.chat import parse_chat
from chat.service import ChatService
from core import tracing
from core.aio import TaskSet
from core.errors import AmplifyError, BadRequest, Forbidden, Unauthorized

log = structlog.get_logger(__name__)

SUBPROTOCOL = "amplify.chat.v1"
_BEARER_SUBPROTOCOL = "bearer."

MAX_TOKEN = 16 * 1024  # letters, as `accounts.tokens` takes them
# Runs that one socket may follow at once; a page needs a few, a script opens more sockets.
MAX_RUNS = 32

CLOSE_RESTARTING = 1012  # "service restart", https://www.iana.org/assignments/websocket
CLOSE_UNAUTHORIZED = 4401  # private range, after HTTP's 401

Message = dict[str, Any]
Identity = Callable[[], Awaitable[Principal]]
"""Says who is at the other end; asked again before each run."""


class TooManyRuns(BadRequest):
    code = "too_many_runs"


class ChatSocket(AsyncWebsocketConsumer):
    """One socket. Whatever is malformed is answered with an `error` message, and the socket lives on."""

    def __init__(self, service: ChatService) -> None:
        super().__init__()
        self.service = service
        self._principal: Principal | None = None
        self._identity: Identity | None = None
        self._following: dict[str, asyncio.Task[None]] = {}
        self._tasks = TaskSet()
        self._closing = False
        self._size = 0
        """Of the message at hand; they are answered one after the other."""
        self._handlers: dict[str, Callable[[Message], Awaitable[None]]] = {
            "auth": self._sign_in,
            "chat.start": self._start,
            "run.cancel": self._cancel,
            "run.resume": self._resume,
            "ping": self._ping,
        }

    async def dispatch(self, message: Message) -> None:
        """Channels' own hops to a thread for every message, to look after database connections: we hold none."""
        await getattr(self, get_handler_name(message))(message)

    async def connect(self) -> None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in self.scope["headers"]}
        try:
            self.service.check_origin(headers)
        except Forbidden as error:
            raise DenyConnection from error
        offered = self.scope.get("subprotocols") or []
        await self.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None)
        self.service.connections.add(self)
        self._tasks.spawn(self._close_unless_signed_in(), name="sign-in")
        await self._answering(self._identify(headers, offered))
        if self.service.runs.draining:
            self.close_if_idle()

    async def _identify(self, headers: Mapping[str, str], offered: list[str]) -> None:
        """By header, by subprotocol `bearer.<key>` (browsers cannot set headers), by our page's session; else later."""
        token = next((p.removeprefix(_BEARER_SUBPROTOCOL) for p in offered if p.startswith(_BEARER_SUBPROTOCOL)), None)
        if token is not None and "authorization" not in headers:
            await self._sign_in_by(partial(self.service.authenticator.by_token, token))
        elif "authorization" in headers or "cookie" in headers:
            try:
                await self._sign_in_by(partial(self.service.identify, headers))
            except Unauthorized:
                if "authorization" in headers:
                    raise

    async def _sign_in_by(self, identity: Identity) -> None:
        self._principal = await identity()
        self._identity = identity
        await self._say({"type": "auth.ok", "user": self._principal.user_id})

    async def _close_unless_signed_in(self) -> None:
        await asyncio.sleep(self.service.limits.sign_in_seconds)
        if self._identity is None:
            await self._say(
                {"type": "error", "code": "unauthorized", "error": "Nobody signed in on this socket in time."}
            )
            await self.close(CLOSE_UNAUTHORIZED)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        message: Message = {}
        try:
            if text_data is None:
                raise BadRequest("Send text frames that hold JSON, not binary ones.")  # noqa: TRY301 - answered below
            self._size = len(text_data)
            message = await parsed(_decoded, text_data, size=self._size)
            await self._handler(message)(message)
        except AmplifyError as error:
            await self._refuse(error, message)
        except Exception:
            log.exception("socket_message_crashed")
            await self._refuse(AmplifyError(), message)

    def _handler(self, message: Message) -> Callable[[Message], Awaitable[None]]:
        handler = self._handlers.get(message["type"])
        if handler is None:
            raise BadRequest(f"Unknown type. Send one of: {', '.join(self._handlers)}.")
        return handler

    async def _answering(self, work: Awaitable[None]) -> None:
        try:
            await work
        except AmplifyError as error:
            await self._refuse(error, {})

    async def _refuse(self, error: AmplifyError, message: Message) -> None:
        about = {name: message[name] for name in ("id", "run") if isinstance(message.get(name), str)}
        await self._say({"type": "error", **error.as_message(), **about})
        if self._principal is None and error.status in (401, 403, 404) and not isinstance(error, _NotSignedIn):
            await self.close(CLOSE_UNAUTHORIZED)

    async def _sign_in(self, message: Message) -> None:
        """A wrong key also ends what an earlier one has opened: the person meant to be somebody else."""
        token = _text(message, "token", longest=MAX_TOKEN)
        self._principal = self._identity = None
        await self._sign_in_by(partial(self.service.authenticator.by_token, token))

    async def _start(self, message: Message) -> None:
        principal = await self._still_signed_in()
        own_id, body = _text(message, "id"), message.get("body")
        if not isinstance(body, dict):
            raise BadRequest("`body` should be an object: the same body as POST /chat takes.")
        if "killSwitch" in body:
            await self.service.kill(principal, body["killSwitch"])
            await self._say({"type": "kill.ok", "id": own_id})
            return
        self._check_room()
        request = await parsed(parse_chat, body, size=self._size)
        encode = self.service.form(request.stream_format)
        span = self._start_span()
        try:
            with span.current():
                run = await self.service.start(principal, request.question(), encode)
                span.set({"amplify.run.id": run.id})
                await self._say({"type": "run.started", "id": own_id, "run": run.id})
                following = self._follow(run, after=0)
        except BaseException as error:
            span.fail(tracing.code_of(error))
            span.end()
            raise
        following.add_done_callback(lambda _: _end_span(span, run))

    def _start_span(self) -> tracing.Span:
        """For one run of this socket, below the trace that the socket was opened in."""
        if not tracing.is_on():
            return tracing.Span()
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in self.scope["headers"]}
        return tracing.start("run /ws/chat", {"http.route": "/ws/chat"}, kind="server", headers=headers)

    async def _cancel(self, message: Message) -> None:
        await self.service.runs.cancel(_text(message, "run"), await self._still_signed_in())

    async def _resume(self, message: Message) -> None:
        run = await self.service.runs.find(_text(message, "run"), await self._still_signed_in())
        after = message.get("after", 0)
        if type(after) is not int or after < 0:
            raise BadRequest("`after` should be the `seq` of the last event you have, or 0.")
        if earlier := self._following.pop(run.id, None):
            earlier.cancel()
        self._check_room()
        self._follow(run, after=after)

    async def _ping(self, message: Message) -> None:
        await self._say({"type": "pong"})

    async def _still_signed_in(self) -> Principal:
        """Who it is, asked again each time: a socket must not outlive the key or session that opened it."""
        if self._identity is None:
            raise _NotSignedIn('Not signed in. Send {"type":"auth","token":"<your key>"} first.')
        self._principal = None
        self._principal = await self._identity()
        return self._principal

    def _check_room(self) -> None:
        if len(self._following) >= MAX_RUNS:
            raise TooManyRuns(f"This socket follows {MAX_RUNS} runs already. Wait for one to end or open another.")

    def _follow(self, run: Run, *, after: int) -> asyncio.Task[None]:
        task = self._tasks.spawn(self._relay(run, after), name=f"socket-{run.id}")
        self._following[run.id] = task
        task.add_done_callback(lambda done: self._unfollow(run.id, done))
        return task

    def _unfollow(self, run_id: str, task: asyncio.Task[None]) -> None:
        if self._following.get(run_id) is task:
            del self._following[run_id]
        if self.service.runs.draining:
            self.close_if_idle()

    async def _relay(self, run: Run, after: int) -> None:
        try:
            await self._tell_all(run, after)
        except AmplifyError as error:  # the process that conducts it cannot be heard any more
            await self._refuse(error, {"run": run.id})

    async def _tell_all(self, run: Run, after: int) -> None:
        head = b'{"type":"event","run":"' + run.id.encode() + b'","seq":'
        async with run.reading(after) as batches:
            async for batch in batches:
                for seq, frame in enumerate(batch.frames, batch.first):
                    await self.send(text_data=(head + b'%d,"event":%b}' % (seq, frame)).decode())
        await self._say({"type": "run.ended", "run": run.id, "reason": run.reason, "usage": usage_json(run)})

    async def _say(self, message: Message) -> None:
        await self.send(text_data=orjson.dumps(message).decode())

    def close_if_idle(self) -> None:
        if not self._following and not self._closing:
            self._closing = True
            self._tasks.spawn(self.close(CLOSE_RESTARTING), name="socket-close")

    async def disconnect(self, code: int) -> None:
        self.service.connections.discard(self)
        await self._tasks.aclose()


class _NotSignedIn(Unauthorized):
    """Nobody tried yet, so the socket stays open for the attempt."""


def _end_span(span: tracing.Span, run: Run) -> None:
    if run.error is not None:
        span.fail(run.error.code)
    span.end()


def _decoded(text: str) -> Message:
    try:
        message = loads(text)
    except ValueError as error:
        raise BadRequest(f"Not JSON: {error}.") from error
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise BadRequest('Send an object with a `type`, such as {"type":"ping"}.')
    return message


def _text(message: Message, name: str, longest: int = 512) -> str:
    value = message.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= longest:
        raise BadRequest(f"`{name}` should be a text of 1 to {longest} characters.")
    return value
