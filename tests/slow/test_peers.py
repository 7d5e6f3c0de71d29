"""Two processes with a Valkey between them, of which one leaves, one dies, or Valkey goes."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from bench.upstream.testing import Upstream, running_upstream
from tests.e2e.conftest import HUNDRED, LONG, MODELS, SHORT
from tests.e2e.test_peers import WHOLE, resume, running_pair
from tests.e2e.test_runs import ROUTING_EVENTS
from tests.harness import Service, events_of, question, read_events, texts
from tests.valkey import Valkey, running_valkey

pytestmark = pytest.mark.slow

PATIENT = {"RUN_DEADLINE_SECONDS": "60", "RUN_GRACE_SECONDS": "10"}


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with running_upstream(MODELS) as running:
        yield running


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    with running_valkey() as running:
        yield running


async def test_a_process_that_leaves_hands_over_its_readers(upstream: Upstream, tmp_path: Path, valkey: Valkey) -> None:
    """A rollout: the old one drains; who lost the connection to it reads on through the new one, to the last word."""
    with running_pair(tmp_path, upstream, valkey) as pair:
        async with pair.one.opened(question(HUNDRED)) as response:
            seen = await read_events(response, ROUTING_EVENTS + 10)
            run = response.headers["X-Run-Id"]
        rest = asyncio.create_task(resume(pair.other, run, len(seen)))
        assert await asyncio.to_thread(pair.one.stop) == 0
        assert '"runs_cut":0' in pair.one.log
        assert texts(seen) + (await rest).text == WHOLE[HUNDRED]
        assert (await resume(pair.other, run)).text == WHOLE[HUNDRED]


async def test_a_process_that_dies_is_told_to_its_readers(upstream: Upstream, tmp_path: Path, valkey: Valkey) -> None:
    with running_pair(tmp_path, upstream, valkey, **PATIENT) as pair:
        run = ""
        with pytest.raises(aiohttp.ClientError):
            async with pair.one.opened(question(LONG)) as response:
                run = response.headers["X-Run-Id"]
                await read_events(response, ROUTING_EVENTS + 5)
                async with pair.other.opened(path=f"/runs/{run}/events", method="GET") as elsewhere:
                    await read_events(elsewhere, ROUTING_EVENTS + 3)
                    pair.one.process.kill()
                    rest = events_of(await elsewhere.content.read())
                await response.content.read()
    assert "The server was restarted" in texts(rest) and rest[-1]["code"] == "unavailable"


async def test_without_valkey_each_goes_on_alone_and_finds_the_other_again(
    upstream: Upstream, tmp_path: Path, valkey: Valkey
) -> None:
    with running_pair(tmp_path, upstream, valkey, **PATIENT) as pair:
        run = (await pair.one.chat(SHORT)).headers["X-Run-Id"]
        assert await _shared(pair.one) == 1
        valkey.stop()
        assert (await pair.one.chat(SHORT)).text == "w0 w1 w2 "
        async with asyncio.timeout(10):
            while await _shared(pair.one):  # noqa: ASYNC110 - until its next write has failed
                await asyncio.sleep(0.02)
        # Its own runs it finds and kills, of others it says that it cannot know.
        assert (await resume(pair.one, run)).text == "w0 w1 w2 "
        for answer in (
            await resume(pair.other, run),
            await pair.other.ask(path=f"/runs/{run}/cancel"),
            await pair.other.ask({"killSwitch": {"requestId": "p-9", "value": True}}),
        ):
            assert (answer.status, answer.json["code"]) == (503, "unavailable")
            assert "cannot reach the others" in answer.json["error"] and answer.headers["Retry-After"] == "2"
        async with pair.one.opened(question(LONG, requestId="p-8")) as response:
            await read_events(response, ROUTING_EVENTS + 1)
            assert (await pair.one.ask({"killSwitch": {"requestId": "p-8", "value": True}})).status == 200
            await response.content.read()
        async with pair.one.opened(question(LONG)) as response:
            seen = await read_events(response, ROUTING_EVENTS + 20)
            valkey.start()  # empty
            run = response.headers["X-Run-Id"]
        async with asyncio.timeout(10):
            while (rest := await resume(pair.other, run, len(seen))).status != 200:  # noqa: ASYNC110 - until it is back
                await asyncio.sleep(0.1)
        assert (texts(seen) + rest.text).split() == [f"w{n}" for n in range(400)]
        assert pair.one.log.count("runs_not_shared") == pair.one.log.count("runs_shared_again") == 1


async def _shared(service: Service) -> int:
    metrics = (await service.ask(path="/metrics", method="GET")).raw.decode()
    return int(next(line for line in metrics.splitlines() if line.startswith("amplify_runs_shared ")).split()[1])


async def test_limits_hold_across_processes_and_cost_a_paused_valkey_no_answer(
    upstream: Upstream, tmp_path: Path, valkey: Valkey
) -> None:
    with running_pair(tmp_path, upstream, valkey, USER_CONCURRENT_RUNS="2", **PATIENT) as pair:
        async with pair.one.opened(question(LONG)) as here, pair.other.opened(question(LONG)) as there:
            assert (here.status, there.status) == (200, 200)
            for service in (pair.one, pair.other):
                refused = await service.chat(SHORT)
                assert (refused.status, refused.json["code"]) == (429, "too_many_requests")
                assert "2 answers at once is the most for you" in refused.json["error"]
            valkey.pause()
            begun = await asyncio.gather(*(service.chat(SHORT) for service in (pair.one, pair.other)))
            assert [answer.text for answer in begun] == ["w0 w1 w2 "] * 2  # each has its own two
            valkey.go_on()
            async with asyncio.timeout(10):
                while (await pair.one.chat(SHORT)).status != 429:  # noqa: ASYNC110 - until it counts there again
                    await asyncio.sleep(0.1)
            await here.content.read()
            await there.content.read()
        for service in (pair.one, pair.other):
            async with asyncio.timeout(10):
                while (await service.chat(SHORT)).text != "w0 w1 w2 ":  # noqa: ASYNC110 - until both have left
                    await asyncio.sleep(0.1)
