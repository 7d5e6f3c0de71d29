"""`POST /chat`: the wire of today's clients, answers of every kind, failures of every kind."""

import json
import re

import pytest

from bench.upstream.testing import Upstream
from llm.providers.openai_chat import usage_from_wire
from tests.e2e.conftest import COUNTED, EMOJI, LATE, PACED, SHORT
from tests.harness import CANARY, Service, question


def _normalised(raw: bytes) -> str:
    uuids: dict[str, str] = {}

    def number(found: re.Match[str]) -> str:
        return uuids.setdefault(found.group(0), f"u{len(uuids) + 1}")

    text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", number, raw.decode())
    return re.sub(r'"routingTime":\d+', '"routingTime":0', text)


_ROUTING = """\
data: {"s":"meta","st":{"id":"u1","summary":"","message":"Finding the assistant for this …","type":"info","inProgress":true}}

data: {"s":"meta","st":{"id":"u1","summary":"","message":"Finding the assistant for this …","type":"info","inProgress":false}}

data: {"s":"meta","state":{"currentAssistant":"default","currentAssistantId":"default"}}

data: {"s":"meta","st":{"id":"u2","summary":"","message":"The \\"Amplify Assistant\\" is responding.","type":"info",\
"inProgress":false,"icon":"assistant","sticky":true}}

data: {"s":"meta","state":{"routingTime":0}}

data: {"s":"meta","state":{"assistant":"default"}}

"""  # noqa: E501 - the wire, byte for byte


async def test_the_wire_is_seeds_byte_for_byte(service: Service) -> None:
    answer = await service.chat(SHORT)
    assert answer.status == 200
    assert _normalised(answer.raw) == _ROUTING + (
        'data: {"d":"w0 ","s":0}\n\ndata: {"d":"w1 ","s":0}\n\ndata: {"d":"w2 ","s":0}\n\ndata: {"s":0,"type":"end"}\n\n'  # noqa: E501
    )


async def test_the_answer_form_is_heads(service: Service) -> None:
    answer = await service.chat(SHORT, options={"streamFormat": "answer"})
    assert _normalised(answer.raw) == _ROUTING + (
        'data: {"s":"answer","d":"w0 "}\n\ndata: {"s":"answer","d":"w1 "}\n\ndata: {"s":"answer","d":"w2 "}\n\n'
        'data: {"s":"result","type":"end"}\n\n'
    )


async def test_headers_of_a_stream(service: Service) -> None:
    answer = await service.chat(SHORT, headers={"X-Request-ID": "mine-1"})
    assert answer.headers["Content-Type"] == "text/event-stream"
    assert answer.headers["Cache-Control"] == "no-cache, no-transform"
    assert answer.headers["X-Accel-Buffering"] == "no"
    assert answer.headers["X-Request-ID"] == "mine-1"
    assert answer.headers["X-Run-Id"].startswith("run_")
    assert answer.headers["Access-Control-Allow-Origin"] == "*"


async def test_an_unpresentable_request_id_is_replaced(service: Service) -> None:
    answer = await service.chat(SHORT, headers={"X-Request-ID": "a b<c>"})
    assert re.fullmatch(r"req-[0-9a-f]{24}", answer.headers["X-Request-ID"])


async def test_tokens_arrive_one_by_one(service: Service) -> None:
    answer = await service.chat(PACED)
    assert answer.text == "".join(f"w{n} " for n in range(30))
    # 30 tokens, each 20 ms after the last: were they held back, there would be one or two reads.
    assert len(answer.times) >= 5


async def test_emoji_survive_in_both_directions(service: Service, upstream: Upstream) -> None:
    answer = await service.chat(EMOJI, "😀 grüße 🇪🇺")
    assert "�" not in answer.text and any(ord(c) > 0xFFFF for c in answer.text)
    assert upstream.calls()[-1]["body"]["messages"][-1]["content"] == "😀 grüße 🇪🇺"


async def test_whole_answer_as_json(service: Service) -> None:
    answer = await service.ask(question(COUNTED) | {"stream": False})
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    body = answer.json
    assert body["success"] is True
    assert len(body["data"].split()) == 5
    assert body["run"] == answer.headers["X-Run-Id"]
    assert body["usage"] == {
        "input": 600, "cacheRead": 400, "cacheWrite": 0, "output": 70, "reasoning": 20, "estimated": False,
    }  # fmt: skip


async def test_the_documented_dialect_wraps_in_data_and_answers_json(service: Service) -> None:
    answer = await service.ask({"data": question(SHORT) | {"temperature": 0.5, "max_tokens": 10}})
    assert answer.status == 200
    assert (answer.json["success"], answer.json["data"]) == (True, "w0 w1 w2 ")


