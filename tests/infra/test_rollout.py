"""One task takes over from another behind a load balancer, with 200 answers on their way: nothing is cut, nothing is
lost, nothing is unbilled. And what a task that dies takes along: its answers, and not their place in the books; what
they had said, the other task still tells."""

import asyncio
import json
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import psycopg
import pytest
from psycopg.rows import dict_row

from bench.upstream.testing import Upstream, running_upstream
from tests.harness import Service, events_of, question, running_service, texts, wait_until
from tests.infra.postgres import running_postgres
from tests.infra.proxy import HAPROXY, Proxy, running_proxy
from tests.valkey import running_valkey

pytestmark = [
    pytest.mark.infra,
    pytest.mark.skipif(HAPROXY is None, reason="haproxy is not installed (apt install haproxy)"),
]

STREAMS = 200
TOKENS = 200
# Forty seconds: the rollout begins when all have begun, and finds them all on their way even on a busy machine.
LONG = f"mock+tokens={TOKENS}+gap=200+text=plain"
SHORT = "mock+tokens=3+text=plain"
WHOLE = {LONG: "".join(f"w{n} " for n in range(TOKENS)), SHORT: "w0 w1 w2 "}
END = {"s": 0, "type": "end"}
# As in production; the harness's are for tests of just these limits.
PATIENT = {
    "RUN_DEADLINE_SECONDS": "120",
    "UPSTREAM_FIRST_BYTE_SECONDS": "60",
    "UPSTREAM_GAP_SECONDS": "60",
    "DRAIN_SECONDS": "110",
    "RESERVATION_SECONDS": "30",
}
# A dead task's calls are booked within its lease and a quarter of one, which is how often the others look.
BOOKED_SECONDS = 90


@dataclass
class Seen:
    """One answer as its client saw it. `cut`: the body did not end as HTTP says that it must."""

    model: str
    run: str = ""
    task: str = ""
    raw: bytes = b""
    cut: bool = False

    @property
    def events(self) -> list[dict[str, Any]]:
        """Those that came whole."""
        return events_of(self.raw[: self.raw.rfind(b"\n\n") + 2])

    @property
    def text(self) -> str:
        return texts(self.events)

    @property
    def whole(self) -> bool:
        return not self.cut and self.text == WHOLE[self.model] and self.events[-1] == END


class Clients:
    """People who ask through the proxy, each on a connection of their own."""

    def __init__(self, session: aiohttp.ClientSession, url: str, key: str) -> None:
        self._session = session
        self._url = url
        self._headers = {"Authorization": f"Bearer {key}"}
        self.seen: list[Seen] = []

    async def ask(self, model: str, *, reading: Callable[[], None] = lambda: None) -> Seen:
        """Read one answer as far as it goes; `reading` is called at its first piece of text."""
        seen = Seen(model)
        self.seen.append(seen)
        body = json.dumps(question(model)).encode()
        try:
            async with self._session.post(f"{self._url}/chat", data=body, headers=self._headers) as response:
                seen.run, seen.task = response.headers.get("X-Run-Id", ""), response.headers.get("X-Task", "")
                begun = False
                async for chunk in response.content.iter_any():
                    seen.raw += chunk
                    if not begun and b'"d"' in seen.raw:
                        begun = True
                        reading()
        except aiohttp.ClientError:
            seen.cut = True
        return seen

    async def resume(self, run: str) -> Seen:
        """Read an answer from its start, on whichever task the proxy chooses."""
        seen = Seen(LONG, run)
        async with self._session.get(f"{self._url}/runs/{run}/events", headers=self._headers) as response:
            seen.task = response.headers.get("X-Task", "")
            seen.raw = await response.read()
        return seen

    async def open_streams(self, group: asyncio.TaskGroup) -> None:
        """Return when every stream has said something."""
        reading = asyncio.Semaphore(0)
        for _ in range(STREAMS):
            group.create_task(self.ask(LONG, reading=reading.release))
        for _ in range(STREAMS):
            await reading.acquire()

    @asynccontextmanager
    async def asking_all_the_time(self, group: asyncio.TaskGroup) -> AsyncIterator[None]:
        """Somebody asks short questions, one after another, whatever happens meanwhile."""

        async def go_on() -> None:
            while not done:
                await self.ask(SHORT)

        done = False
        asking = group.create_task(go_on())
        yield
        done = True
        await asking


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with running_upstream([LONG, SHORT]) as running:
        yield running


@dataclass
class Stage:
    """The proxy, the mock, the shared database, and how to start a task on it."""

    proxy: Proxy
    upstream: Upstream
    database: str
    start: Callable[[Path], AbstractContextManager[Service]]

    def rows(self) -> list[dict[str, Any]]:
        with psycopg.connect(self.database, row_factory=dict_row) as connection:
            return connection.execute(
                "SELECT run_id, outcome, output_tokens, estimated FROM usage_usagerecord"
            ).fetchall()

    @asynccontextmanager
    async def clients(self, key: str) -> AsyncIterator[Clients]:
        unlimited = aiohttp.TCPConnector(limit=0, force_close=True)
        async with aiohttp.ClientSession(connector=unlimited, read_bufsize=2**20) as session:
            yield Clients(session, self.proxy.url, key)


