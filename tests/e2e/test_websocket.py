"""`/ws/chat`, with the plain `websockets` client."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from tests.e2e.conftest import LONG, PACED, SHORT
from tests.harness import Service, question, texts

Message = dict[str, Any]


class Socket:
    """A socket that speaks JSON."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def say(self, message: Any) -> None:
        await self.connection.send(message if isinstance(message, str | bytes) else json.dumps(message))

    async def hear(self, kind: str | None = None) -> Message:
        """The next message, or the next of a kind."""
        async with asyncio.timeout(10):
            while True:
                message = json.loads(await self.connection.recv())
                if kind is None or message["type"] == kind:
                    return message

    async def start(self, model: str, own_id: str = "q1", **options: Any) -> str:
        await self.say({"type": "chat.start", "id": own_id, "body": question(model, **options)})
        started = await self.hear("run.started")
        assert started == {"type": "run.started", "id": own_id, "run": started["run"]}
        return started["run"]

    async def until_ended(self, run: str) -> tuple[list[Message], Message]:
        """The run's event messages and its end."""
        events = []
        while (message := await self.hear())["type"] != "run.ended" or message["run"] != run:
            if message["type"] == "event" and message["run"] == run:
                events.append(message)
        return events, message


@asynccontextmanager
async def opened(service: Service, *, signed_in: bool = True, **options: Any) -> AsyncIterator[Socket]:
    headers = service.headers() if signed_in else {}
    async with connect(
        service.ws_url, additional_headers=headers | options.pop("headers", {}), **options
    ) as connection:
        socket = Socket(connection)
        if signed_in:
            assert await socket.hear() == {"type": "auth.ok", "user": "alice"}
        yield socket


async def test_a_question_and_its_answer(service: Service) -> None:
    async with opened(service) as socket:
        run = await socket.start(SHORT)
        events, ended = await socket.until_ended(run)
    assert [m["seq"] for m in events] == list(range(1, len(events) + 1))
    assert texts([m["event"] for m in events]) == "w0 w1 w2 "
    assert events[-1]["event"] == {"s": 0, "type": "end"}
    assert ended["reason"] == "finished"
    assert ended["usage"] == {
        "input": 10, "cacheRead": 0, "cacheWrite": 0, "output": 3, "reasoning": 0, "estimated": False,
    }  # fmt: skip
    service.record(run)


async def test_the_events_are_those_of_http(service: Service) -> None:
    async with opened(service) as socket:
        run = await socket.start(SHORT)
        events, _ = await socket.until_ended(run)
    over_http = await service.ask(path=f"/runs/{run}/events", method="GET")
    assert [m["event"] for m in events] == over_http.events


async def test_sign_in_by_subprotocol(service: Service) -> None:
    offered = [Subprotocol("amplify.chat.v1"), Subprotocol(f"bearer.{service.key}")]
    async with opened(service, signed_in=False, subprotocols=offered) as socket:
        assert socket.connection.subprotocol == "amplify.chat.v1"
        assert (await socket.hear())["type"] == "auth.ok"
        await socket.until_ended(await socket.start(SHORT))


async def test_sign_in_by_first_message(service: Service) -> None:
    async with opened(service, signed_in=False) as socket:
        await socket.say({"type": "chat.start", "id": "q", "body": question(SHORT)})
        refused = await socket.hear()
        assert (refused["type"], refused["code"], refused["id"]) == ("error", "unauthorized", "q")
        await socket.say({"type": "auth", "token": service.key})
        assert await socket.hear() == {"type": "auth.ok", "user": "alice"}
        await socket.until_ended(await socket.start(SHORT))


@pytest.mark.parametrize("how", ["header", "message", "query"])
async def test_a_wrong_key_closes_the_socket(service: Service, how: str) -> None:
    wrong = f"amp-v1-{'x' * 43}"
    url = service.ws_url + (f"?token={service.key}" if how == "query" else "")
    headers = {"Authorization": f"Bearer {wrong}"} if how == "header" else {}
    async with connect(url, additional_headers=headers) as connection:
        socket = Socket(connection)
        if how == "query":
            # A key in the address counts for nothing: addresses are logged.
            await socket.say({"type": "chat.start", "id": "q", "body": question(SHORT)})
            assert (await socket.hear())["code"] == "unauthorized"
            return
        if how == "message":
            await socket.say({"type": "auth", "token": wrong})
        assert (await socket.hear())["code"] == "not_found"
        with pytest.raises(ConnectionClosed) as closed:
            await socket.hear()
    assert closed.value.rcvd is not None and closed.value.rcvd.code == 4401


async def test_several_runs_on_one_socket(service: Service) -> None:
    async with opened(service) as socket:
        for n in range(5):
            await socket.say({"type": "chat.start", "id": f"q{n}", "body": question(PACED)})
        answers: dict[str, str] = {}
        ended = set()
        while len(ended) < 5:
            message = await socket.hear()
            if message["type"] == "event" and isinstance(message["event"].get("d"), str):
                answers[message["run"]] = answers.get(message["run"], "") + message["event"]["d"]
            elif message["type"] == "run.ended":
                ended.add(message["run"])
    assert set(answers) == ended
    assert set(answers.values()) == {"".join(f"w{n} " for n in range(30))}


