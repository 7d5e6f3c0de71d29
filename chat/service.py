"""What every transport does with a question, whatever wire it came by."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from accounts.authentication import Authenticator, same_origin
from accounts.limits import SpendLimit, limit_of_rate
from accounts.principal import Principal
from assistants.registry import AssistantRegistry
from assistants.turn import Turn
from chat.question import Question
from chat.registry import RunRegistry
from chat.runs import ConductedRun
from chat.schema.chat import parse_kill
from chat.wire import FORMS, Encoder
from core import tracing
from core.errors import BadRequest, Draining, Forbidden
from llm.catalogue import Catalogue
from llm.events import Event
from llm.model import Model
from usage.admission import Admission, Admissions

# For the last bytes of ended runs to leave; a client that reads slower than that is cut.
LAST_BYTES_SECONDS = 5.0

MeteredFor = Callable[[Sequence[Model], Admission, ConductedRun], Model]
"""Models in order of preference as one run calls them: as one model, its cost booked to whom it was admitted for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a transport lets in. Bytes and seconds."""

    body_bytes: int = 50 * 1024 * 1024
    body_seconds: float = 60.0
    """A body that is not here by then is not coming."""
    message_bytes: int = 4 * 1024 * 1024
    """One WebSocket message."""
    sign_in_seconds: float = 10.0
    """How long a socket may stay without having said who it is."""


@dataclass(kw_only=True)
class ChatService:
    """Built once, in `amplify_chat.wiring`."""

    authenticator: Authenticator
    catalogue: Catalogue
    assistants: AssistantRegistry
    runs: RunRegistry
    admissions: Admissions
    metered_for: MeteredFor
    allowed_origins: tuple[str, ...] = ("*",)
    default_form: str = "seed"
    limits: Limits = field(default_factory=Limits)
    connections: "Connections" = field(default_factory=lambda: Connections())  # noqa: PLW0108 - defined below

    async def identify(self, headers: Mapping[str, str]) -> Principal:
        """Who makes this request: a bearer token, else the session of one of our own pages. Raises Unauthorized."""
        return await self.authenticator.by_headers(headers)

    def check_origin(self, headers: Mapping[str, str]) -> None:
        """A browser's page may open a socket only if it is ours or listed. Raises Forbidden."""
        origin = headers.get("origin")
        if origin is None or same_origin(headers) or not {"*", origin}.isdisjoint(self.allowed_origins):
            return
        raise Forbidden("This origin may not connect. Add it to ALLOWED_ORIGINS.")

    def form(self, wanted: str | None) -> Encoder:
        """How today's clients want text written: what the request says, else the setting."""
        return FORMS[wanted or self.default_form]

    async def models(self, principal: Principal) -> Sequence[Model]:
        """What the caller may use; the first is the default."""
        return await self.catalogue.models(principal)

    async def start(
        self, principal: Principal, question: Question, encode: Encoder, *, directly: bool = False
    ) -> ConductedRun:
        """Admit a question and begin its run; `directly` asks the model itself, without an assistant.

        Raises UnknownModel, Forbidden for somebody else's account, TooManyRequests, BudgetExceeded, Unavailable,
        Draining.
        """
        if self.runs.draining:
            raise Draining
        principal = principal.charging(_account(question.options))
        models = await self.catalogue.find(question.model_id, principal)
        with tracing.span("admission"):
            admission = await self.admissions.admit(
                principal,
                models[0].card,
                question.request,
                request_id=question.request_id,
                tighter=_own_limit(question.options),
            )

        def answer(run: ConductedRun) -> AsyncGenerator[Event, None]:
            metered = self.metered_for(models, admission, run)
            if directly:
                return metered.stream(question.request)
            turn = Turn(principal=principal, model=metered, request=question.request, options=question.options)
            return self.assistants.answer(turn, chosen=run.name_assistant)

        try:
            return self.runs.start(
                principal=principal,
                request_id=question.request_id,
                encode=encode,
                answer=answer,
                run_id=admission.run_id,
                on_end=admission.end,
            )
        except BaseException:
            admission.end()
            raise

    async def drain(self, within: float) -> int:
        """Refuse new runs, let those that go on finish within so many seconds, and see their readers off.

        Returns how many runs were cut.
        """
        self.runs.draining = True
        self.connections.close_idle()
        cut = await self.runs.drain(within)
        self.connections.close_idle()
        await self.connections.empty(within=LAST_BYTES_SECONDS)
        return cut

    async def kill(self, principal: Principal, value: Any) -> None:
        """Carry out a body's `killSwitch`. Raises BadRequest, Unavailable."""
        switch = parse_kill(value)
        if switch.value:
            await self.runs.kill(principal, switch.request_id)
        else:
            await self.runs.revive(principal, switch.request_id)


def _account(options: Mapping[str, Any]) -> str | None:
    """The account that a request names; None leaves it to the caller's own."""
    account = options.get("accountId")
    return account if isinstance(account, str) and account else None


def _own_limit(options: Mapping[str, Any]) -> SpendLimit | None:
    """A limit that the request sets on its own user. Raises BadRequest."""
    try:
        return limit_of_rate(options.get("rateLimit"))
    except ValueError as error:
        raise BadRequest(f"options.rateLimit: {error}") from error


class Connection(Protocol):
    """Something that is streaming to a client."""

    def close_if_idle(self) -> None:
        """The service is going away: close now if nothing is under way, else as soon as that is so."""


class Connections:
    """The streams and sockets that are open, so that a shutdown can wait for them."""

    def __init__(self) -> None:
        self._open: set[Connection] = set()
        self._empty: asyncio.Event | None = None

    def __len__(self) -> int:
        return len(self._open)

    @contextmanager
    def holding(self, connection: Connection) -> Iterator[None]:
        self.add(connection)
        try:
            yield
        finally:
            self.discard(connection)

    def add(self, connection: Connection) -> None:
        self._open.add(connection)

    def discard(self, connection: Connection) -> None:
        self._open.discard(connection)
        if self._empty is not None and not self._open:
            self._empty.set()

    def close_idle(self) -> None:
        for connection in tuple(self._open):
            connection.close_if_idle()

    async def empty(self, *, within: float) -> None:
        """Wait until none is open, for so many seconds at most."""
        if not self._open:
            return
        self._empty = asyncio.Event()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._empty.wait(), within)
