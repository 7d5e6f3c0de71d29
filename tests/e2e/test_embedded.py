"""The real model inside the service, as `make run` starts it."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import Service, manage, question, read_events, running_service

pytest.importorskip("xllamacpp", reason="llama.cpp has no wheel for this platform")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    env = {"EMBEDDED_MODEL": "on", "UPSTREAM_GAP_SECONDS": "60", "UPSTREAM_FIRST_BYTE_SECONDS": "60"}
    env["RUN_DEADLINE_SECONDS"] = "120"
    with running_service(tmp_path_factory.mktemp("embedded"), **env) as running:
        yield running


async def test_it_answers_in_tokens(service: Service) -> None:
    body = {"messages": [{"role": "user", "content": "Tell me a long story about a ship."}], "max_tokens": 40}
    answer = await service.ask(body)
    deltas = [e for e in answer.events if isinstance(e.get("d"), str)]
    assert re.search(r"[a-z]{3}", answer.text)
    record = service.record(answer.headers["X-Run-Id"])
    # How long the answer is, is the model's affair; that each of its tokens came by itself is ours. (The last one may
    # be the mark of the end, and a character may need two.)
    assert len(deltas) >= record["output_tokens"] / 2 > 0
    assert len(answer.times) > 1
    assert (record["provider"], record["price_version"], record["estimated"]) == ("embedded", "embedded", 0)
    assert 0 < record["output_tokens"] <= 40


async def test_several_people_at_once(service: Service) -> None:
    """While one long answer runs, another begins and ends."""
    long = question("smollm2-135m-instruct", "Tell me a very long story about a ship.") | {"max_tokens": 600}
    async with service.opened(long) as first:
        await read_events(first, 8)
        short = await service.ask({"messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 5})
        assert short.error is None and short.text
        assert not first.content.at_eof()
        await read_events(first, 2)  # the first still speaks
        await service.ask(path=f"/runs/{first.headers['X-Run-Id']}/cancel")
        await first.content.read()


async def test_it_stops_with_the_service(service: Service, tmp_path: Path) -> None:
    more = {"RUN_DEADLINE_SECONDS": "60", "UPSTREAM_GAP_SECONDS": "60", "UPSTREAM_FIRST_BYTE_SECONDS": "60"}
    with running_service(tmp_path, EMBEDDED_MODEL="on", **more) as other:
        assert (await other.chat("smollm2-135m-instruct", "Hi.")).error is None
        assert await asyncio.to_thread(other.stop) == 0


async def test_without_its_wheel_a_labelled_script_stands_in(tmp_path: Path) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    # A package of that name that cannot be imported, as on a platform without a wheel.
    (hidden / "xllamacpp.py").write_text("raise ImportError('no wheel')")
    with running_service(tmp_path / "run", EMBEDDED_MODEL="on", PYTHONPATH=str(hidden)) as other:
        answer = await other.chat("scripted", "Hi.")
        assert "scripted answer, not a language model" in answer.text
        assert "No embedded model here: xllamacpp cannot be loaded: no wheel." in other.log


def test_create_api_key_needs_a_user(service: Service) -> None:
    with pytest.raises(AssertionError, match="--user"):
        manage(service.env, "create_api_key")