async def test_temperature_and_limit_reach_the_model(service: Service, upstream: Upstream) -> None:
    await service.ask(question(SHORT) | {"temperature": 0.25, "max_tokens": 77})
    body = upstream.calls()[-1]["body"]
    assert (body["temperature"], body["max_tokens"]) == (0.25, 77)


async def test_options_and_data_sources_may_be_absent(service: Service) -> None:
    body = {"messages": [{"role": "user", "content": "hi"}], "model": SHORT}
    assert (await service.ask(body)).text == "w0 w1 w2 "


async def test_without_a_model_the_first_one_answers(service: Service) -> None:
    answer = await service.ask({"messages": [{"role": "user", "content": "hi"}]})
    assert answer.text == "w0 w1 w2 "


async def test_blank_history_is_left_out(service: Service, upstream: Upstream) -> None:
    messages = [("system", " "), ("user", "a"), ("assistant", ""), ("user", "b")]
    body = question(SHORT) | {"messages": [{"role": r, "content": c} for r, c in messages]}
    await service.ask(body)
    assert [m["content"] for m in upstream.calls()[-1]["body"]["messages"]] == ["a", "b"]


async def test_heartbeat_while_the_model_is_silent(service: Service) -> None:
    answer = await service.chat(LATE)
    before_first_token = answer.raw.split(b'"d":', maxsplit=1)[0]
    assert before_first_token.count(b": ping\n\n") >= 2


_FAILURES = {
    "mock+fault=400": "model_refused",
    "mock+fault=401": "model_rejected_key",
    "mock+fault=429": "model_busy",
    "mock+fault=500": "model_failed",
    "mock+fault=503": "model_timed_out",
    "mock+fault=mute": "model_timed_out",
    "mock+fault=silent": "model_timed_out",
    "mock+fault=html": "model_failed",
    "mock+fault=garbage": "model_broke_off",
    "mock+tokens=8+at=4+text=plain+fault=cut": "model_broke_off",
    "mock+tokens=8+at=4+text=plain+fault=close": "model_broke_off",
    "mock+tokens=8+at=4+text=plain+fault=half-silent": "model_timed_out",
    "mock+tokens=8+at=4+text=plain+fault=error-event": "model_broke_off",
}


@pytest.mark.parametrize("model", _FAILURES)
async def test_a_vendors_failure_ends_readably(service: Service, model: str) -> None:
    answer = await service.chat(model)
    assert answer.status == 200
    *_, delta, end, line = answer.events
    assert end == {"s": 0, "type": "end"}
    assert line == {"error": delta["d"], "code": _FAILURES[model]}
    record = service.record(answer.headers["X-Run-Id"])
    assert (record["outcome"], record["error_code"]) == ("failed", _FAILURES[model])
    assert CANARY not in answer.raw.decode() + service.log


async def test_a_vendors_failure_as_json_has_its_status(service: Service) -> None:
    answer = await service.ask(question("mock+fault=429") | {"stream": False})
    assert (answer.status, answer.json["code"]) == (503, "model_busy")
    assert answer.headers["Retry-After"] == "1"


@pytest.mark.parametrize("fault", ["utf8", "two-in-one", "split", "no-done"])
async def test_odd_framing_loses_nothing(service: Service, fault: str) -> None:
    answer = await service.chat(f"mock+tokens=8+text=plain+fault={fault}")
    assert answer.error is None
    assert len(answer.text.split()) == 8


async def test_a_long_answer_costs_little_more_than_it_says(service: Service) -> None:
    answer = await service.chat("mock+tokens=2000+text=plain")
    assert answer.text == "".join(f"w{n} " for n in range(2000))


