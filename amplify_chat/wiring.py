"""The composition root: which parts the service is made of, from the environment. Nothing else builds them."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from accounts.authentication import ApiKeys, Authenticator
from accounts.directory import Directory
from accounts.login import current
from accounts.stores.backends import get_stores
from amplify_chat.env import Env
from amplify_chat.model_sources import ModelMaker, ModelSources
from amplify_chat.platform import FRESH_SECONDS, platform_models
from amplify_chat.platform_jobs import platform_jobs
from amplify_chat.sign_in import SignIn
from assistants.default import DefaultAssistant
from assistants.registry import AssistantRegistry
from chat.registry import RunRegistry
from chat.runs import ConductedRun, RunLimits
from chat.service import ChatService, Limits
from core import tracing
from core.aio import run_blocking
from core.http import HttpClient, HttpTimeouts
from llm.available_models import AvailableModels
from llm.cards import CardBook
from llm.catalogue import Catalogue
from llm.embedded import CARD as EMBEDDED_CARD
from llm.embedded import EmbeddedServer, EmbeddedUnavailable
from llm.endpoints import base_endpoint
from llm.model import Model
from llm.pool import Fallback
from llm.scripted import ScriptedModel
from llm.traced import Traced
from usage.admission import Admission, Admissions
from usage.books import Books
from usage.budgets import BudgetBook
from usage.budgets import current as current_budgets
from usage.jobs import Jobs
from usage.journal import Journal
from usage.metered import Meter, Metered
from usage.models import Outcome
from usage.platform.books import PlatformBooks
from usage.platform.tables import platform_tables
from usage.prices import PRICES
from usage.rate_limits import RateLimiter, Rates
from usage.stored_limits import StoredLimits

if TYPE_CHECKING:
    from amplify_chat.shared import Shared
    from amplify_chat.tracing import Tracing
    from usage.shared_rates import SharedRates

log = structlog.get_logger(__name__)

_MB = 1024 * 1024


class Wiring:
    """The parts that live as long as the process."""

    def __init__(self, env: Env) -> None:
        self.env = env
        self._tracing = _tracing(env)
        self.client = HttpClient(
            timeouts=HttpTimeouts(
                connect=env.upstream_connect_seconds,
                first_byte=env.upstream_first_byte_seconds,
                gap=env.upstream_gap_seconds,
            )
        )
        self.cards = self._cards()
        self._maker = ModelMaker(env, self.client, self.cards)
        self.books = Books(
            partial(Journal, Path(env.journal_dir)),
            lease=env.reservation_seconds,
        )
        tables = platform_tables()
        self.platform_books = None if tables is None else PlatformBooks(tables)
        self._jobs = Jobs(platform_jobs(env, tables))
        self.embedded: EmbeddedServer | ScriptedModel | None = None
        stores = get_stores()
        self.directory = Directory(stores)
        self._stored_limits = StoredLimits(stores, self.directory)
        self._api_keys = ApiKeys(stores, self.directory)
        self._sign_in = SignIn(env, self.client, self.directory)
        current.provider = self._sign_in.provider()
        books = self.platform_books
        self._budgets = current_budgets.book = BudgetBook(
            [self._stored_limits, *(books.limits if books else ())],
            with_elsewhere=books.spent_elsewhere if books else None,
        )
        self._run_limits = RunLimits(
            deadline=env.run_deadline_seconds,
            grace=env.run_grace_seconds,
            keep=env.run_keep_seconds,
            heartbeat=env.heartbeat_seconds,
        )
        self._shared = _shared(env, self._run_limits)
        self.service = self._service()

    def _service(self) -> ChatService:
        env, shared = self.env, self._shared
        return ChatService(
            authenticator=Authenticator(
                [scheme for scheme in (self._api_keys, self._sign_in.access_tokens()) if scheme], self.directory
            ),
            catalogue=Catalogue(
                [*ModelSources(env, self.client, self._maker).all(), self._embedded_models], rules=self.cards
            ),
            assistants=AssistantRegistry([DefaultAssistant()]),
            runs=RunRegistry(self._run_limits, shared.peers if shared else None),
            admissions=Admissions(self.books, self._budgets, _rate_limiter(env, shared.rates if shared else None)),
            metered_for=self._metered_for,
            allowed_origins=env.allowed_origins,
            default_form=env.stream_format,
            limits=Limits(
                body_bytes=env.body_max_mb * _MB,
                body_seconds=env.body_seconds,
                message_bytes=env.websocket_max_mb * _MB,
            ),
        )

    def _cards(self) -> CardBook | AvailableModels:
        """What is known of models: our own table, or the platform's table or API, whose prices then count too."""
        env, platform = self.env, platform_models(self.env)
        if platform is not None:
            PRICES.take_rates(platform.rates)
            return CardBook(platform.table, seconds=FRESH_SECONDS)
        if env.state_backend == "dynamodb" and env.api_base_url:
            api = AvailableModels(env.api_base_url, self.client, on_news=self._on_news_of_models)
            PRICES.take_rates(api.rates)
            return api
        return CardBook()

    def _on_news_of_models(self) -> None:
        self.service.catalogue.forget()
        PRICES.forget()

    def _metered_for(self, models: Sequence[Model], admission: Admission, run: ConductedRun) -> Model:
        meter = Meter(
            admission=admission,
            why_stopped=lambda: Outcome(run.stop_reason or "failed"),
            spent=run.spend,
            assistant=lambda: run.assistant,
        )
        metered: list[Model] = [Metered(model, meter) for model in models]
        if tracing.is_on():
            metered = [Traced(model) for model in metered]
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

    def start(self) -> None:
        """Begin what goes on beside the requests; inside the running loop."""
        self.books.start()
        if self.platform_books is not None:
            self.platform_books.start()
        self._jobs.start()
        if self._shared is not None:
            self._shared.start(self.service.runs.hear)

    async def aclose(self) -> None:
        """After the last run: write what is left to write, close what is open."""
        await self._jobs.aclose()
        if self._shared is not None:
            await self._shared.aclose()
        await self.books.aclose()
        if self.platform_books is not None:
            await self.platform_books.aclose()
        await self._api_keys.aclose()
        await self._stored_limits.aclose()
        await self.directory.aclose()
        await self.cards.aclose()
        await self.client.aclose()
        if isinstance(self.embedded, EmbeddedServer):
            self.embedded.stop()
            self.embedded = None
        if self._tracing is not None:
            await self._tracing.aclose()


def _tracing(env: Env) -> "Tracing | None":
    if not env.otlp_endpoint:
        return None
    from amplify_chat.tracing import Tracing  # noqa: PLC0415 - nobody pays for what is off

    made = Tracing()
    tracing.use(made)
    return made


def _shared(env: Env, limits: RunLimits) -> "Shared | None":
    if not env.redis_url:
        return None
    from amplify_chat.shared import Shared  # noqa: PLC0415 - nobody pays for what is off

    return Shared(env.redis_url, limits)


def _rate_limiter(env: Env, shared: "SharedRates | None") -> RateLimiter:
    return RateLimiter(
        shared=shared,
        user=Rates(
            requests_per_minute=env.user_requests_per_minute,
            tokens_per_minute=env.user_tokens_per_minute,
            concurrent_runs=env.user_concurrent_runs,
        ),
        key=Rates(
            requests_per_minute=env.key_requests_per_minute,
            tokens_per_minute=env.key_tokens_per_minute,
            concurrent_runs=env.key_concurrent_runs,
        ),
    )