@pytest.fixture(params=["daphne", "uvicorn"])
def stage(request: pytest.FixtureRequest, upstream: Upstream, tmp_path: Path) -> Iterator[Stage]:
    upstream.clear()
    with running_postgres(tmp_path / "postgres") as database, running_proxy() as proxy, running_valkey() as valkey:

        def start(folder: Path) -> AbstractContextManager[Service]:
            return running_service(
                folder,
                server=request.param,
                upstream=upstream.url,
                models=[LONG, SHORT],
                DATABASE_URL=database,
                REDIS_URL=valkey.url,
                **PATIENT,
            )

        yield Stage(proxy, upstream, database, start)


async def test_a_rollout_cuts_nothing_and_bills_everything(stage: Stage, tmp_path: Path) -> None:
    with stage.start(tmp_path / "old") as old, stage.start(tmp_path / "new") as new:
        stage.proxy.take_in("one", old.url)
        async with stage.clients(old.key) as clients, asyncio.TaskGroup() as group:
            await clients.open_streams(group)
            async with clients.asking_all_the_time(group):
                await wait_until(lambda: any(answer.whole for answer in clients.seen))
                await asyncio.to_thread(stage.proxy.take_in, "two", new.url)
                await asyncio.to_thread(stage.proxy.deregister, "one")
                await wait_until(lambda: stage.proxy.sessions("one") == STREAMS)
                old.process.send_signal(signal.SIGTERM)
                assert await asyncio.to_thread(old.process.wait, 90) == 0
    seen = clients.seen
    assert [answer for answer in seen if not answer.whole] == []
    assert f"Draining: {STREAMS} running answers" in old.log and '"runs_cut":0' in old.log
    tasks_of = {model: Counter(answer.task for answer in seen if answer.model == model) for model in WHOLE}
    assert tasks_of[LONG] == {"one": STREAMS}
    assert set(tasks_of[SHORT]) == {"one", "two"}
    # One row for each answer, one call of the model for each row, and every token that the model said is in it.
    rows, calls = stage.rows(), stage.upstream.wait_until_ended(len(seen))
    assert Counter(row["run_id"] for row in rows) == Counter(answer.run for answer in seen)
    assert Counter(row["outcome"] for row in rows) == {"finished": len(seen)}
    assert Counter(call["outcome"] for call in calls) == {"complete": len(seen)}
    assert sum(row["output_tokens"] for row in rows) == sum(call["frames_sent"] for call in calls)


async def test_a_task_that_is_killed_takes_only_its_own_answers_along(stage: Stage, tmp_path: Path) -> None:
    with stage.start(tmp_path / "one") as killed, stage.start(tmp_path / "two") as other:
        stage.proxy.take_in("one", killed.url)
        stage.proxy.take_in("two", other.url)
        async with stage.clients(killed.key) as clients, asyncio.TaskGroup() as group:
            await clients.open_streams(group)
            killed.process.send_signal(signal.SIGKILL)
            await asyncio.to_thread(stage.proxy.wait_for, "one", "DOWN")
            await clients.ask(SHORT)
            broken = [answer for answer in clients.seen if answer.task == "one"]
            again = await asyncio.gather(*(clients.resume(answer.run) for answer in broken[:10]))
        # While the other one lives, since it keeps the books of both.
        await wait_until(lambda: len(stage.rows()) == len(clients.seen), BOOKED_SECONDS)
    lost = {answer.run for answer in clients.seen if answer.task == "one"}
    kept = {answer.run for answer in clients.seen if answer.task == "two"}
    assert len(lost) + len(kept) == STREAMS + 1 and min(len(lost), len(kept)) > STREAMS / 4
    for answer in clients.seen:
        if answer.run in kept:
            assert answer.whole
        else:
            # The beginning of the answer in a body that breaks off: nothing that a client could take for an end.
            assert answer.cut and answer.text and WHOLE[LONG].startswith(answer.text) and not answer.whole
            assert not {"type", "error"} & {name for event in answer.events for name in event}
    # Who comes back hears from the other task what the dead one had said, all but its last moments, and that it died.
    for before, after in zip(broken, again, strict=False):
        said, _, told = after.text.partition("The server was restarted")
        assert after.task == "two" and told and WHOLE[LONG].startswith(said)
        assert len(said.split()) >= len(before.text.split()) - 10
        assert after.events[-1]["code"] == "unavailable"
    # One row for each call that reached the model: of those that ended what they said, of the lost ones an estimate.
    rows, calls = stage.rows(), stage.upstream.wait_until_ended(len(clients.seen))
    assert len(rows) == len(calls) == STREAMS + 1
    rows_of = {outcome: [row for row in rows if row["outcome"] == outcome] for outcome in ("finished", "crashed")}
    assert Counter(row["run_id"] for row in rows_of["finished"]) == Counter(kept)
    assert Counter(row["run_id"] for row in rows_of["crashed"]) == Counter(lost)
    assert {row["estimated"] for row in rows_of["crashed"]} == {True}
    assert Counter(call["outcome"] for call in calls) == {"complete": len(kept), "hung_up": len(lost)}
    whole = [call for call in calls if call["outcome"] == "complete"]
    assert sum(row["output_tokens"] for row in rows_of["finished"]) == sum(call["frames_sent"] for call in whole)