_BAD_BODIES = {
    "not JSON": (b"{nope", 400, "Invalid JSON in request body"),
    "empty": (b"", 400, "Invalid JSON in request body"),
    "an array": (b"[]", 400, "Invalid request body"),
    "nothing asked": (b"{}", 400, "Invalid request body"),
    "no messages": (b'{"messages":[]}', 400, "messages"),
    "messages of a wrong type": (b'{"messages":"hi"}', 400, "messages"),
    "a message of a wrong type": (b'{"messages":["hi"]}', 400, "messages[0]"),
    "content of a wrong type": (b'{"messages":[{"role":"user","content":5}]}', 400, "messages[0].content"),
    "a role nobody has": (b'{"messages":[{"role":"boss","content":"x"}]}', 400, "messages[0].role"),
    "empty content": (b'{"messages":[{"role":"user","content":" "}]}', 400, "messages[0].content is empty"),
    "a huge number": (b'{"messages":[{"role":"user","content":"x"}],"temperature":1e999}', 400, "JSON"),
    "a large number": (b'{"messages":[{"role":"user","content":"x"}],"max_tokens":%d}' % 10**40, 400, "max_tokens"),
    "a temperature of 9": (b'{"messages":[{"role":"user","content":"x"}],"temperature":9}', 400, "temperature"),
    "deep nesting": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, 400, "depth"),
    "10,000 messages": (
        json.dumps({"messages": [{"role": "user", "content": "x"}] * 10_000}).encode(), 400, "at most 2000",
    ),
    "a lone surrogate": (b'{"messages":[{"role":"user","content":"\\ud800"}]}', 400, "JSON"),
    "a NUL": (b'{"messages":[{"role":"user","content":"a\\u0000b"}]}', 400, "NUL"),
    "not UTF-8": (b'{"messages":[{"role":"user","content":"\xff"}]}', 400, "JSON"),
    "an unknown model": (b'{"messages":[{"role":"user","content":"x"}],"model":"nope"}', 400, "Invalid model."),
    "a model without an id": (
        b'{"messages":[{"role":"user","content":"x"}],"options":{"model":{}}}', 400, "options.model.id is missing",
    ),
    "options of a wrong type": (b'{"messages":[{"role":"user","content":"x"}],"options":[]}', 400, "options"),
    "a kill without an id": (b'{"killSwitch":{"value":true}}', 400, "No requestId provided for killswitch request"),
    "a kill without a value": (b'{"killSwitch":{"requestId":"a"}}', 400, "Invalid killswitch request"),
    "a kill of a wrong type": (b'{"killSwitch":7}', 400, "No requestId"),
}  # fmt: skip


@pytest.mark.parametrize("case", _BAD_BODIES)
async def test_bad_bodies_get_a_clear_answer(service: Service, case: str) -> None:
    data, status, says = _BAD_BODIES[case]
    answer = await service.ask(data=data, headers={"X-Request-ID": "bad-1"})
    assert answer.status == status
    assert says in answer.json["error"]
    assert answer.json["requestId"] == answer.headers["X-Request-ID"] == "bad-1"
    assert (await service.chat(SHORT)).text == "w0 w1 w2 "


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": 5, "completion_tokens": 3, "completion_tokens_details": {"reasoning_tokens": 9}},
        {"prompt_tokens": -5, "completion_tokens": 10**19},
        {"prompt_tokens": "5", "completion_tokens": "12", "prompt_tokens_details": {"cached_tokens": 7}},
        {"prompt_tokens": None, "completion_tokens": 1.5, "prompt_tokens_details": []},
    ],
)
def test_whatever_a_vendor_counts_can_be_booked(usage: dict[str, object]) -> None:
    """Pure, because the mock counts sensibly."""
    try:
        counted = usage_from_wire(usage)
    except (AttributeError, TypeError):
        return  # told as a broken answer by JsonEventReader
    numbers = (counted.input, counted.cache_read, counted.output, counted.reasoning)
    assert all(type(number) is int and 0 <= number < 2**63 for number in numbers)
    assert counted.reasoning <= counted.output


async def test_the_platforms_dialect_for_developers(service: Service) -> None:
    data = {
        "messages": [{"role": "user", "content": "hi"}],
        "dataSources": ["s3://a/b.json"],
        "options": {"model": {"id": SHORT}, "prompt": "Be brief."},
    }
    answer = await service.ask({"data": data})
    assert answer.json["success"] is True and answer.json["data"] == "w0 w1 w2 "


async def test_null_is_as_good_as_absent(service: Service) -> None:
    body = {"messages": [{"role": "user", "content": "hi"}], "model": SHORT, "dataSources": None, "options": None}
    assert (await service.ask(body)).text == "w0 w1 w2 "


async def test_a_post_to_the_page_is_answered_as_json(service: Service) -> None:
    answer = await service.ask({"messages": []}, path="/")
    assert (answer.status, answer.json["code"]) == (404, "not_found")


async def test_names_that_the_books_cannot_hold_are_refused(service: Service) -> None:
    answer = await service.chat(SHORT, options={"requestId": "x" * 129})
    assert answer.status == 400 and "requestId" in answer.json["error"]
    kill = await service.ask({"killSwitch": {"requestId": "x" * 129, "value": True}})
    assert kill.status == 400


async def test_the_books_name_the_assistant(service: Service) -> None:
    assert service.record((await service.chat(SHORT)).headers["X-Run-Id"])["assistant"] == "default"
