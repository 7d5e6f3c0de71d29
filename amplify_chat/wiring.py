"""The composition root: which parts the service is made of, from the environment. Nothing else builds them."""

from collections.abc import Sequence
from pathlib import Path

import structlog

from accounts.authentication import ApiKeys, Authenticator
from accounts.principal import Principal
from amplify_chat.env import Env
from assistants.default import DefaultAssistant
from assistants.registry import AssistantRegistry
from chat.registry import RunRegistry
from chat.runs import Run, RunLimits
from chat.service import ChatService, Limits
from core.aio import run_blocking
from core.http import HttpClient, HttpTimeouts
from llm.catalogue import Catalogue, ListedModels, ModelSource, named
from llm.embedded import CARD as EMBEDDED_CARD
from llm.embedded import EmbeddedServer, EmbeddedUnavailable
from llm.endpoints import OPENAI_URL, Api, Endpoint, base_endpoint, read_endpoints_file
from llm.model import Model, ModelCard
from llm.pool import Member, Pool
from llm.prepare import Prepared
from llm.providers.openai_chat import OpenAIChat
from llm.scripted import ScriptedModel
from llm.vendor import Provider, VendorModel
from usage.ledger import Ledger
from usage.metered import Meter, Metered
from usage.models import Outcome

log = structlog.get_logger(__name__)

_MB = 1024 * 1024


class Wiring:
    """The parts that live as long as the process."""

    def __init__(self, env: Env) -> None:
        self.env = env
        self.client = HttpClient(
            timeouts=HttpTimeouts(
                connect=env.upstream_connect_seconds,
                first_byte=env.upstream_first_byte_seconds,
                gap=env.upstream_gap_seconds,
            )
        )
        self._providers: dict[Api, Provider] = {"chat": OpenAIChat()}
        self.ledger = Ledger()
        self.embedded: EmbeddedServer | ScriptedModel | None = None
        self.service = self._service()

    def _service(self) -> ChatService:
        env = self.env
        return ChatService(
            authenticator=Authenticator([ApiKeys()]),
            catalogue=Catalogue(self._sources()),
            assistants=AssistantRegistry([DefaultAssistant()]),
            runs=RunRegistry(
                RunLimits(
                    deadline=env.run_deadline_seconds,
                    grace=env.run_grace_seconds,
                    keep=env.run_keep_seconds,
                    heartbeat=env.heartbeat_seconds,
                )
            ),
            metered_for=self._metered_for,
            allowed_origins=env.allowed_origins,
            default_form=env.stream_format,
            limits=Limits(
                body_bytes=env.body_max_mb * _MB,
                body_seconds=env.body_seconds,
                message_bytes=env.websocket_max_mb * _MB,
            ),
        )

    def _metered_for(self, model: Model, principal: Principal, run: Run) -> Model:
        meter = Meter(
            ledger=self.ledger,
            principal=principal,
            run_id=run.id,
            request_id=run.request_id,
            why_stopped=lambda: Outcome(run.stop_reason or "failed"),
            spent=run.spend,
            assistant=lambda: run.assistant,
        )
        return Metered(model, meter)

    def _sources(self) -> list[ModelSource]:
        """In the order in which they give the default model: what somebody configured goes before the embedded one."""
        return [*self._endpoint_models(), *self._openai_models(), self._embedded_models]

    def _endpoint_models(self) -> list[ModelSource]:
        if not self.env.llm_endpoints_file:
            return []
        pools = read_endpoints_file(Path(self.env.llm_endpoints_file))
        return [named([self._chat_model(model_id, endpoints) for model_id, endpoints in pools.items()])]

    def _openai_models(self) -> list[ModelSource]:
        env = self.env
        if not (env.openai_api_key or env.openai_base_url):
            return []
        base_url = env.openai_base_url or OPENAI_URL
        endpoint = base_endpoint(base_url, env.openai_api_key)

        def make(model_id: str) -> Model:
            return self._chat_model(model_id, [endpoint])

        if env.openai_models:
            return [named([make(model_id) for model_id in env.openai_models])]
        return [ListedModels(base_url=base_url, endpoint=endpoint, client=self.client, make=make)]

    def load_embedded(self) -> str:
        """Load the embedded model if it is on, once; blocks. Where it cannot run, a scripted one stands in, and the
        reason is returned."""
        if self.embedded is not None or not self.env.embedded_model:
            return ""
        try:
            self.embedded = EmbeddedServer()
        except EmbeddedUnavailable as error:
            self.embedded = ScriptedModel()
            return str(error)
        return ""

    async def _embedded_models(self) -> Sequence[Model]:
        # `serve` has loaded it before it listens; `runserver` and other ASGI servers have not.
        if reason := await run_blocking(self.load_embedded):
            log.warning("no_embedded_model", reason=reason, hint="A scripted answer stands in, labelled as such.")
        match self.embedded:
            case EmbeddedServer():
                endpoint = base_endpoint(self.embedded.base_url, "")
                return [self._pooled(EMBEDDED_CARD, [endpoint])]
            case ScriptedModel():
                return [self.embedded]
            case _:
                return []

    def _chat_model(self, model_id: str, endpoints: Sequence[Endpoint]) -> Model:
        card = ModelCard(id=model_id, name=model_id, provider=endpoints[0].provider)
        return self._pooled(card, endpoints)

    def _pooled(self, card: ModelCard, endpoints: Sequence[Endpoint]) -> Model:
        """A model behind its endpoints, told only what it can take."""
        members = [
            Member(
                model=VendorModel(card, endpoint, self._providers[endpoint.api], self.client),
                name=endpoint.name,
                weight=endpoint.weight,
                max_concurrent=endpoint.max_concurrent,
            )
            for endpoint in endpoints
        ]
        return Prepared(Pool(card, members))

    async def aclose(self) -> None:
        """After the last run: write what is left to write, close what is open."""
        await self.ledger.flush()
        await self.client.aclose()
        if isinstance(self.embedded, EmbeddedServer):
            self.embedded.stop()
            self.embedded = None
