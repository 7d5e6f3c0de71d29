"""Two processes as behind a load balancer, on different servers, with a Valkey between them: a run of one is resumed,
killed and cancelled through the other. What happens when one of them or Valkey goes: tests/slow/test_peers.py."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from bench.upstream.testing import Upstream
from tests.e2e.conftest import HUNDRED, LONG, MODELS, NEVER, PACED, SHORT
from tests.e2e.test_runs import ROUTING_EVENTS, _hung_up
from tests.e2e.test_websocket import opened
from tests.harness import (
    Answer,
    Service,
    events_of,
    question,
    read_events,
    running_service,
    texts,
    wait_until,
)
from tests.valkey import Valkey, running_valkey

WHOLE = {PACED: "".join(f"w{n} " for n in range(30)), HUNDRED: "".join(f"w{n} " for n in range(100))}


@dataclass
class Pair:
    """`one` and `other` share a database and the Valkey."""

    one: Service
    other: Service
    valkey: Valkey

    def elsewhere(self, service: Service) -> Service:
        return self.other if service is self.one else self.one


@contextmanager
def running_pair(folder: Path, upstream: Upstream, valkey: Valkey, **env: str) -> Iterator[Pair]:
    settings = {
        "DATABASE_URL": f"sqlite:///{folder}/one/db.sqlite3",
        "REDIS_URL": valkey.url,
        **env,
    }
    with (
        running_service(folder / "one", server="daphne", upstream=upstream.url, models=MODELS, **settings) as one,
        running_service(folder / "other", server="uvicorn", upstream=upstream.url, models=MODELS, **settings) as other,
    ):
        yield Pair(one, other, valkey)


@pytest.fixture(scope="module")
def running(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with running_valkey() as valkey, running_pair(tmp_path_factory.mktemp("pair"), upstream, valkey) as pair:
        yield pair


@pytest.fixture(params=["daphne", "uvicorn"])
def here(request: pytest.FixtureRequest, running: Pair) -> Service:
    """Where the run is; a test on it runs both ways round."""
    return running.one if request.param == "daphne" else running.other


@pytest.fixture
def there(running: Pair, here: Service) -> Service:
    """Where it is asked for."""
    return running.elsewhere(here)


async def resume(service: Service, run: str, after: int = 0, **options: str) -> Answer:
    headers = {"Last-Event-ID": str(after)} if after else {}
    return await service.ask(path=f"/runs/{run}/events", method="GET", headers=headers, **options)


async def test_leaving_anywhere_and_resuming_on_the_other_loses_nothing(here: Service, there: Service) -> None:
    async def leave_and_resume(count: int) -> str:
        async with here.opened(question(PACED)) as response:
            seen = await read_events(response, count)
            run = response.headers["X-Run-Id"]
        rest = await resume(there, run, count)
        ids = [int(line[4:]) for line in rest.raw.decode().splitlines() if line.startswith("id: ")]
        assert ids == list(range(count + 1, count + len(ids) + 1))
        return texts(seen) + rest.text

    counts = range(1, ROUTING_EVENTS + 31, 2)
    assert await asyncio.gather(*(leave_and_resume(count) for count in counts)) == [WHOLE[PACED]] * len(counts)


async def test_reading_on_the_other_keeps_a_run_alive(running: Pair, here: Service, there: Service) -> None:
    """For two seconds nobody reads it where it is, and its grace is one."""
    async with here.opened(question(HUNDRED)) as response:
        run = response.headers["X-Run-Id"]
        await read_events(response, ROUTING_EVENTS + 1)
    assert (await resume(there, run)).text == WHOLE[HUNDRED]
    assert running.one.record(run)["outcome"] == "finished"


async def test_a_run_that_nobody_reads_anywhere_is_given_up(running: Pair, here: Service, there: Service) -> None:
    async with here.opened(question(LONG)) as response:
        run = response.headers["X-Run-Id"]
        await read_events(response, ROUTING_EVENTS + 1)
    async with there.opened(path=f"/runs/{run}/events", method="GET") as response:
        await read_events(response, ROUTING_EVENTS + 5)
    assert running.one.record(run)["outcome"] == "abandoned"


async def test_an_ended_run_is_read_on_the_other_by_its_owner_alone(here: Service, there: Service) -> None:
    run = (await here.chat(SHORT)).headers["X-Run-Id"]
    assert (await resume(there, run)).text == "w0 w1 w2 "
    assert (await resume(there, run, 10**9)).events == []
    refused = await resume(there, run, key=there.stranger)
    assert (refused.status, refused.json["code"]) == (404, "not_found")
    assert (await resume(there, "run_nope")).status == 404
    assert (await there.ask(path=f"/runs/{run}/cancel", key=there.stranger)).status == 404


@pytest.mark.parametrize("model", [LONG, NEVER], ids=["mid-stream", "before the first token"])
async def test_a_kill_reaches_a_run_of_the_other(
    running: Pair, here: Service, there: Service, upstream: Upstream, model: str
) -> None:
    upstream.clear()
    async with here.opened(question(model, requestId="p-1")) as response:
        await read_events(response, ROUTING_EVENTS + (3 if model == LONG else 0))
        upstream.wait_for_calls(lambda calls: len(calls) == 1)
        killed = await there.ask({"killSwitch": {"requestId": "p-1", "value": True}})
        assert (killed.status, killed.json) == (200, {"status": "OK"})
        rest = events_of(await response.content.read())
    assert len(rest) < 100 and all(isinstance(event.get("d"), str) for event in rest)
    upstream.wait_for_calls(_hung_up(model))
    assert running.one.record(response.headers["X-Run-Id"])["outcome"] == "killed"


async def test_a_kill_on_the_other_that_overtakes_its_request(here: Service, there: Service) -> None:
    name = f"overtaken-{here.url}"
    await there.ask({"killSwitch": {"requestId": name, "value": True}})
    # It travels for a moment; then the next request is killed, and none after it, here or there.
    answers = [(await here.chat(SHORT, options={"requestId": name})).text for _ in range(20)]
    assert sorted(answers)[:2] == ["", "w0 w1 w2 "]
    assert (await there.chat(SHORT, options={"requestId": name})).text == "w0 w1 w2 "


async def test_cancel_by_run_id_on_the_other(running: Pair, here: Service, there: Service) -> None:
    async with here.opened(question(LONG)) as response:
        await read_events(response, ROUTING_EVENTS + 2)
        run = response.headers["X-Run-Id"]
        stranger = await there.ask(path=f"/runs/{run}/cancel", key=there.stranger)
        assert (stranger.status, stranger.json["code"]) == (404, "not_found")
        assert (await there.ask(path=f"/runs/{run}/cancel")).json == {"status": "OK", "run": run}
        await response.content.read()
    assert running.one.record(run)["outcome"] == "killed"


async def test_a_socket_resumes_and_cancels_on_the_other(here: Service, there: Service) -> None:
    async with opened(here) as socket:
        run = await socket.start(PACED)
        before = [await socket.hear("event") for _ in range(ROUTING_EVENTS + 4)]
    async with opened(there) as socket:
        await socket.say({"type": "run.resume", "run": run, "after": before[-1]["seq"]})
        events, ended = await socket.until_ended(run)
        assert texts([message["event"] for message in before + events]) == WHOLE[PACED]
        assert (ended["reason"], ended["usage"]["output"]) == ("finished", 30)
        async with here.opened(question(LONG)) as response:
            await read_events(response, ROUTING_EVENTS + 1)
            await socket.say({"type": "run.cancel", "run": response.headers["X-Run-Id"]})
            await response.content.read()


async def test_what_valkey_holds_goes_by_itself(running: Pair, here: Service) -> None:
    with redis.Redis.from_url(running.valkey.url) as client:
        async with here.opened(question(LONG)) as response:
            await read_events(response, ROUTING_EVENTS + 1)
            stream = f"amplify-chat:run:{response.headers['X-Run-Id']}"
            await wait_until(lambda: client.exists(stream))
            # The longest run, the grace and what an ended one is kept for: 8, 1 and 60 s here.
            assert 0 < client.ttl(stream) <= 70
            await here.ask(path=f"/runs/{response.headers['X-Run-Id']}/cancel")
        await wait_until(lambda: b"end" in client.xrevrange(stream, count=1)[0][1])
        assert 0 < client.ttl(stream) <= 61