async def test_cancel(service: Service) -> None:
    async with opened(service) as socket:
        run = await socket.start(LONG)
        await socket.say({"type": "run.cancel", "run": run})
        _, ended = await socket.until_ended(run)
    assert ended["reason"] == "killed"
    assert service.record(run)["outcome"] == "killed"


async def test_resume_on_another_socket(service: Service) -> None:
    async with opened(service) as socket:
        run = await socket.start(PACED)
        seen = []
        while not seen or seen[-1]["seq"] < 15:
            seen.append(await socket.hear("event"))
    async with opened(service) as socket:
        await socket.say({"type": "run.resume", "run": run, "after": seen[-1]["seq"]})
        rest, ended = await socket.until_ended(run)
    assert ended["reason"] == "finished"
    assert [m["seq"] for m in seen + rest] == list(range(1, len(seen) + len(rest) + 1))
    assert texts([m["event"] for m in seen + rest]) == "".join(f"w{n} " for n in range(30))


async def test_resuming_what_one_follows_already_starts_over(service: Service) -> None:
    async with opened(service) as socket:
        run = await socket.start(PACED)
        await socket.hear("event")
        await socket.say({"type": "run.resume", "run": run, "after": 0})
        _, ended = await socket.until_ended(run)
        await socket.say({"type": "ping"})
        assert await socket.hear() == {"type": "pong"}  # and not a second end
    assert ended["reason"] == "finished"


async def test_somebody_elses_run(service: Service) -> None:
    run = (await service.chat(SHORT, key=service.stranger)).headers["X-Run-Id"]
    async with opened(service) as socket:
        for kind in ("run.resume", "run.cancel"):
            await socket.say({"type": kind, "run": run})
            refused = await socket.hear()
            assert (refused["type"], refused["code"], refused["run"]) == ("error", "not_found", run)


_MALFORMED: dict[str, Any] = {
    "not JSON": "{nope",
    "binary": b"\x00\x01",
    "an array": "[]",
    "no type": "{}",
    "a type of a wrong type": '{"type":7}',
    "an unknown type": '{"type":"dance"}',
    "no id": '{"type":"chat.start","body":{}}',
    "no body": '{"type":"chat.start","id":"q"}',
    "an empty body": '{"type":"chat.start","id":"q","body":{}}',
    "an unknown model": {"type": "chat.start", "id": "q", "body": question("nope")},
    "a run of a wrong type": '{"type":"run.cancel","run":7}',
    "an unknown run": '{"type":"run.resume","run":"run_nope","after":0}',
    "after of a wrong type": '{"type":"run.resume","run":"run_nope","after":"x"}',
    "a lone surrogate": '{"type":"chat.start","id":"\\ud800","body":{}}',
    "deep nesting": '{"a":' * 5000 + "1" + "}" * 5000,
}


@pytest.mark.parametrize("case", _MALFORMED)
async def test_malformed_messages_are_answered_and_the_socket_lives_on(service: Service, case: str) -> None:
    async with opened(service) as socket:
        await socket.say(_MALFORMED[case])
        answer = await socket.hear()
        assert answer["type"] == "error" and answer["code"] and len(answer["error"]) > 8
        await socket.say({"type": "ping"})
        assert await socket.hear() == {"type": "pong"}


async def test_a_large_question_is_answered_and_its_socket_lives_on(service: Service) -> None:
    """Just below the limit: 3.9 MB, most of it one long text."""
    async with opened(service) as socket:
        body = question(SHORT)
        body["messages"].insert(0, {"role": "user", "content": "words " * 650_000})
        await socket.say({"type": "chat.start", "id": "large", "body": body})
        run = (await socket.hear("run.started"))["run"]
        events, ended = await socket.until_ended(run)
        assert texts([m["event"] for m in events]) == "w0 w1 w2 " and ended["reason"] == "finished"
        await socket.say({"type": "ping"})
        assert await socket.hear() == {"type": "pong"}


async def test_a_frame_over_the_limit_closes_with_1009(service: Service) -> None:
    async with opened(service) as socket:
        with pytest.raises(ConnectionClosed) as closed:
            await socket.say(json.dumps({"type": "ping", "x": "y" * 10_000_000}))
            await socket.hear()
    assert closed.value.rcvd is not None and closed.value.rcvd.code == 1009
    assert (await service.chat(SHORT)).text == "w0 w1 w2 "


async def test_the_kill_switch_over_a_socket(service: Service) -> None:
    async with opened(service) as socket:
        run = await socket.start(LONG, requestId="ws-k")
        await socket.say(
            {"type": "chat.start", "id": "kill", "body": {"killSwitch": {"requestId": "ws-k", "value": True}}}
        )
        assert await socket.hear("kill.ok") == {"type": "kill.ok", "id": "kill"}
        assert (await socket.until_ended(run))[1]["reason"] == "killed"


async def test_too_many_runs_on_a_socket(service: Service) -> None:
    async with opened(service) as socket:
        for n in range(32):
            await socket.start(LONG, f"q{n}")
        await socket.say({"type": "chat.start", "id": "one-more", "body": question(SHORT)})
        refused = await socket.hear("error")
    assert (refused["code"], refused["id"]) == ("too_many_runs", "one-more")


async def test_an_address_that_is_nothing(service: Service) -> None:
    with pytest.raises(InvalidStatus):
        async with connect(service.ws_url + "/nothing"):
            pass
