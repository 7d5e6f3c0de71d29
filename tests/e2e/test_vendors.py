"""Every vendor through the door of a running service: answers, books, failover, fallback, groups."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from bench.upstream.testing import Upstream
from tests.harness import CANARY, Service, manage, running_service

COUNTED = "mock+tokens=5+text=plain+in=1000+cached=400+out=70+reasoning=20"
VENDORS = {
    "anthropic": f"{COUNTED}+cache_write=0",
    "gemini": f"{COUNTED}+ttft=1",
    "bedrock": f"{COUNTED}+ttft=2",
}
CUT = "mock+tokens=8+at=4+text=plain+in=1000+cached=400+out=70+fault=cut"
STORM = "mock+tokens=3+text=plain"
DOWN = "mock+fault=503"
BUSY = "mock+retry_after=30+fault=429"


def _endpoints(upstream: Upstream) -> dict[str, Any]:
    """The mock takes its script from the key where the model's name has none."""
    chat, responses = f"{upstream.url}/chat/completions", f"{upstream.url}/responses"
    azure = f"{upstream.root}/openai/deployments/d/chat/completions?api-version=2024-10-21"
    half_down = f"{STORM}+fault=503+share=0.5"
    pools = {
        "on-azure": [{"url": azure, "key": COUNTED, "provider": "azure"}],
        COUNTED: [{"url": responses, "key": CANARY}],
        # Half of one endpoint's answers are a 503; the other one answers.
        "storm": [{"url": chat, "key": half_down}, {"url": chat, "key": STORM}],
        "down": [{"url": chat, "key": DOWN}],
        "busy": [{"url": chat, "key": BUSY}],
        "stand-in": [{"url": chat, "key": STORM}],
        "reserved": [{"url": chat, "key": STORM}],
    }
    return {"models": [{name: {"endpoints": endpoints}} for name, endpoints in pools.items()]}


@pytest.fixture(scope="module")
def vendors(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("vendors")
    (folder / "endpoints.json").write_text(json.dumps(_endpoints(upstream)))
    (folder / "models.json").write_text(
        json.dumps(
            {
                "models": [
                    {"id": "down", "name": "Down", "provider": "compatible"},
                    {"id": "stand-in", "name": "Stand-in", "provider": "compatible"},
                    {"id": "reserved", "name": "Reserved", "provider": "compatible"},
                ]
            }
        )
    )
    env = {
        "LLM_ENDPOINTS_FILE": str(folder / "endpoints.json"),
        "ANTHROPIC_API_KEY": f"{CANARY}-anthropic",
        "ANTHROPIC_BASE_URL": upstream.root,
        "ANTHROPIC_MODELS": f"{VENDORS['anthropic']},{CUT}",
        "GEMINI_API_KEY": f"{CANARY}-gemini",
        "GEMINI_BASE_URL": f"{upstream.root}/v1beta",
        "GEMINI_MODELS": VENDORS["gemini"],
        "BEDROCK_BASE_URL": upstream.root,
        "BEDROCK_MODELS": VENDORS["bedrock"],
        "AWS_ACCESS_KEY_ID": f"{CANARY}-id",
        "AWS_SECRET_ACCESS_KEY": f"{CANARY}-secret",
        "AWS_REGION": "eu-west-1",
    }
    with running_service(folder / "run", **env) as service:
        manage(service.env, "load_models", str(folder / "models.json"))
        service.sql("UPDATE llm_modelentry SET fallback_id = 'stand-in' WHERE model_id = 'down'")
        service.sql("UPDATE llm_modelentry SET groups = '[\"lab\"]' WHERE model_id = 'reserved'")
        yield service


@pytest.mark.parametrize("model", [*VENDORS.values(), COUNTED, "on-azure"], ids=[*VENDORS, "responses", "azure"])
async def test_each_vendor_answers_and_is_booked(vendors: Service, model: str) -> None:
    answer = await vendors.chat(model)
    assert (answer.status, answer.text, answer.error) == (200, "w0 w1 w2 w3 w4 ", None)
    row = vendors.record(answer.headers["X-Run-Id"])
    tokens = [row[f"{kind}_tokens"] for kind in ("input", "cache_read", "cache_write", "output")]
    assert tokens == [600, 400, 0, 70] and row["outcome"] == "finished"


async def test_a_broken_off_answer_is_booked_by_what_the_vendor_said_until_then(vendors: Service) -> None:
    answer = await vendors.chat(CUT)
    assert answer.error is not None
    row = vendors.record(answer.headers["X-Run-Id"])
    assert (row["outcome"], row["estimated"]) == ("failed", 1)
    assert (row["input_tokens"], row["cache_read_tokens"]) == (600, 400) and row["output_tokens"] >= 4


async def test_a_storm_of_5xx_costs_no_request(vendors: Service) -> None:
    answers = await asyncio.gather(*(vendors.chat("storm") for _ in range(60)))
    assert [answer.text for answer in answers] == ["w0 w1 w2 "] * 60
    assert all(answer.error is None for answer in answers)


async def test_a_fallback_model_answers_and_is_what_is_booked(vendors: Service) -> None:
    answer = await vendors.chat("down")
    assert answer.text == "w0 w1 w2 " and answer.error is None
    said = [event["st"]["message"] for event in answer.events if "st" in event]
    assert any("Stand-in" in message for message in said)
    rows = sorted(vendors.records(answer.headers["X-Run-Id"]), key=lambda row: row["model_id"])
    assert [(row["model_id"], row["outcome"], row["output_tokens"]) for row in rows] == [
        ("down", "failed", 0),
        ("stand-in", "finished", 3),
    ]


async def test_a_vendor_that_asks_for_patience_is_left_alone(vendors: Service, upstream: Upstream) -> None:
    assert (await vendors.chat("busy")).error is not None
    upstream.clear()
    refused = await vendors.ask({"messages": [{"role": "user", "content": "x"}], "model": "busy", "stream": False})
    assert refused.status == 503 and 20 <= int(refused.headers["Retry-After"]) <= 30
    assert not [call for call in upstream.calls() if call["model"] == "busy"]


async def test_a_model_of_another_group_is_not_there(vendors: Service) -> None:
    answer = await vendors.chat("reserved")
    assert (answer.status, answer.json["code"]) == (400, "unknown_model")
    listed = (await vendors.ask(path="/v1/models", method="GET")).json["data"]
    assert "reserved" not in [model["id"] for model in listed] and "storm" in [model["id"] for model in listed]


def test_no_key_is_in_the_log(vendors: Service) -> None:
    assert CANARY not in vendors.log
