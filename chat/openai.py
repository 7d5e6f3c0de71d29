"""OpenAI's front door: `POST /v1/chat/completions`, `GET /v1/models`, `GET /v1/models/<id>`.

The same admission, runs, ledger and kill as `/chat`; the model is asked directly, no assistant stands between.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import orjson

from chat.consumer import HttpConsumer, Rest
from chat.http import Listener, StreamConsumer, as_sse
from chat.openai_wire import Chunks, Completion, error_json
from chat.runs import Run
from chat.schema.base import parsed
from chat.schema.completions import parse_completion
from core.errors import AmplifyError, NotFound, UnknownModel
from llm.model import Model

_DONE = b"data: [DONE]\n\n"


class RunStopped(AmplifyError):
    """The caller stopped it."""

    status = 400  # not 409, which OpenAI's clients try again
    code = "stopped"
    default = "The answer was stopped before it was complete."


class ModelNotFound(NotFound):
    """OpenAI says 404 where `/chat` says 400."""

    code = "model_not_found"


class _OpenAIErrors(HttpConsumer):
    def error_body(self, error: AmplifyError) -> dict[str, Any]:
        return error_json(error)

    def error_headers(self, error: AmplifyError) -> Mapping[str, str]:
        """OpenAI's clients try every 5xx again unless they are told not to; each attempt would be paid for."""
        again = {} if error.retryable or error.status < 500 else {"x-should-retry": "false"}  # noqa: PLR2004
        return {**error.answer_headers(), **again}


class CompletionsConsumer(_OpenAIErrors, StreamConsumer):
    """`POST /v1/chat/completions`."""

    async def respond(self, body: bytes) -> Rest:
        principal = await self.service.identify(self.headers)
        request = await parsed(parse_completion, body, size=len(body))
        encode = Chunks(request.model, with_usage=request.wants_usage) if request.stream else Completion(request.model)
        # The caller's own request id names the run for the kill switch.
        question = request.question(self.request_id if "x-request-id" in self.headers else "")
        try:
            run = await self.service.start(principal, question, encode, directly=True)
        except UnknownModel as error:
            raise ModelNotFound(error.message) from error
        if isinstance(encode, Completion):
            return partial(self.answer_whole, run, partial(_whole, run, encode))
        return partial(self._stream, run)

    async def _stream(self, run: Run) -> None:
        """As OpenAI does, a failure before the first word is told by the status, so that clients know its kind and try
        again where that helps; from the first heartbeat on the status is 200."""
        self.run_id = run.id
        with self.service.connections.holding(self):
            async with Listener(self) as listener, run.reading() as batches:
                async for batch in batches:
                    if not self.begun:
                        if run.error is not None:
                            raise run.error
                        await self.begin_stream()
                    await self.send_body(as_sse(batch), more_body=True)
            if not listener.left:
                await self._end_stream(run)

    async def _end_stream(self, run: Run) -> None:
        stopped = run.error is None and run.reason != "finished"
        if stopped and not self.begun:
            raise RunStopped
        if stopped:
            await self.send_body(b"data: %b\n\n" % orjson.dumps(error_json(RunStopped())), more_body=True)
        await self.send_body(_DONE if run.reason == "finished" else b"")


def _whole(run: Run, completion: Completion) -> dict[str, Any]:
    if run.error is not None:
        raise run.error
    if run.reason != "finished":
        raise RunStopped
    return completion.json()


class ModelsConsumer(_OpenAIErrors):
    """`GET /v1/models`: what this caller may use."""

    methods = ("GET",)

    async def respond(self, body: bytes) -> Rest:
        principal = await self.service.identify(self.headers)
        await self.reply_json(200, _listed(await self.service.models(principal)))
        return None


class ModelConsumer(_OpenAIErrors):
    """`GET /v1/models/<id>`."""

    route = "/v1/models/{model_id}"
    methods = ("GET",)

    async def respond(self, body: bytes) -> Rest:
        principal = await self.service.identify(self.headers)
        wanted = self.scope["url_route"]["kwargs"]["model_id"]
        for model in await self.service.models(principal):
            if model.card.id == wanted:
                await self.reply_json(200, _entry(model))
                return None
        raise ModelNotFound(f"There is no model {wanted[:100]!r} for you. GET /v1/models lists what there is.")


def _listed(models: Sequence[Model]) -> dict[str, Any]:
    return {"object": "list", "data": [_entry(model) for model in models]}


def _entry(model: Model) -> dict[str, Any]:
    # OpenAI gives the moment a model was made; nobody tells us, and its clients want a number.
    return {"id": model.card.id, "object": "model", "created": 0, "owned_by": model.card.provider}
