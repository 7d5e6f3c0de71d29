"""Which models there are."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

import aiohttp
import orjson
import structlog

from core.aio import TaskSet
from core.errors import Unavailable, UnknownModel
from core.http import HttpClient
from llm.endpoints import Endpoint
from llm.model import Model

log = structlog.get_logger(__name__)

LIST_TIMEOUT_SECONDS = 5.0
MAX_LIST_BYTES = 4 * 1024 * 1024
MAX_ID = 255
"""Characters: as many as the ledger's column holds."""
_NAMED_IN_AN_ERROR = 10
# Servers list, and the platform's secret names, what is not for chat too; no list says which is which.
_OTHER_PURPOSES = (
    *("embed", "whisper", "tts", "dall-e", "moderation", "transcribe", "realtime", "-audio", "gpt-image", "rerank"),
    *("davinci", "babbage", "sora", "code-interpreter"),
)


ModelSource = Callable[[], Awaitable[Sequence[Model] | None]]
"""A place that models come from; None when it cannot say at the moment, and is asked again."""


class Catalogue:
    """The models by id, in the order of their sources; the first is the default.

    Sources are asked together: at the first request, and again, at most twice a minute, when one of them could not
    say or when somebody names an unknown model.
    """

    REFRESH_SECONDS = 30.0

    def __init__(self, sources: Sequence[ModelSource]) -> None:
        self._sources = tuple(sources)
        self._found: list[Sequence[Model] | None] = [None] * len(self._sources)
        self._models: dict[str, Model] = {}
        self._asked_at = float("-inf")
        self._asking: asyncio.Task[None] | None = None
        self._tasks = TaskSet()

    async def models(self) -> Sequence[Model]:
        if None in self._found:
            # Somebody waits only as long as there is nothing at all.
            await self._refresh(wait=not self._models)
        return tuple(self._models.values())

    async def find(self, model_id: str | None) -> Model:
        """The model of that id, or the default one for None. Raises UnknownModel; Unavailable when there are none."""
        models = await self.models()
        if model_id is not None and model_id not in self._models:
            await self._refresh(wait=True)
        if not self._models:
            raise Unavailable("No model is available. Set OPENAI_API_KEY, LLM_ENDPOINTS_FILE or EMBEDDED_MODEL=on.")
        if model_id is None:
            return models[0]
        try:
            return self._models[model_id]
        except KeyError:
            raise UnknownModel(self._unknown(model_id)) from None

    def _unknown(self, model_id: str) -> str:
        known = ", ".join(list(self._models)[:_NAMED_IN_AN_ERROR])
        return f"Invalid model. There is no {model_id[:100]!r}; choose one of: {known}."

    async def _refresh(self, *, wait: bool) -> None:
        """Ask all sources again, once for all who want it at the same time."""
        if self._asking is None or self._asking.done():
            if time.monotonic() - self._asked_at < self.REFRESH_SECONDS and self._models:
                return
            self._asked_at = time.monotonic()
            self._asking = self._tasks.spawn(self._ask(), name="catalogue")
        if wait:
            await asyncio.shield(self._asking)

    async def _ask(self) -> None:
        answers = await asyncio.gather(*(source() for source in self._sources))
        self._found = [new if new is not None else old for new, old in zip(answers, self._found, strict=True)]
        models: dict[str, Model] = {}
        for found in self._found:
            for model in found or ():
                models.setdefault(model.card.id, model)
        self._models = models


class ListedModels:
    """The models that a compatible server lists at `GET {base}/models`."""

    def __init__(self, *, base_url: str, endpoint: Endpoint, client: HttpClient, make: Callable[[str], Model]) -> None:
        self._url = f"{base_url.rstrip('/')}/models"
        self._endpoint = endpoint
        self._client = client
        self._make = make

    async def __call__(self) -> Sequence[Model] | None:
        try:
            ids = await self._ids()
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError, LookupError, TypeError) as error:
            log.warning(
                "models_not_listed",
                reason=type(error).__name__,
                hint="Is OPENAI_BASE_URL right and its server up? OPENAI_MODELS names models without asking it.",
            )
            return None
        return [self._make(model_id) for model_id in ids if _is_for_chat(model_id)]

    async def _ids(self) -> list[str]:
        timeout = aiohttp.ClientTimeout(total=LIST_TIMEOUT_SECONDS)
        async with self._client.session.get(
            self._url, headers=self._endpoint.headers, timeout=timeout, allow_redirects=False, raise_for_status=True
        ) as response:
            content = orjson.loads(await response.content.read(MAX_LIST_BYTES))
            return [str(entry["id"]) for entry in content["data"]]


def _is_for_chat(model_id: str) -> bool:
    return len(model_id) <= MAX_ID and not any(word in model_id.lower() for word in _OTHER_PURPOSES)


def named(models: Sequence[Model]) -> ModelSource:
    """A source of models that are known beforehand."""
    chat = [model for model in models if _is_for_chat(model.card.id)]

    async def source() -> Sequence[Model]:
        return chat

    return source
