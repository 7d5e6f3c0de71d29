"""`GET /metrics`: who may read it, that a strict reader understands it, and that it counts."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from bench.upstream.testing import Upstream
from tests.e2e.conftest import HUNDRED, SHORT
from tests.harness import CANARY, Service, question, read_events, running_service, texts

BROKEN = "mock+fault=500"
SLOW = "mock+tokens=3+ttft=50+gap=50"
TOKEN = f"{CANARY}-metrics"

_VALUE = r"(?:[+-]?(?:\d+(?:\.\d+)?(?:e[+-]?\d+)?|Inf)|NaN)"
_LABEL = r'[a-z_]+="(?:[^"\\\n]|\\["\\n])*"'
_SAMPLE = re.compile(rf"([a-z_]+)(?:\{{({_LABEL}(?:,{_LABEL})*)\}})? ({_VALUE})")
_HELP = re.compile(r"# HELP ([a-z_]+) \S.*")
_TYPE = re.compile(r"# TYPE ([a-z_]+) (counter|gauge|histogram)")
_PARTS = ("_bucket", "_sum", "_count")

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def parse(text: str) -> Samples:
    """As strict as the format: help, type and samples of one metric together, each sample once."""
    assert text.endswith("\n")
    samples: Samples = {}
    seen: list[str] = []
    lines = iter(text.removesuffix("\n").split("\n"))
    for line in lines:
        if helped := _HELP.fullmatch(line):
            typed = _TYPE.fullmatch(next(lines))
            assert typed and typed[1] == helped[1] and typed[1] not in seen, line
            assert typed[1].endswith("_total") == (typed[2] == "counter")
            seen.append(typed[1])
            continue
        sample = _SAMPLE.fullmatch(line)
        assert sample and seen[-1] in (sample[1], *(sample[1].removesuffix(part) for part in _PARTS)), line
        labels = frozenset(
            (name, value) for name, value in re.findall(r'([a-z_]+)="((?:[^"\\]|\\.)*)"', sample[2] or "")
        )
        assert (sample[1], labels) not in samples, line
        samples[sample[1], labels] = float(sample[3])
    return samples


def one(samples: Samples, name: str, **labels: str) -> float:
    """The one sample of a name that has these labels, among others."""
    found = [value for (named, has), value in samples.items() if named == name and labels.items() <= set(has)]
    assert len(found) == 1, (name, labels, found)
    return found[0]


@pytest.fixture(scope="module")
def guarded(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service of its own: what fails here must rest nobody else's endpoints."""
    models = [SHORT, HUNDRED, SLOW, BROKEN]
    folder = tmp_path_factory.mktemp("metrics")
    with running_service(folder, upstream=upstream.url, models=models, METRICS_TOKEN=TOKEN) as service:
        yield service


async def scrape(service: Service, **headers: str) -> Samples:
    answer = await service.ask(path="/metrics", method="GET", headers={"Authorization": f"Bearer {TOKEN}", **headers})
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert CANARY not in answer.raw.decode()
    return parse(answer.raw.decode())


async def test_what_model_calls_use_and_how_long_they_take(guarded: Service) -> None:
    before = await scrape(guarded)
    assert (await guarded.chat(SLOW)).error is None  # ten tokens in, three out
    after = await scrape(guarded)

    def more(name: str, **labels: str) -> float:
        labels |= {"gen_ai_request_model": SLOW}
        earlier = {key: value for key, value in before.items() if key[0] == name and labels.items() <= set(key[1])}
        return one(after, name, **labels) - sum(earlier.values())

    tokens = {kind: more("gen_ai_client_token_usage_total", gen_ai_token_type=kind) for kind in ("input", "output")}
    assert tokens == {"input": 10, "output": 3}
    for name in ("server_time_to_first_token", "server_time_per_output_token", "client_operation_duration"):
        assert more(f"gen_ai_{name}_seconds_count") == more(f"gen_ai_{name}_seconds_bucket", le="+Inf") == 1
        assert more(f"gen_ai_{name}_seconds_sum") > 0
    assert more("gen_ai_client_operation_duration_seconds_count", outcome="finished") == 1


