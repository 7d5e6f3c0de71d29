"""Where models come from: the environment's endpoints and keys, with each model's behaviours around it."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Protocol

import orjson
import structlog

from amplify_chat.env import Env
from core import tracing
from core.aio import run_blocking
from core.http import HttpClient
from core.secrets import Secret
from llm.catalogue import ListedModels, ModelSource, is_for_chat
from llm.endpoints import (
    OPENAI_URL,
    Api,
    Endpoint,
    EndpointsError,
    Pools,
    base_endpoint,
    parse_endpoints,
    read_endpoints_file,
)
from llm.model import Model, ModelCard
from llm.pool import Member, Pool
from llm.prepare import Prepared
from llm.providers.anthropic import Anthropic
from llm.providers.azure import EntraTokens, WithEntra
from llm.providers.bedrock import Bedrock
from llm.providers.converse import Guardrail
from llm.providers.gemini import Gemini
from llm.providers.openai_chat import OpenAIChat
from llm.providers.openai_responses import OpenAIResponses
from llm.shipped import shipped_cards
from llm.structured import Structured
from llm.tokens import preload
from llm.traced import Attempt
from llm.vendor import Provider, VendorModel
from llm.window import Fitted

log = structlog.get_logger(__name__)


# Of one model id: as many as there may be sources of it at once.
REMEMBERED_POOLS = 4


class Cards(Protocol):
    """Where the facts of models come from."""

    async def card(self, model_id: str, *, provider: str) -> ModelCard: ...


class ModelMaker:
    """Makes the model that answers at some endpoints. The same endpoints and facts give the same model again, which
    remembers how its endpoints have fared."""

    def __init__(self, env: Env, client: HttpClient, cards: Cards) -> None:
        self._client = client
        self._cards = cards
        self._providers = _providers(env)
        self._entra = _entra(env, client)
        self._made: dict[str, list[tuple[tuple[Endpoint, ...], Model]]] = {}

    async def make(self, model_id: str, endpoints: Sequence[Endpoint]) -> Model:
        card = await self._cards.card(model_id, provider=endpoints[0].provider)
        await run_blocking(preload, card)  # before the first question has to be counted
        return self.of_card(card, endpoints)

    def of_card(self, card: ModelCard, endpoints: Sequence[Endpoint]) -> Model:
        made = self._made.setdefault(card.id, [])
        for known_endpoints, known in made:
            if known_endpoints == tuple(endpoints) and known.card == card:
                return known
        model = self._behind(card, endpoints)
        # The latest ones only: with each key that is rotated, a model was made that nobody asks any more.
        self._made[card.id] = [*made, (tuple(endpoints), model)][-REMEMBERED_POOLS:]
        return model

    def _behind(self, card: ModelCard, endpoints: Sequence[Endpoint]) -> Model:
        members = [Member.at(endpoint, self._at(endpoint, _as_at(card, endpoint))) for endpoint in endpoints]
        return Fitted(Structured(Prepared(Pool(card, members))))

    def _at(self, endpoint: Endpoint, card: ModelCard) -> Model:
        model = VendorModel(card, endpoint, self._provider(endpoint), self._client)
        return Attempt(model, endpoint.name) if tracing.is_on() else model

    def _provider(self, endpoint: Endpoint) -> Provider:
        provider = self._providers[endpoint.api]
        if endpoint.provider != "azure" or endpoint.key:
            return provider
        if self._entra is None:
            hint = "Give it a key, or set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET for Entra tokens."
            log.warning("endpoint_without_key", endpoint=endpoint.name, hint=hint)
            return provider
        return WithEntra(provider, self._entra)


def _as_at(card: ModelCard, endpoint: Endpoint) -> ModelCard:
    """Each endpoint is spoken to as its own vendor wants it, whoever the pool's first one is."""
    return card if endpoint.provider == "compatible" else replace(card, provider=endpoint.provider)


def _providers(env: Env) -> Mapping[Api, Provider]:
    guarded = env.bedrock_guardrail_id and env.bedrock_guardrail_version
    guardrail = Guardrail(id=env.bedrock_guardrail_id, version=env.bedrock_guardrail_version) if guarded else None
    return {
        "chat": OpenAIChat(),
        "responses": OpenAIResponses(),
        "anthropic": Anthropic(),
        "bedrock": Bedrock(region=env.aws_region, guardrail=guardrail),
        "gemini": Gemini(),
    }


