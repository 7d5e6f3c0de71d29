"""Chat over HTTP: `POST /chat`, `GET /runs/<id>/events`, `POST /runs/<id>/cancel`."""

import asyncio
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import orjson

from accounts.principal import Principal
from chat.consumer import HttpConsumer, Rest
from chat.runlog import Batch
from chat.runs import Run
from chat.schema.base import parse_json, parsed
from chat.schema.chat import ChatRequest, parse_chat, unwrapped
from chat.wire import Encoder, Frame
from core.cors import Headers
from core.errors import AmplifyError, BadRequest
from llm.events import Event, RefusalDelta, TextDelta

_STREAM_HEADERS: Headers = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
]
_HEARTBEAT = b": ping\n\n"
# Half of the load balancer's idle timeout (docs/architecture.md, "What belongs together").
SILENT_SECONDS = 60.0


def as_sse(batch: Batch) -> bytes:
    """Frames as server-sent events, as `POST /chat` sends them: `data` lines alone."""
    if not batch.frames:
        return _HEARTBEAT
    return b"data: " + b"\n\ndata: ".join(batch.frames) + b"\n\n"


def as_numbered_sse(batch: Batch) -> bytes:
    """The same with their numbers, as `GET /runs/<id>/events` sends them."""
    if not batch.frames:
        return _HEARTBEAT
    return b"".join(b"id: %d\ndata: %b\n\n" % (n, frame) for n, frame in enumerate(batch.frames, batch.first))


class StreamConsumer(HttpConsumer):
    """Sends a run's log while its client listens."""

    async def follow(self, run: Run, *, after: int = 0, encode: Callable[[Batch], bytes] = as_sse) -> None:
        self.run_id = run.id
        await self.begin_stream()
        with self.service.connections.holding(self):
            async with Listener(self), run.reading(after) as batches:
                async for batch in batches:
                    await self.send_body(encode(batch), more_body=True)
            await self.send_body(b"")

    async def begin_stream(self) -> None:
        await self.begin(200, _STREAM_HEADERS)
        # Headers go out with the first piece of the body: with an empty one, as a model may be silent for long.
        await self.send_body(b"", more_body=True)

    async def answer_whole(self, run: Run, content: Callable[[], Mapping[str, Any]]) -> None:
        """One JSON object when the answer is complete: what `content` gives, or the error that it raises.

        A load balancer would cut a connection that stays silent, so after SILENT_SECONDS blanks are sent before the
        object, which JSON allows. From then on the status is 200, and an error is told by the object alone.
        """
        self.run_id = run.id
        silent_since = time.monotonic()
        with self.service.connections.holding(self):
            async with Listener(self) as listener, run.reading() as batches:
                async for batch in batches:
                    if not batch.frames and time.monotonic() - silent_since > SILENT_SECONDS:
                        await self._send_blank()
            if not listener.left:
                await self._send_whole(content)

    async def _send_blank(self) -> None:
        if not self.begun:
            await self.begin(200, [(b"content-type", b"application/json")])
        await self.send_body(b" ", more_body=True)

    async def _send_whole(self, content: Callable[[], Mapping[str, Any]]) -> None:
        if not self.begun:
            return await self.reply_json(200, content())
        try:
            whole = content()
        except AmplifyError as error:
            whole = self.error_body(error)
        return await self.send_body(orjson.dumps(whole))

    def close_if_idle(self) -> None:
        """A stream is never idle: it ends with its run."""


class Listener:
    """Watches a connection while it is written to; a client that leaves interrupts the writer."""

    def __init__(self, consumer: HttpConsumer) -> None:
        self._consumer = consumer
        self.left = False

    async def __aenter__(self) -> "Listener":
        self._writer = asyncio.current_task()
        self._watch = asyncio.ensure_future(self._consumer.receive())
        self._watch.add_done_callback(self._heard)
        return self

    def _heard(self, watch: asyncio.Future[Any]) -> None:
        # Whatever comes after the body is the end: nothing else is ever sent.
        if not watch.cancelled() and self._writer is not None:
            self.left = True
            self._writer.cancel()

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        self._watch.remove_done_callback(self._heard)
        self._watch.cancel()
        if kind is asyncio.CancelledError and self.left and self._writer is not None:
            return self._writer.uncancel() == 0
        return False


