"""Books whose database is asked in the test's own transaction, and a clock that is set."""

import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from accounts.principal import Principal
from core.ids import new_uuid
from tests.databases import migrated, postgres_database, running_postgres
from tests.moto import ISOLATED_MOTO, REGION, running_moto
from tests.usage.platform import PlatformBooks
from usage import group_sets
from usage.books import Books
from usage.journal import Journal
from usage.models import Outcome, Reservation, UsageRecord
from usage.platform.tables import PlatformTables, platform_tables
from usage.testing import Clock, DatabaseAtHand


@pytest.fixture
def clock() -> Clock:
    return Clock()


class TestBooks(Books):
    """Books with what a test needs to look at and to move."""

    __test__ = False

    def __init__(self, folder: Path, clock: Clock, **options: Any) -> None:
        self.at_hand = DatabaseAtHand()
        self.folder = folder
        self.now = clock
        super().__init__(partial(Journal, folder), clock=clock, database=self.at_hand, **options)

    def start(self) -> None:
        """Tests call `look_after` themselves."""

    async def look_after(self) -> None:
        await self._look_after(self.clock())

    async def call(self, cost: int = 10, lines: Any = (), **fields: Any) -> UsageRecord:
        """A whole call, admitted and settled at its estimate."""
        held = reservation(self.now, cost, **fields)
        await self.reserve(held, lines)
        record = row_of(held)
        await self.settle(record)
        return record


@pytest.fixture
def own_connection(db: None) -> BaseDatabaseWrapper:
    """The connection that the test's transaction is on."""
    return connections["default"]


@pytest.fixture
async def make_books(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, own_connection: BaseDatabaseWrapper
) -> AsyncIterator[Callable[..., TestBooks]]:
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    connections["default"] = own_connection  # on a loop there would be another
    monkeypatch.setattr("core.remembered.run_blocking", at_once)
    made: list[TestBooks] = []

    def make(**options: Any) -> TestBooks:
        made.append(TestBooks(tmp_path / "journal", clock, **options))
        return made[-1]

    yield make
    for one in made:
        await one.aclose()


@pytest.fixture
def books(make_books: Callable[..., TestBooks]) -> TestBooks:
    return make_books()


async def at_once(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    return function(*args, **kwargs)


def reservation(clock: Clock, cost: int = 10, *, principal: Principal | None = None, **fields: Any) -> Reservation:
    who = principal or Principal(user_id="ann", account_id="lab-7", api_key_id="ann/ownerKey/1")
    return Reservation(
        **{
            "call_id": new_uuid(),
            "run_id": f"run_{new_uuid().hex}",
            "user_id": who.user_id,
            "account_id": who.account_id,
            "api_key_id": who.api_key_id or "",
            "group_set": group_sets.name_of(who.groups),
            "model_id": "m",
            "provider": "p",
            "input_tokens": 3,
            "output_tokens": 4,
            "micro_dollars": cost,
            "price_version": "test",
            "reserved_at": clock(),
        }
        | fields
    )


def row_of(held: Reservation, **fields: Any) -> UsageRecord:
    """The row of a call that has ended as it was estimated, right now."""
    same = ("call_id", "run_id", "user_id", "account_id", "api_key_id", "group_set", "purpose", "model_id", "provider",
            "input_tokens", "output_tokens", "micro_dollars", "price_version")  # fmt: skip
    given = {name: getattr(held, name) for name in same}
    return UsageRecord(
        **given | {"outcome": Outcome.FINISHED, "started_at": held.reserved_at, "ended_at": held.reserved_at} | fields
    )


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    with running_moto(ISOLATED_MOTO) as url:
        yield url


@pytest.fixture
def platform(moto: str) -> PlatformBooks:
    """The platform's tables for books, new ones for each test."""
    return PlatformBooks(moto)


@pytest.fixture
def tables(platform: PlatformBooks, settings: Any, monkeypatch: pytest.MonkeyPatch) -> PlatformTables:
    """As this process uses them, which keeps the platform's books too as long as the test lasts."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", platform.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    settings.AWS_REGION = REGION
    settings.PLATFORM_BOOKS = platform.names
    settings.STATE_BACKEND = "dynamodb"
    found = platform_tables()
    assert found is not None
    return found


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Path]]:
    # Its socket's path must be short.
    with tempfile.TemporaryDirectory(prefix="pg") as name, running_postgres(Path(name)) as server:
        yield server, Path(name)


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A migrated database that processes can share."""
    if request.param == "sqlite":
        return migrated(f"sqlite:///{tmp_path}/db.sqlite3")
    server, folder = request.getfixturevalue("postgres")
    return postgres_database(server, folder)
