"""The composition root: which parts the service is made of, from the environment. Nothing else builds them."""

from collections.abc import Sequence

import structlog

from accounts.authentication import ApiKeys, Authenticator
from accounts.principal import Principal
from amplify_chat.env import Env
from amplify_chat.model_sources import ModelMaker, ModelSources
from assistants.default import DefaultAssistant
from assistants.registry import AssistantRegistry
from chat.registry import RunRegistry
from chat.runs import Run, RunLimits
from chat.service import ChatService, Limits
from core.aio import run_blocking
from core.http import HttpClient, HttpTimeouts
from llm.cards import CardBook
from llm.catalogue import Catalogue
from llm.embedded import CARD as EMBEDDED_CARD
from llm.embedded import EmbeddedServer, EmbeddedUnavailable
from llm.endpoints import base_endpoint
from llm.model import Model
from llm.pool import Fallback
from llm.scripted import ScriptedModel
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
        self.cards = CardBook()
        self._maker = ModelMaker(env, self.client, self.cards)
        self.ledger = Ledger()
        self.embedded: EmbeddedServer | ScriptedModel | None = None
        self.service = self._service()

    def _service(self) -> ChatService:
        env = self.env
        return ChatService(
            authenticator=Authenticator([ApiKeys()]),
            catalogue=Catalogue(
                [*ModelSources(env, self.client, self._maker).all(), self._embedded_models], rules=self.cards
            ),
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

    def _metered_for(self, models: Sequence[Model], principal: Principal, run: Run) -> Model:
        meter = Meter(
            ledger=self.ledger,
            principal=principal,
            run_id=run.id,
            request_id=run.request_id,
            why_stopped=lambda: Outcome(run.stop_reason or "failed"),
            spent=run.spend,
            assistant=lambda: run.assistant,
        )
        metered = [Metered(model, meter) for model in models]
        return metered[0] if len(metered) == 1 else Fallback(metered)

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
                return [self._maker.of_card(EMBEDDED_CARD, [endpoint])]
            case ScriptedModel():
                return [self.embedded]
            case _:
                return []

    async def aclose(self) -> None:
        """After the last run: write what is left to write, close what is open."""
        await self.ledger.flush()
        await self.client.aclose()
        if isinstance(self.embedded, EmbeddedServer):
            self.embedded.stop()
            self.embedded = None