class ChatConsumer(StreamConsumer):
    """`POST /chat`: a question to stream the answer of, or the kill switch."""

    async def respond(self, body: bytes) -> Rest:
        principal = await self.service.identify(self.headers)
        request = await parsed(_question_or_kill, body, size=len(body))
        if isinstance(request, ChatRequest):
            return await self._begin(principal, request, stream=request.stream)
        await self.service.kill(principal, request["killSwitch"])
        await self.reply_json(200, {"status": "OK"})
        return None

    async def _begin(self, principal: Principal, request: ChatRequest, *, stream: bool) -> Rest:
        form = self.service.form(request.stream_format)
        if stream:
            return partial(self.follow, await self.service.start(principal, request.question(), form))
        texts = _Texts(form)
        run = await self.service.start(principal, request.question(), texts)
        return partial(self.answer_whole, run, lambda: _whole(run, texts))


def _question_or_kill(body: bytes) -> ChatRequest | dict[str, Any]:
    """The question; of a kill switch the body as it stands, since the service reads it. Raises BadRequest."""
    content = parse_json(body)
    if "killSwitch" in content:
        return content
    if "messages" not in unwrapped(content):
        raise BadRequest("Invalid request body: send `messages` or `killSwitch`.")
    return parse_chat(content)


class _Texts:
    """Keeps the text of an answer beside its frames, for the one JSON object at its end."""

    def __init__(self, form: Encoder) -> None:
        self._form = form
        self._texts: list[str] = []

    def __call__(self, event: Event) -> tuple[Frame, ...]:
        if isinstance(event, TextDelta | RefusalDelta):
            self._texts.append(event.text)
        return self._form(event)

    def __str__(self) -> str:
        return "".join(self._texts)


def _whole(run: Run, texts: _Texts) -> dict[str, Any]:
    """In the shape that the platform's API answers."""
    if run.error is not None:
        raise run.error
    return {
        "success": run.reason == "finished",
        "message": "Chat completed." if run.reason == "finished" else "The answer was stopped.",
        "data": str(texts),
        "run": run.id,
        "reason": run.reason,
        "finishReason": run.finish_reason,
        "usage": usage_json(run),
    }


def usage_json(run: Run) -> dict[str, Any]:
    """A run's tokens, in disjoint classes."""
    usage = run.usage
    return {
        "input": usage.input,
        "cacheRead": usage.cache_read,
        "cacheWrite": usage.cache_write,
        "output": usage.output,
        "reasoning": usage.reasoning,
        "estimated": usage.estimated,
    }


class RunEventsConsumer(StreamConsumer):
    """`GET /runs/<id>/events`: the run's events from the start, or from after `Last-Event-ID`."""

    route = "/runs/{run_id}/events"
    methods = ("GET",)

    async def respond(self, body: bytes) -> Rest:
        principal = await self.service.identify(self.headers)
        run = await self.service.runs.find(self.scope["url_route"]["kwargs"]["run_id"], principal)
        after = _last_event_id(self.headers.get("last-event-id", ""))
        return partial(self.follow, run, after=after, encode=as_numbered_sse)


class RunCancelConsumer(HttpConsumer):
    """`POST /runs/<id>/cancel`: stop it; one that has ended stays as it is."""

    route = "/runs/{run_id}/cancel"

    async def respond(self, body: bytes) -> Rest:
        principal = await self.service.identify(self.headers)
        run_id = self.scope["url_route"]["kwargs"]["run_id"]
        await self.service.runs.cancel(run_id, principal)
        await self.reply_json(200, {"status": "OK", "run": run_id})
        return None


def _last_event_id(text: str) -> int:
    if not text:
        return 0
    if not text.isdecimal() or len(text) > 18:  # noqa: PLR2004 - digits of a 64-bit number
        raise BadRequest("Last-Event-ID is not the number of an event. Send the last `id` you received, or nothing.")
    return int(text)
