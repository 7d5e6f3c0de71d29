"""Runs: killed, left, resumed, found by their owner only; each leaves exactly one row."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from bench.upstream.testing import Upstream
from tests.e2e.conftest import HUNDRED, LATE, LONG, NEVER, PACED, SHORT
from tests.harness import Service, events_of, question, read_events, texts

ROUTING_EVENTS = 6


def _hung_up(model: str) -> Callable[[list[dict[str, Any]]], bool]:
    return lambda calls: any(c["model"] == model and c["outcome"] == "hung_up" for c in calls)


async def _kill(service: Service, request_id: str, *, value: bool = True) -> None:
    answer = await service.ask({"killSwitch": {"requestId": request_id, "value": value}})
    assert (answer.status, answer.json) == (200, {"status": "OK"})


@pytest.mark.parametrize("model", [LONG, NEVER], ids=["mid-stream", "before the first token"])
async def test_a_kill_silences_a_run(service: Service, upstream: Upstream, model: str) -> None:
    upstream.clear()
    async with service.opened(question(model, requestId="k-1")) as response:
        await read_events(response, ROUTING_EVENTS + (3 if model == LONG else 0))
        upstream.wait_for_calls(lambda calls: len(calls) == 1)  # a kill before that finds nothing to hang up on
        await _kill(service, "k-1")
        rest = events_of(await response.content.read())
    # No marker, no error: the stream just ends, long before the answer would have.
    assert len(rest) < 100 and all(isinstance(e.get("d"), str) for e in rest)
    calls = upstream.wait_for_calls(_hung_up(model))
    assert calls[-1]["frames_sent"] < 400
    record = service.record(response.headers["X-Run-Id"])
    assert (record["outcome"], record["request_id"], record["estimated"]) == ("killed", "k-1", 1)
    assert record["input_tokens"] > 0


async def test_a_kill_that_overtakes_its_request(service: Service, upstream: Upstream) -> None:
    upstream.clear()
    await _kill(service, "k-2")
    answer = await service.chat(SHORT, options={"requestId": "k-2"})
    assert (answer.status, answer.raw) == (200, b"")
    assert upstream.calls() == []
    # And it does not poison the id.
    assert (await service.chat(SHORT, options={"requestId": "k-2"})).text == "w0 w1 w2 "


async def test_a_kill_can_be_taken_back(service: Service) -> None:
    await _kill(service, "k-3")
    await _kill(service, "k-3", value=False)
    assert (await service.chat(SHORT, options={"requestId": "k-3"})).text == "w0 w1 w2 "


async def test_a_kill_after_the_end_waits_for_nothing(service: Service) -> None:
    await service.chat(SHORT, options={"requestId": "k-4"})
    await _kill(service, "k-4")
    assert (await service.chat(SHORT, options={"requestId": "k-4"})).text == "w0 w1 w2 "


async def test_a_kill_is_for_ones_own_runs(service: Service) -> None:
    async with service.opened(question(PACED, requestId="k-5")) as response:
        await read_events(response, ROUTING_EVENTS + 1)
        await service.ask({"killSwitch": {"requestId": "k-5", "value": True}}, key=service.stranger)
        rest = events_of(await response.content.read())
    assert rest[-1] == {"s": 0, "type": "end"}


async def test_cancel_by_run_id(service: Service) -> None:
    async with service.opened(question(LONG)) as response:
        await read_events(response, ROUTING_EVENTS + 2)
        run = response.headers["X-Run-Id"]
        stranger = await service.ask(path=f"/runs/{run}/cancel", key=service.stranger)
        assert (stranger.status, stranger.json["code"]) == (404, "not_found")
        assert (await service.ask(path=f"/runs/{run}/cancel")).json == {"status": "OK", "run": run}
        await response.content.read()
    assert service.record(run)["outcome"] == "killed"


async def test_unknown_runs_and_numbers(service: Service) -> None:
    assert (await service.ask(path="/runs/run_nope/events", method="GET")).status == 404
    assert (await service.ask(path="/runs/run_nope/cancel")).status == 404
    run = (await service.chat(SHORT)).headers["X-Run-Id"]
    answer = await service.ask(path=f"/runs/{run}/events", method="GET", headers={"Last-Event-ID": "x"})
    assert (answer.status, answer.json["code"]) == (400, "invalid_request")


async def test_a_run_that_nobody_reads_is_given_up(service: Service, upstream: Upstream) -> None:
    upstream.clear()
    async with service.opened(question(LONG)) as response:
        await read_events(response, ROUTING_EVENTS + 2)
        run = response.headers["X-Run-Id"]
    upstream.wait_for_calls(_hung_up(LONG), seconds=10)
    record = service.record(run)
    assert record["outcome"] == "abandoned"
    assert record["output_tokens"] >= 2
    # Its money is settled, and its log still there.
    left = await service.ask(path=f"/runs/{run}/events", method="GET")
    assert left.text.startswith("w0 w1 ")


async def test_a_run_that_outlives_its_deadline_says_so(service: Service) -> None:
    answer = await service.chat(LONG)  # 10 s of tokens, 8 s allowed
    assert "longer than a run may last" in (answer.error or "")
    assert service.record(answer.headers["X-Run-Id"])["outcome"] == "timed_out"


async def test_reading_again_is_for_the_owner(service: Service) -> None:
    run = (await service.chat(SHORT)).headers["X-Run-Id"]
    assert (await service.ask(path=f"/runs/{run}/events", method="GET", key=service.stranger)).status == 404
    again = await service.ask(path=f"/runs/{run}/events", method="GET")
    assert again.text == "w0 w1 w2 "
    ids = [line for line in again.raw.decode().splitlines() if line.startswith("id: ")]
    assert ids == [f"id: {n}" for n in range(1, len(again.events) + 1)]


async def test_leaving_anywhere_and_resuming_loses_nothing(service: Service) -> None:
    """Leave after every possible number of events, come back with that number: the whole is the whole."""
    whole = (await service.chat(PACED)).text

    async def leave_and_resume(count: int) -> str:
        async with service.opened(question(PACED)) as response:
            seen = await read_events(response, count)
            run = response.headers["X-Run-Id"]
        rest = await service.ask(path=f"/runs/{run}/events", method="GET", headers={"Last-Event-ID": str(count)})
        return texts(seen) + rest.text

    results = await asyncio.gather(*(leave_and_resume(count) for count in range(1, ROUTING_EVENTS + 31)))
    assert results == [whole] * len(results)


async def test_several_readers_of_one_run(service: Service) -> None:
    async with service.opened(question(PACED)) as first:
        run = first.headers["X-Run-Id"]
        # One that never reads must not hold up the others.
        async with service.opened(path=f"/runs/{run}/events", method="GET"):
            others = [service.ask(path=f"/runs/{run}/events", method="GET") for _ in range(3)]
            answers = await asyncio.gather(*others)
        assert texts(events_of(await first.content.read())) == answers[0].text
    assert len({a.text for a in answers}) == 1 and len(answers[0].text.split()) == 30
    service.record(run)


async def test_the_row_is_there_before_the_end_marker(service: Service) -> None:
    async with service.opened(question(SHORT)) as response:
        events = await read_events(response, ROUTING_EVENTS + 4)
        assert events[-1] == {"s": 0, "type": "end"}
        assert len(service.records(response.headers["X-Run-Id"])) == 1


async def test_what_a_row_says(service: Service) -> None:
    answer = await service.chat("mock+tokens=5+in=1000+cached=400+out=70+reasoning=20", options={"requestId": "r-9"})
    record = service.record(answer.headers["X-Run-Id"])
    expected = {
        "user_id": "alice", "account_id": "lab-7", "request_id": "r-9", "purpose": "answer", "provider": "compatible",
        "model_id": "mock+tokens=5+in=1000+cached=400+out=70+reasoning=20", "outcome": "finished", "estimated": 0,
        "input_tokens": 600, "cache_read_tokens": 400, "cache_write_tokens": 0, "output_tokens": 70,
        "reasoning_tokens": 20,
    }  # fmt: skip
    assert {name: record[name] for name in expected} == expected
    assert record["api_key_id"].startswith("alice/ownerKey/")
    assert record["first_token_ms"] is not None and record["duration_ms"] >= record["first_token_ms"]


@pytest.mark.parametrize(("usage", "output", "estimated"), [("twice", 4, 0), ("late", 4, 0), ("never", 4, 1)])
async def test_usage_counts_once_or_is_estimated(service: Service, usage: str, output: int, estimated: int) -> None:
    answer = await service.chat(f"mock+tokens=4+in=9+out=4+usage={usage}")
    record = service.record(answer.headers["X-Run-Id"])
    assert (record["estimated"], record["outcome"]) == (estimated, "finished")
    assert record["output_tokens"] == output if not estimated else record["output_tokens"] >= output


async def test_leaving_before_the_first_token(service: Service) -> None:
    async with service.opened(question(LATE)) as response:
        await read_events(response, ROUTING_EVENTS)
        run = response.headers["X-Run-Id"]
    assert service.record(run)["outcome"] == "abandoned"


async def test_days_are_the_sums_of_their_rows(service: Service) -> None:
    await asyncio.gather(*(service.chat(SHORT) for _ in range(20)))
    rows = service.sql("SELECT count(*) c, sum(input_tokens) i, sum(output_tokens) o FROM usage_usagerecord")
    days = service.sql(
        "SELECT sum(calls) c, sum(input_tokens) i, sum(output_tokens) o FROM usage_combination WHERE span = 'day'"
    )
    assert tuple(rows[0]) == tuple(days[0])


async def test_each_reader_that_leaves_gets_the_whole_grace(service: Service) -> None:
    """The grace is 1 s here; a reader leaves at 0.8 s, another comes half a second later: the run goes on."""
    async with service.opened(question(HUNDRED)) as response:
        run = response.headers["X-Run-Id"]
        await read_events(response, ROUTING_EVENTS + 40)
    await asyncio.sleep(0.5)  # time itself is what is tested: the grace that began with the run would be over
    again = await service.ask(path=f"/runs/{run}/events", method="GET")
    assert again.text == "".join(f"w{n} " for n in range(100))
    assert service.record(run)["outcome"] == "finished"


async def test_a_run_that_is_not_streamed_can_be_resumed_as_a_stream(service: Service) -> None:
    whole = await service.ask(question(SHORT) | {"stream": False})
    again = await service.ask(path=f"/runs/{whole.json['run']}/events", method="GET")
    assert again.text == whole.json["data"] == "w0 w1 w2 "


async def test_resuming_a_silent_run_is_answered_at_once(service: Service) -> None:
    async with service.opened(question(LATE)) as first:
        await read_events(first, ROUTING_EVENTS)
        started = asyncio.get_running_loop().time()
        headers = {"Last-Event-ID": str(ROUTING_EVENTS)}
        path = f"/runs/{first.headers['X-Run-Id']}/events"
        async with service.opened(path=path, method="GET", headers=headers) as again:
            assert again.status == 200
            to_the_headers = asyncio.get_running_loop().time() - started
            await again.content.readany()  # a heartbeat: the model is still silent
            to_the_first_byte = asyncio.get_running_loop().time() - started
        assert to_the_headers < to_the_first_byte / 2
