"""The database is away for longer than anything is remembered as fresh, or Valkey for as long: nobody notices, and
nothing is lost."""

import asyncio
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from bench.upstream.testing import running_upstream
from tests.databases import postgres_database
from tests.harness import manage, running_service, wait_until
from tests.usage.conftest import postgres  # noqa: F401 - the fixture
from tests.valkey import running_valkey

SECONDS = 60
CALLERS = 20
MODEL = "mock+tokens=3+text=plain"
PORT, HIDDEN_PORT = 5432, 6543


class Away:
    """PostgreSQL, while nobody can reach it: its socket has another name, and who was connected is thrown out."""

    def __init__(self, folder: Path) -> None:
        self._socket, self._hidden = (folder / f".s.PGSQL.{port}" for port in (PORT, HIDDEN_PORT))

    def __enter__(self) -> None:
        self._socket.rename(self._hidden)
        with closing(psycopg.connect(host=str(self._hidden.parent), port=HIDDEN_PORT, user="postgres")) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
            )

    def __exit__(self, *_: object) -> None:
        self._hidden.rename(self._socket)


@pytest.mark.slow
async def test_a_database_that_is_away_for_a_minute(postgres: tuple[Any, Path], tmp_path: Path) -> None:  # noqa: F811
    server, folder = postgres
    url = postgres_database(server, folder)
    with (
        running_upstream([MODEL]) as upstream,
        running_service(tmp_path, upstream=upstream.url, models=[MODEL], DATABASE_URL=url) as service,
    ):
        await service.chat(MODEL)  # known now: the key, who holds it, and that no limit applies
        statuses, seconds, runs = [], [], []
        with Away(folder):
            end = time.monotonic() + SECONDS
            while time.monotonic() < end:
                began = time.monotonic()
                answer = await service.chat(MODEL)
                seconds.append(time.monotonic() - began)
                statuses.append(answer.status)
                runs.append(answer.headers.get("X-Run-Id"))
                await asyncio.sleep(0.2)
            unknown = await service.chat(MODEL, key=service.key[:-1] + "_")
            limited = await service.chat(MODEL, options={"rateLimit": {"period": "Total", "rate": 5}})
        print(_told(seconds))  # noqa: T201 - the figures of the run
        assert set(statuses) == {200}
        assert {unknown.status, limited.status} == {503}, "who is not known, and whose limit cannot be read"
        await wait_until(lambda: not list((service.folder / "journal").iterdir()), 60.0)
        with closing(psycopg.connect(url)) as database:
            found = database.execute("SELECT run_id, count(*) FROM usage_usagerecord GROUP BY run_id").fetchall()
        assert {run: count for run, count in found if run in runs} == dict.fromkeys(runs, 1)
        assert "to the micro-dollar" in manage(service.env, "check_books")
        assert "ledger_row_lost" not in service.log


@pytest.mark.slow
async def test_a_valkey_that_is_paused_for_a_minute(tmp_path: Path) -> None:
    limits = {
        "USER_REQUESTS_PER_MINUTE": "1000000",
        "KEY_TOKENS_PER_MINUTE": "1000000000",
        "USER_CONCURRENT_RUNS": "99",
    }
    with (
        running_valkey() as valkey,
        running_upstream([MODEL]) as upstream,
        running_service(tmp_path, upstream=upstream.url, models=[MODEL], REDIS_URL=valkey.url, **limits) as service,
    ):
        statuses, seconds = [], []

        async def call_until(end: float) -> None:
            while (began := time.monotonic()) < end:
                statuses.append((await service.chat(MODEL)).status)
                seconds.append(time.monotonic() - began)

        async def load(duration: float) -> str:
            statuses.clear()
            seconds.clear()
            end = time.monotonic() + duration
            await asyncio.gather(*(call_until(end) for _ in range(CALLERS)))
            assert set(statuses) == {200}
            return _told(seconds)

        print(f"before: {await load(SECONDS / 4)}")  # noqa: T201 - the figures of the run
        written = len(service.log)
        valkey.pause()
        print(f"paused: {await load(SECONDS)}, {(len(service.log) - written) / len(seconds):.0f} B of log a call")  # noqa: T201
        assert (len(service.log) - written) / len(seconds) < 1_000
        valkey.go_on()
        await wait_until(lambda: "rate_limits_shared_again" in service.log, 30.0)
        print(f"after: {await load(SECONDS / 4)}")  # noqa: T201


def _told(seconds: list[float]) -> str:
    ordered = sorted(seconds)
    p50, p99 = (ordered[int(len(ordered) * share)] for share in (0.5, 0.99))
    return f"{len(ordered)} calls, p50 {p50:.3f} s, p99 {p99:.3f} s, slowest {ordered[-1]:.3f} s"