async def test_calls_and_failures_go_up(guarded: Service) -> None:
    assert (await guarded.chat(SHORT)).error is None
    before = await scrape(guarded)
    assert one(before, "amplify_endpoint_state", model=SHORT, state="ready") == 1
    assert (await guarded.chat(BROKEN)).error is not None
    assert (await guarded.chat(SHORT)).error is None
    after = await scrape(guarded)
    for model, failed in ((SHORT, 0), (BROKEN, 1)):
        calls, failures = (
            one(after, f"amplify_endpoint_{name}_total", model=model)
            - one(before, f"amplify_endpoint_{name}_total", model=model)
            for name in ("calls", "failures")
        )
        assert calls >= 1 and failures == calls * failed
    states = {state: one(after, "amplify_endpoint_state", model=BROKEN, state=state) for state in ("ready", "resting")}
    assert states == {"ready": 0, "resting": 1}
    ended = [one(after, "amplify_runs_ended_total", reason=reason) for reason in ("finished", "failed")]
    assert ended[0] >= 2 and ended[1] >= 1


async def test_what_goes_on_is_counted_while_it_does(guarded: Service) -> None:
    async with guarded.opened(question(HUNDRED)) as response:
        while not texts(await read_events(response, 1)):
            pass
        during = await scrape(guarded)
    assert one(during, "amplify_runs_live") >= 1
    assert one(during, "amplify_connections_open") >= 1
    assert one(during, "amplify_endpoint_in_flight", model=HUNDRED) == 1
    assert one(during, "process_resident_memory_bytes") > 2**20
    assert one(during, "process_threads") >= 1


async def test_a_model_that_is_not_there_becomes_no_label(guarded: Service) -> None:
    await guarded.chat("made-up-by-a-caller")
    assert "made-up" not in str(await scrape(guarded))


@pytest.mark.parametrize(
    "authorization", ["", TOKEN, f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer ", "Bearer \xe9"], ids=str
)
async def test_a_token_is_needed_where_one_is_set(guarded: Service, authorization: str) -> None:
    answer = await guarded.ask(path="/metrics", method="GET", headers={"Authorization": authorization})
    assert (answer.status, answer.json["code"]) == (401, "unauthorized")
    assert TOKEN not in answer.raw.decode()


async def test_a_users_key_is_not_the_token(guarded: Service) -> None:
    assert (await guarded.ask(path="/metrics", method="GET")).status == 401


async def test_the_token_counts_behind_a_proxy_too(guarded: Service) -> None:
    await scrape(guarded, **{"X-Forwarded-For": "203.0.113.9"})


async def test_without_a_token_this_machine_may_read(service: Service) -> None:
    answer = await service.ask(path="/metrics", method="GET")
    assert answer.status == 200
    assert "access-control-allow-origin" not in {name.lower() for name in answer.headers}
    assert one(parse(answer.raw.decode()), "amplify_draining") == 0


@pytest.mark.parametrize("header", ["X-Forwarded-For", "x-forwarded-for", "Forwarded", "X-Real-IP", "Via"])
@pytest.mark.parametrize("value", ["127.0.0.1", ""])
async def test_without_a_token_nobody_reads_through_a_proxy(service: Service, header: str, value: str) -> None:
    answer = await service.ask(path="/metrics", method="GET", headers={header: value})
    assert (answer.status, answer.json["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("client", "status"),
    [
        *((["127.0.0.1", 5], 200), (["127.9.9.9", 5], 200), (["::1", 5], 200), (["::ffff:127.0.0.1", 5], 200)),
        *((["10.0.0.1", 5], 404), (["::ffff:10.0.0.1", 5], 404), (["203.0.113.9", 5], 404), (["fe80::1%eth0", 5], 404)),
        *((None, 404), (["", 0], 404), (["localhost", 5], 404)),
    ],
    ids=str,
)
async def test_without_a_token_only_the_loopback_may_read(client: list[Any] | None, status: int) -> None:
    """Asked as the server would ask: no test has another machine to call from."""
    from amplify_chat.asgi import application

    scope = {"type": "http", "method": "GET", "path": "/metrics", "headers": [], "client": client}
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b""}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await application(scope, receive, send)
    assert sent[0]["status"] == status
