"""Chat over HTTP: `POST /chat`, `GET /runs/<id>/events`, `POST /runs/<id>/cancel`."""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

from accounts.principal import Principal
from chat.consumer import Headers, HttpConsumer, Rest
from chat.runlog import Batch
from chat.runs import Run
from chat.schema import ChatRequest, parse_chat, parse_json
from chat.wire import Frame
from core.errors import BadRequest
from llm.events import Event, TextDelta

_STREAM_HEADERS: Headers = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
]
_HEARTBEAT = b": ping\n\n"


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


class _StreamConsumer(HttpConsumer):
    """Sends a run's log while its client listens."""

    async def follow(self, run: Run, *, after: int = 0, numbered: bool = False) -> None:
        await self.begin(200, [*_STREAM_HEADERS, (b"x-run-id", run.id.encode())])
        encode = as_numbered_sse if numbered else as_sse
        with self.service.connections.holding(self):
            async with _Listener(self), run.reading(after) as batches:
                async for batch in batches:
                    await self.send_body(encode(batch), more_body=True)
            await self.send_body(b"")

    def close_if_idle(self) -> None:
        """A stream is never idle: it ends with its run."""


class _Listener:
    """Watches a connection while it is written to; a client that leaves interrupts the writer."""

    def __init__(self, consumer: HttpConsumer) -> None:
        self._consumer = consumer
        self.left = False

    async def __aenter__(self) -> "_Listener":
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


class ChatConsumer(_StreamConsumer):
    """`POST /chat`: a question to stream the answer of, or the kill switch."""

    async def respond(self, body: bytes) -> Rest:
        principal = await self.service.identify(self.headers)
        content = parse_json(body)
        if "killSwitch" in content:
            self.service.kill(principal, content["killSwitch"])
            await self.reply_json(200, {"status": "OK"})
            return None
        if isinstance(content.get("data"), dict):
            return await self._begin(principal, parse_chat(content["data"]), stream=False)
        if "messages" in content:
            request = parse_chat(content)
            return await self._begin(principal, request, stream=request.stream)
        raise BadRequest("Invalid request body: send `messages` or `killSwitch`.")

    async def _begin(self, principal: Principal, request: ChatRequest, *, stream: bool) -> Rest:
        if stream:
            return partial(self.follow, await self.service.start(principal, request))
        return partial(self._answer_whole, await self.service.start(principal, request, encode=_only_text))

    async def _answer_whole(self, run: Run) -> None:
        """One JSON object when the answer is complete, in the shape that the platform's API answers."""
        texts: list[Frame] = []
        async with _Listener(self) as listener, run.reading() as batches:
            async for batch in batches:
                texts.extend(batch.frames)
        if listener.left:
            return
        if run.error is not None:
            raise run.error
        await self.reply_json(200, _whole(run, texts), headers=[(b"x-run-id", run.id.encode())])


def _only_text(event: Event) -> tuple[Frame, ...]:
    return (event.text.encode(),) if isinstance(event, TextDelta) else ()


def _whole(run: Run, texts: Sequence[Frame]) -> dict[str, Any]:
    return {
        "success": run.reason == "finished",
        "message": "Chat completed." if run.reason == "finished" else "The answer was stopped.",
        "data": b"".join(texts).decode(),
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


class RunEventsConsumer(_StreamConsumer):
    """`GET /runs/<id>/events`: the run's events from the start, or from after `Last-Event-ID`."""

    methods = ("GET",)

    async def respond(self, body: bytes) -> Rest:
        principal = await self.service.identify(self.headers)
        run = self.service.runs.find(self.scope["url_route"]["kwargs"]["run_id"], principal)
        after = _last_event_id(self.headers.get("last-event-id", ""))
        return partial(self.follow, run, after=after, numbered=True)


class RunCancelConsumer(HttpConsumer):
    """`POST /runs/<id>/cancel`: stop it; one that has ended stays as it is."""

    async def respond(self, body: bytes) -> Rest:
        principal = await self.service.identify(self.headers)
        run = self.service.runs.find(self.scope["url_route"]["kwargs"]["run_id"], principal)
        run.stop("killed")
        await self.reply_json(200, {"status": "OK", "run": run.id})
        return None


def _last_event_id(text: str) -> int:
    if not text:
        return 0
    if not text.isdecimal() or len(text) > 18:  # noqa: PLR2004 - digits of a 64-bit number
        raise BadRequest("Last-Event-ID is not the number of an event. Send the last `id` you received, or nothing.")
    return int(text)
