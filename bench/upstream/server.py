"""The mock's connections: requests to scripts to bytes, and the two side doors `/_calls` and `/_stats`."""

import asyncio
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import cast

import orjson

from bench.upstream.dialects import DIALECTS, BadRequestError, Brief, Dialect
from bench.upstream.faults import refusal, rejection, script_for
from bench.upstream.http import Request, RequestReader, whole_response
from bench.upstream.pace import Player, Script
from bench.upstream.plan import SPECIAL_FAULTS, PlanError, parse_plan
from bench.upstream.record import Book, Outcome, Record
from bench.upstream.script import Call

BACKLOG = 4096  # connections that may wait to be accepted: a benchmark opens a thousand at once


@lru_cache(maxsize=256)
def _dialect(method: str, path: str) -> Dialect | None:
    return next((dialect for dialect in DIALECTS if dialect.accepts(method, path.partition("?")[0])), None)


class Mock:
    """What all connections share: the book of calls and the list of models."""

    def __init__(self, models: Sequence[str]) -> None:
        self.book = Book()
        self._models = models
        self._side_doors: dict[tuple[str, str], Callable[[], bytes]] = {
            ("GET", "/v1/models"): self._list_models,
            ("GET", "/_calls"): lambda: orjson.dumps(list(self.book.shown())),
            ("DELETE", "/_calls"): self._clear,
            ("GET", "/_stats"): lambda: orjson.dumps(self.book.stats()),
        }

    def _list_models(self) -> bytes:
        data = [{"id": name, "object": "model", "created": 0, "owned_by": "mock"} for name in self._models]
        return orjson.dumps({"object": "list", "data": data})

    def _clear(self) -> bytes:
        self.book.clear()
        return b"{}"

    def side_door(self, request: Request) -> bytes:
        """The answer to a request that is not a model call."""
        door = self._side_doors.get((request.method, request.path.partition("?")[0]))
        if door is None:
            return whole_response(b'{"error":{"message":"no such route in the mock"}}', status=404)
        return whole_response(door())

    def admit(self, dialect: Dialect, request: Request) -> tuple[Record, Script, Outcome]:
        """Open the record of a call and choose its script and, if nobody hangs up, its outcome."""
        try:
            ask = dialect.parse(request)
        except BadRequestError as error:
            record = self.book.open(model="", key=request.key, body=None)
            return record, rejection(dialect, error.status, str(error)), Outcome.FAULT
        record = self.book.open(model=ask.model, key=request.key, body=request.body)
        try:
            plan = parse_plan(ask.model, request.key)
        except PlanError as error:
            return record, rejection(dialect, 404, str(error)), Outcome.FAULT
        if plan.fault in SPECIAL_FAULTS and plan.fault not in dialect.special_faults:
            return record, rejection(dialect, 400, f"fault={plan.fault} is not of this vendor's"), Outcome.FAULT
        if plan.fault is not None or plan.ttft_p99 is not None:
            plan = plan.for_call(self.book.number(f"{ask.model} {request.key}"))
        outcome = Outcome.COMPLETE if plan.fault is None or plan.fault.harmless else Outcome.FAULT
        if plan.fault is not None and plan.fault.status is not None:
            return record, refusal(dialect, plan, plan.fault.status, request.key), outcome
        brief = Brief(ask=ask, plan=plan, call_id=record.id)
        call = Call(brief, plan, dialect.encoder(brief), record)
        return record, script_for(call), outcome


class Connection(asyncio.Protocol):
    """One keep-alive connection: one call at a time, later ones wait in the reader."""

    __slots__ = ("_mock", "_player", "_reader", "_transport")
    _transport: asyncio.Transport

    def __init__(self, mock: Mock) -> None:
        self._mock = mock
        self._reader = RequestReader()
        self._player: Player | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's transports do not inherit from it
        self._mock.book.connections += 1

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        if self._player is None:
            self._serve()

    def _serve(self) -> None:
        while self._player is None and not self._transport.is_closing():
            try:
                request = self._reader.take()
            except (ValueError, IndexError):
                self._transport.write(whole_response(b'{"error":{"message":"not HTTP"}}', status=400))
                self._transport.close()
                return
            if request is None:
                return
            self._answer(request)

    def _answer(self, request: Request) -> None:
        dialect = _dialect(request.method, request.path)
        if dialect is None:
            self._transport.write(self._mock.side_door(request))
            return
        record, script, outcome = self._mock.admit(dialect, request)
        self._player = Player(script, self._transport, record, outcome=outcome, on_end=self._ended)
        self._player.play()

    def _ended(self, player: Player, outcome: Outcome) -> None:
        self._player = None
        self._mock.book.close(player.record, outcome)
        # The next request of a pipeline is served from the loop, not from here: its answer may end here in turn.
        asyncio.get_running_loop().call_soon(self._serve)

    def pause_writing(self) -> None:
        if self._player is not None:
            self._player.pause()

    def resume_writing(self) -> None:
        if self._player is not None:
            self._player.resume()

    def connection_lost(self, exc: Exception | None) -> None:
        self._mock.book.connections -= 1
        if self._player is not None:
            self._player.hang_up()


async def start(mock: Mock, port: int) -> asyncio.Server:
    """Listen on loopback; port 0 takes a free one."""
    loop = asyncio.get_running_loop()
    return await loop.create_server(lambda: Connection(mock), "127.0.0.1", port, backlog=BACKLOG)