def _entra(env: Env, client: HttpClient) -> EntraTokens | None:
    if not (env.azure_tenant_id and env.azure_client_id and env.azure_client_secret):
        return None
    return EntraTokens(
        tenant=env.azure_tenant_id,
        client_id=env.azure_client_id,
        client_secret=env.azure_client_secret,
        client=client,
    )


class ModelSources:
    """The sources in the order in which they give the default model: what somebody configured, most exact first."""

    def __init__(self, env: Env, client: HttpClient, maker: ModelMaker) -> None:
        self._env = env
        self._client = client
        self._maker = maker
        self._app_secrets = Secret(env.app_secrets, region=env.aws_region) if env.app_secrets else None

    def all(self) -> list[ModelSource]:
        """Raises EndpointsError if there is an endpoints file and it is wrong."""
        return [
            *self._of_file(),
            *self._of_secret(),
            self._openai,
            partial(self._of_vendor, "anthropic"),
            partial(self._of_vendor, "gemini"),
            self._bedrock,
        ]

    def _of_file(self) -> list[ModelSource]:
        if not self._env.llm_endpoints_file:
            return []
        path = Path(self._env.llm_endpoints_file)
        read_endpoints_file(path)  # a wrong file stops the start; one that goes wrong later leaves what was known

        async def source() -> Sequence[Model] | None:
            return await self._pools(partial(run_blocking, read_endpoints_file, path))

        return [source]

    def _of_secret(self) -> list[ModelSource]:
        name = self._env.llm_endpoints_secret_arn or self._env.llm_endpoints_secret
        if not name:
            return []
        secret = Secret(name, region=self._env.aws_region)

        async def read() -> Pools:
            text = await secret.text()
            if text is None:
                raise EndpointsError(f"The secret {name} cannot be read yet.")
            return parse_endpoints(text, f"The secret {name}")

        async def source() -> Sequence[Model] | None:
            return await self._pools(read)

        return [source]

    async def _pools(self, read: Callable[[], Awaitable[Pools]]) -> Sequence[Model] | None:
        try:
            pools = await read()
        except EndpointsError as error:
            log.warning("endpoints_not_read", reason=str(error), hint="What was known before goes on.")
            return None
        return [await self._maker.make(name, endpoints) for name, endpoints in pools.items() if is_for_chat(name)]

    async def _openai(self) -> Sequence[Model] | None:
        env = self._env
        key = env.openai_api_key or await self._secret_key("OPENAI_API_KEY")
        if not (key or env.openai_base_url):
            return None if key is None else []
        base_url = env.openai_base_url or OPENAI_URL
        endpoint = base_endpoint(base_url, key or "")
        if env.openai_models:
            return await self._made(env.openai_models, endpoint)
        make = partial(self._maker.make, endpoints=[endpoint])
        return await ListedModels(base_url=base_url, endpoint=endpoint, client=self._client, make=make)()

    async def _of_vendor(self, provider: str) -> Sequence[Model] | None:
        """A vendor with a key and a base URL: the models named, else those that come with the service."""
        env = self._env
        key = getattr(env, f"{provider}_api_key") or await self._secret_key(f"{provider.upper()}_API_KEY")
        if not key:
            return None if key is None else []
        api: Api = "gemini" if provider == "gemini" else "anthropic"
        endpoint = Endpoint(url=getattr(env, f"{provider}_base_url"), key=key, provider=provider, api=api)
        named = getattr(env, f"{provider}_models")
        return await self._made(named or await run_blocking(_shipped, provider), endpoint)

    async def _bedrock(self) -> Sequence[Model]:
        """Only if models are named: whether this account may use them, only an administrator knows."""
        env = self._env
        base_url = env.bedrock_base_url or f"https://bedrock-runtime.{env.aws_region}.amazonaws.com"
        endpoint = Endpoint(url=base_url, key=env.bedrock_api_key, provider="bedrock", api="bedrock")
        return await self._made(env.bedrock_models, endpoint)

    async def _made(self, names: Iterable[str], endpoint: Endpoint) -> Sequence[Model]:
        return [await self._maker.make(name, [endpoint]) for name in names]

    async def _secret_key(self, name: str) -> str | None:
        """A key out of the platform's application secrets; "" if there is none, None while they cannot be read."""
        if self._app_secrets is None:
            return ""
        text = await self._app_secrets.text()
        if text is None:
            return None
        try:
            content = orjson.loads(text)
        except orjson.JSONDecodeError:
            log.warning("app_secrets_not_json", secret=self._env.app_secrets)
            return ""
        return str(content.get(name) or "").strip() if isinstance(content, dict) else ""


def _shipped(provider: str) -> list[str]:
    return [card.id for card in shipped_cards().values() if card.provider == provider]
