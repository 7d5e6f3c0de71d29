"""Which models there are."""

import time
from collections.abc import Awaitable, Callable, Sequence

import aiohttp
import orjson
import structlog

from core.errors import Unavailable, UnknownModel
from core.http import HttpClient
from llm.endpoints import Endpoint
from llm.model import Model

log = structlog.get_logger(__name__)

LIST_TIMEOUT_SECONDS = 5.0
MAX_LIST_BYTES = 4 * 1024 * 1024
_NAMED_IN_AN_ERROR = 10


ModelSource = Callable[[], Awaitable[Sequence[Model]]]
"""A place that models come from; asked again when somebody names an unknown one, at most twice a minute."""


class Catalogue:
    """The models by id; the first is the default. Sources that cannot be reached are asked again later."""

    REFRESH_SECONDS = 30.0

    def __init__(self, sources: Sequence[ModelSource]) -> None:
        self._sources = tuple(sources)
        self._models: dict[str, Model] = {}
        self._asked_at = float("-inf")

    async def models(self) -> Sequence[Model]:
        if not self._models:
            await self._refresh()
        return tuple(self._models.values())

    async def find(self, model_id: str | None) -> Model:
        """The model of that id, or the default one for None. Raises UnknownModel; Unavailable when there are none."""
        models = await self.models()
        if model_id is not None and model_id not in self._models:
            await self._refresh()
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

    async def _refresh(self) -> None:
        now = time.monotonic()
        if now - self._asked_at < self.REFRESH_SECONDS and self._models:
            return
        self._asked_at = now
        for source in self._sources:
            for model in await source():
                self._models.setdefault(model.card.id, model)


class ListedModels:
    """The models that a compatible server lists at `GET {base}/models`."""

    def __init__(self, *, base_url: str, endpoint: Endpoint, client: HttpClient, make: Callable[[str], Model]) -> None:
        self._url = f"{base_url.rstrip('/')}/models"
        self._endpoint = endpoint
        self._client = client
        self._make = make

    async def __call__(self) -> Sequence[Model]:
        try:
            ids = await self._ids()
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError, LookupError, TypeError) as error:
            log.warning(
                "models_not_listed",
                reason=type(error).__name__,
                hint="Is OPENAI_BASE_URL right and its server up? OPENAI_MODELS names models without asking it.",
            )
            return ()
        return [self._make(model_id) for model_id in ids]

    async def _ids(self) -> list[str]:
        timeout = aiohttp.ClientTimeout(total=LIST_TIMEOUT_SECONDS)
        async with self._client.session.get(
            self._url, headers=self._endpoint.headers, timeout=timeout, allow_redirects=False, raise_for_status=True
        ) as response:
            content = orjson.loads(await response.content.read(MAX_LIST_BYTES))
            return [str(entry["id"]) for entry in content["data"]]


def named(models: Sequence[Model]) -> ModelSource:
    """A source of models that are known beforehand."""

    async def source() -> Sequence[Model]:
        return models

    return source
