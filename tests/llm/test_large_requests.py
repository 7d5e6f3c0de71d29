"""Large requests: what is made of them for a vendor is made off the loop, and once."""

import asyncio
import threading
from typing import Any

import orjson
import pytest

from core.aio import COMPUTING, run_blocking
from llm.messages import Image, Message, ModelRequest, Text, ToolCall, ToolResult, Verbatim
from llm.model import ModelCard
from llm.providers.anthropic import to_wire as anthropic
from llm.providers.converse import to_wire as converse
from llm.providers.gemini import to_wire as gemini
from llm.providers.openai_chat import to_wire as openai_chat
from llm.providers.openai_responses import to_wire as openai_responses
from llm.testing import CARD, LoopTicks
from llm.vendor import LARGE_BODY_BYTES, wire_body

LARGE = ModelRequest(messages=(Message.of("user", "x" * LARGE_BODY_BYTES),))
SMALL = ModelRequest(messages=(Message.of("user", "x"),))


class _ToWire:
    def __init__(self) -> None:
        self.made = 0

    def __call__(self, card: ModelCard, request: ModelRequest) -> dict[str, Any]:
        self.made += 1
        return {"model": card.id, "said": [message.text for message in request.messages]}


async def test_a_large_body_is_made_once_for_all_attempts_but_for_each_vendor() -> None:
    to_wire, other = _ToWire(), _ToWire()
    first = await wire_body(to_wire, CARD, LARGE)
    assert orjson.loads(first)["said"] == [LARGE.messages[0].text]
    assert await wire_body(to_wire, CARD, LARGE) is first and to_wire.made == 1
    await wire_body(other, CARD, LARGE)
    assert other.made == 1
    azure = ModelCard(id="other", name="Other", provider="azure")
    assert orjson.loads(await wire_body(to_wire, azure, LARGE))["model"] == "other"


async def test_a_small_body_goes_to_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hop(*_: Any) -> bytes:
        raise AssertionError("went to a thread")

    monkeypatch.setattr(COMPUTING, "run", hop)
    to_wire = _ToWire()
    await wire_body(to_wire, CARD, SMALL)
    await wire_body(to_wire, CARD, SMALL)
    assert (to_wire.made, SMALL.bodies) == (2, [])


async def test_the_loop_goes_on_while_a_large_body_is_made() -> None:
    def to_wire(card: ModelCard, request: ModelRequest) -> dict[str, Any]:
        while ticks.count < 3:  # would hang, were it called on the loop
            pass
        return {}

    with LoopTicks() as ticks:
        await wire_body(to_wire, CARD, ModelRequest(messages=LARGE.messages))


async def test_the_database_never_waits_behind_computing() -> None:
    computed = threading.Event()
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        for _ in range(20):
            group.create_task(COMPUTING.run(computed.wait, 5))
        assert await run_blocking(lambda: "signed in") == "signed in"
        computed.set()


@pytest.mark.parametrize("to_wire", [openai_chat, openai_responses, anthropic, converse, gemini])
@pytest.mark.parametrize("media_type", ["image/png", 'image/png"}'])
async def test_an_image_is_the_same_on_the_wire_however_it_is_written(to_wire: Any, media_type: str) -> None:
    def asked(text: str) -> ModelRequest:
        return ModelRequest(
            messages=(Message(role="user", parts=(Image(media_type=media_type, base64=text),)),),
        )

    if media_type != "image/png" and to_wire in (anthropic, converse):
        return  # they know the types that they take
    checked, unchecked = [await wire_body(to_wire, CARD, asked(kind("QUJD"))) for kind in (Verbatim, str)]
    assert checked == unchecked and b"QUJD" in checked
    assert orjson.loads(checked)


def test_how_large_a_request_is() -> None:
    parts = (
        Text("12"), Image(base64="3456"), Image(url="78"), ToolCall(id="", name="", arguments="9"),
        ToolResult(call_id="", text="0"),
    )  # fmt: skip
    assert ModelRequest(messages=(Message(role="user", parts=parts),)).size == 10
