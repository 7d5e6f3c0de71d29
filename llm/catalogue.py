"""Which models there are."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Literal, Protocol

import aiohttp
import orjson
import structlog

from core.aio import TaskSet
from core.errors import Unavailable, UnknownModel
from core.http import HttpClient, read_at_most
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


Role = Literal["default", "advanced", "cheapest", "document_caching"]
"""What a model is wanted for where nobody names one."""
NEXT_ROLE: Mapping[Role, Role] = {"advanced": "default", "cheapest": "default", "document_caching": "cheapest"}
"""Whose model serves a role that has none of its own, or none that the caller may use."""

ModelSource = Callable[[], Awaitable[Sequence[Model] | None]]
"""A place that models come from; None when it cannot say at the moment, and is asked again."""


class Asker(Protocol):
    """Who wants a model; `accounts.principal.Principal` is one."""

    @property
    def user_id(self) -> str: ...

    @property
    def groups(self) -> AbstractSet[str]: ...

    @property
    def bearer(self) -> str:
        """The credential, to ask others on their behalf; empty if there is none to pass on."""


class ModelRules(Protocol):
    """What one asker may use, and which model stands for another: as it is at this moment, out of memory."""

    def may_use(self, model_id: str) -> bool: ...

    @property
    def roles(self) -> Mapping[str, str]:
        """`default`, `advanced`, `cheapest`, `document_caching`: model ids."""

    def fallback_of(self, model_id: str) -> str | None: ...

    def in_order(self, model_ids: Iterable[str]) -> list[str]: ...


class RuleBook(Protocol):
    async def rules_for(self, asker: Asker) -> ModelRules:
        """Raises Unavailable when nobody can say."""


class Catalogue:
    """The models by id, in the order of their sources, unless the rules have another.

    Sources are asked together: at the first request; at most twice a minute when one of them could not say or when
    somebody names an unknown model; and in the background when the last answer is a minute old.
    """

    REFRESH_SECONDS = 30.0
    MAX_AGE_SECONDS = 60.0
    STALE_SECONDS = 300.0

    def __init__(self, sources: Sequence[ModelSource], rules: RuleBook) -> None:
        self._sources = tuple(sources)
        self._rules = rules
        self._found: list[Sequence[Model] | None] = [None] * len(self._sources)
        self._models: dict[str, Model] = {}
        self._asked_at = float("-inf")
        self._asking: asyncio.Task[None] | None = None
        self._tasks = TaskSet()

    async def models(self, asker: Asker) -> Sequence[Model]:
        """What the asker may use. Raises Unavailable when nobody can say."""
        # First of all, here and below: what the sources make of a model may depend on what is learnt with the rules.
        rules = await self._rules.rules_for(asker)
        await self._keep_fresh()
        return self._usable(rules)

    async def find(self, model_id: str | None, asker: Asker) -> Sequence[Model]:
        """The model of that id, or the default one for None, and behind it the ones that answer when it fails.

        Raises UnknownModel, for one that the asker may not use too; Unavailable when there are none.
        """
        rules = await self._rules.rules_for(asker)
        await self._keep_fresh()
        if model_id is not None and model_id not in self._models:
            await self._refresh(wait=True)
        return self._found_by(rules, model_id or self._default(rules))

    async def find_role(self, role: Role, asker: Asker) -> Sequence[Model]:
        """The model of that role, or of the next one (NEXT_ROLE) where the asker may not use it or it is not there;
        at last the default model. Behind it the ones that answer when it fails. Raises Unavailable when there are none.
        """
        rules = await self._rules.rules_for(asker)
        await self._keep_fresh()
        return self._found_by(rules, self._of_role(rules, role) or self._default(rules))

    def forget(self) -> None:
        """Ask the sources again before the next answer: facts of models have changed."""
        self._asked_at = float("-inf")

    def _usable(self, rules: ModelRules) -> list[Model]:
        return [self._models[name] for name in rules.in_order(self._models) if rules.may_use(name)]

    def _found_by(self, rules: ModelRules, wanted: str) -> Sequence[Model]:
        if wanted not in self._models or not rules.may_use(wanted):
            raise UnknownModel(self._unknown(rules, wanted))
        return [self._models[wanted], *self._fallbacks(rules, wanted)]

    def _of_role(self, rules: ModelRules, role: Role | None) -> str | None:
        roles = rules.roles
        while role is not None:
            chosen = roles.get(role)
            if chosen in self._models and rules.may_use(chosen):
                return chosen
            role = NEXT_ROLE.get(role)
        return None

    def _default(self, rules: ModelRules) -> str:
        if (chosen := self._of_role(rules, "default")) is not None:
            return chosen
        models = self._usable(rules)
        if not models:
            raise Unavailable(
                "No model is available. Set OPENAI_API_KEY, LLM_ENDPOINTS_FILE or EMBEDDED_MODEL=on, and see in the "
                "admin which models are enabled and for whom."
            )
        return models[0].card.id

    def _fallbacks(self, rules: ModelRules, model_id: str) -> Sequence[Model]:
        chain: dict[str, Model] = {}
        following = rules.fallback_of(model_id)
        while following is not None and following not in chain and following != model_id:
            if following in self._models and rules.may_use(following):
                chain[following] = self._models[following]
            following = rules.fallback_of(following)
        return list(chain.values())

    def _unknown(self, rules: ModelRules, model_id: str) -> str:
        known = ", ".join([model.card.id for model in self._usable(rules)][:_NAMED_IN_AN_ERROR])
        return f"Invalid model. There is no {model_id[:100]!r}; choose one of: {known}."

    async def _keep_fresh(self) -> None:
        age = time.monotonic() - self._asked_at
        if age > self.MAX_AGE_SECONDS or None in self._found:
            # Somebody waits only when there is nothing at all, or only what was true before a long silence.
            await self._refresh(wait=not self._models or age > self.STALE_SECONDS)

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
        answers = await asyncio.gather(*(_answer_of(source) for source in self._sources))
        self._found = [new if new is not None else old for new, old in zip(answers, self._found, strict=True)]
        models: dict[str, Model] = {}
        for found in self._found:
            for model in found or ():
                models.setdefault(model.card.id, model)
        self._models = models


async def _answer_of(source: ModelSource) -> Sequence[Model] | None:
    """One source's trouble is not the others'."""
    try:
        return await source()
    except Exception:
        log.exception("model_source_failed", hint="Its models stay as they were known last.")
        return None


class ListedModels:
    """The models that a compatible server lists at `GET {base}/models`."""

    def __init__(
        self, *, base_url: str, endpoint: Endpoint, client: HttpClient, make: Callable[[str], Awaitable[Model]]
    ) -> None:
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
        return [await self._make(model_id) for model_id in ids if is_for_chat(model_id)]

    async def _ids(self) -> list[str]:
        timeout = aiohttp.ClientTimeout(total=LIST_TIMEOUT_SECONDS)
        async with self._client.session.get(
            self._url, headers=self._endpoint.headers, timeout=timeout, allow_redirects=False, raise_for_status=True
        ) as response:
            body = await read_at_most(MAX_LIST_BYTES, response)
            return [str(entry["id"]) for entry in orjson.loads(body)["data"]]


def is_for_chat(model_id: str) -> bool:
    return len(model_id) <= MAX_ID and not any(word in model_id.lower() for word in _OTHER_PURPOSES)
