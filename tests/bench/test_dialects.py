"""Every vendor's language, told apart from its faults: text, tools, thoughts, ends and figures."""

import time
from contextlib import closing
from typing import Any
from urllib.parse import quote

import botocore.session
import orjson
import pytest
from botocore.config import Config
from botocore.exceptions import EventStreamError

from bench.upstream.testing import Upstream
from tests.bench.readers import aws, sse
from tests.bench.vendors import KEY, VENDORS, Vendor, signed
from tests.bench.wire import call, heard, post

USAGE = "in=1000+out=70+cached=400+cache_write=100+reasoning=20"


def _expected(name: str) -> tuple[int, ...]:
    """What a vendor can tell of `USAGE`: some report cache writes, the others reasoning."""
    return (1000, 70, 400, 100, 0) if name in ("bedrock", "anthropic") else (1000, 70, 400, 0, 20)


@pytest.mark.parametrize("stream", [True, False])
def test_text_end_and_record(upstream: Upstream, vendor: Vendor, stream: bool) -> None:
    found = heard(upstream, vendor, "mock+tokens=4+text=plain", stream=stream)
    assert (found.text, found.reasons, found.ended) == ("w0 w1 w2 w3 ", [vendor.reasons["stop"]], True)
    assert (found.thoughts, found.tool, found.errors) == ("", "", [])
    assert found.usages[-1] == (10, 4, 0, 0, 0)
    record = upstream.wait_until_ended()[0]
    assert (record["outcome"], record["frames_sent"], record["model"]) == ("complete", 4, "mock+tokens=4+text=plain")
    assert record["key_tail"] == KEY[-4:]


@pytest.mark.parametrize("stream", [True, False])
def test_the_words_of_the_question_are_found(upstream: Upstream, vendor: Vendor, stream: bool) -> None:
    assert heard(upstream, vendor, "mock+text=echo", stream=stream).text == "say it again "


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("name", list(VENDORS))
def test_one_plan_gives_the_same_figures_in_every_language(upstream: Upstream, name: str, stream: bool) -> None:
    found = heard(upstream, VENDORS[name], f"mock+{USAGE}+text=plain", stream=stream)
    assert found.usages[-1] == _expected(name)
    assert bool(found.thoughts) == (VENDORS[name].body is not VENDORS["openai"].body)
    assert found.text == "".join(f"w{n} " for n in range(8))


@pytest.mark.parametrize(
    ("name", "key", "expected"),
    [
        (
            "gemini",
            "usageMetadata",
            {
                "promptTokenCount": 1000,
                "candidatesTokenCount": 50,
                "totalTokenCount": 1070,
                "cachedContentTokenCount": 400,
                "thoughtsTokenCount": 20,
            },
        ),
        (
            "bedrock",
            "usage",
            {
                "inputTokens": 500,
                "outputTokens": 70,
                "totalTokens": 1070,
                "cacheReadInputTokens": 400,
                "cacheWriteInputTokens": 100,
            },
        ),
        (
            "anthropic",
            "usage",
            {
                "input_tokens": 500,
                "cache_creation_input_tokens": 100,
                "cache_read_input_tokens": 400,
                "output_tokens": 70,
            },
        ),
        (
            "responses",
            "usage",
            {
                "input_tokens": 1000,
                "input_tokens_details": {"cached_tokens": 400},
                "output_tokens": 70,
                "output_tokens_details": {"reasoning_tokens": 20},
                "total_tokens": 1070,
            },
        ),
    ],
)
def test_the_vendors_own_counting(upstream: Upstream, name: str, key: str, expected: dict[str, int]) -> None:
    assert call(upstream, VENDORS[name], f"mock+{USAGE}", stream=False).json[key] == expected


@pytest.mark.parametrize("name", list(VENDORS))
@pytest.mark.parametrize("style", ["end", "never", "twice", "late+late=60"])
def test_usage_styles(upstream: Upstream, name: str, style: str) -> None:
    vendor = VENDORS[name]
    began = time.monotonic()
    found = heard(upstream, vendor, f"mock+usage={style}+{USAGE}")
    took = time.monotonic() - began
    assert took >= 0.055 or not style.startswith("late")
    assert len(found.reasons) == 1 or name == "gemini"
    assert found.ended
    if style == "never":
        assert found.usages == []
    else:
        assert found.usages[-1] == _expected(name)
        assert found.usages.count(_expected(name)) == (2 if style == "twice" else 1)


def test_usage_that_counts_up_never_counts_down(upstream: Upstream) -> None:
    for name in ("gemini", "anthropic"):
        outputs = [usage[1] for usage in heard(upstream, VENDORS[name], "mock+tokens=6+out=4").usages]
        assert outputs == sorted(outputs)
        assert (outputs[0], outputs[-1]) == (1, 4)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(("fault", "reason"), [("length", "length"), ("content-filter", "content_filter")])
def test_ends_before_the_end(upstream: Upstream, vendor: Vendor, stream: bool, fault: str, reason: str) -> None:
    found = heard(upstream, vendor, f"mock+fault={fault}", stream=stream)
    assert (found.reasons, found.ended) == ([vendor.reasons[reason]], True)


@pytest.mark.parametrize("stream", [True, False])
def test_a_tool_is_called_until_its_result_is_there(upstream: Upstream, vendor: Vendor, stream: bool) -> None:
    found = heard(upstream, vendor, "mock+fault=tools", stream=stream)
    assert (found.tool, orjson.loads(found.arguments)) == ("weather", {"query": "mock"})
    assert (found.reasons, found.text, found.ended) == ([vendor.reasons["tool_calls"]], "", True)
    after = heard(upstream, vendor, "mock+fault=tools", stream=stream, more=vendor.tool_result)
    assert (after.tool, after.reasons) == ("", [vendor.reasons["stop"]])
    assert after.text


def test_responses_announce_fill_and_close_every_item(upstream: Upstream) -> None:
    events = sse(call(upstream, VENDORS["responses"], "mock+tokens=2+reasoning=1").data)
    assert [name for name, _ in events] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.reasoning_summary_part.added",
        "response.reasoning_summary_text.delta",
        "response.reasoning_summary_text.done",
        "response.reasoning_summary_part.done",
        "response.output_item.done",
        "response.output_item.added",
        "response.content_part.added",
        *["response.output_text.delta"] * 2,
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event["output_index"] for _, event in events if "output_index" in event] == [0] * 6 + [1] * 7


def test_anthropic_announces_fills_and_closes_every_block(upstream: Upstream) -> None:
    events = sse(call(upstream, VENDORS["anthropic"], "mock+tokens=2+reasoning=1").data)
    block = ["content_block_start", "content_block_delta", "content_block_delta", "content_block_stop"]
    names = [name for name, _ in events if name != "ping"]
    assert names == ["message_start", *block, *block, "message_delta", "message_stop"]
    kinds = [event["delta"]["type"] for name, event in events if name == "content_block_delta"]
    assert kinds == ["thinking_delta", "signature_delta", "text_delta", "text_delta"]


def test_bedrock_closes_its_blocks_and_ends_with_metadata(upstream: Upstream) -> None:
    events = aws(call(upstream, VENDORS["bedrock"], "mock+tokens=2+reasoning=1").data)
    thought = ["contentBlockDelta", "contentBlockDelta", "contentBlockStop"]
    assert [name for name, _ in events] == ["messageStart", *thought, *thought, "messageStop", "metadata"]
    blocks = [event["contentBlockIndex"] for _, event in events if "contentBlockIndex" in event]
    assert blocks == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize("stream", [True, False])
def test_bedrocks_guardrail(upstream: Upstream, stream: bool) -> None:
    found = heard(upstream, VENDORS["bedrock"], "mock+fault=guardrail", stream=stream)
    assert found.reasons == ["guardrail_intervened"]


def _boto_client(upstream: Upstream) -> Any:
    return botocore.session.Session().create_client(
        "bedrock-runtime",
        region_name="us-east-1",
        endpoint_url=upstream.root,
        aws_access_key_id="AKIAMOCK",
        aws_secret_access_key="secret",
        config=Config(retries={"total_max_attempts": 1}),
    )


def test_botocores_own_client_understands_bedrock(upstream: Upstream) -> None:
    client = _boto_client(upstream)
    question: Any = [{"role": "user", "content": [{"text": "hi"}]}]
    answer = client.converse_stream(modelId=f"us.x:0+{USAGE}+text=plain+tokens=2", messages=question)
    events = list(answer["stream"])
    assert "".join(event["contentBlockDelta"]["delta"].get("text", "") for event in events[4:6]) == "w0 w1 "
    assert events[-1]["metadata"]["usage"]["totalTokens"] == 1070
    assert client.converse(modelId="mock", messages=question)["stopReason"] == "end_turn"
    with pytest.raises(client.exceptions.ThrottlingException):
        client.converse(modelId="mock+fault=429", messages=question)
    broken = client.converse_stream(modelId="mock+fault=error-event", messages=question)["stream"]
    # Its connection is nobody's any more: not the pool's, which the client closes.
    with closing(broken), pytest.raises(EventStreamError, match="modelStreamErrorException"):
        list(broken)
    assert {call["key_tail"] for call in upstream.calls()} == {"MOCK"}
    client.close()


def _bedrock(upstream: Upstream, model: str, headers: dict[str, str]) -> Any:
    return post(upstream, f"/model/{model}/converse", {"messages": []}, headers)


def test_bedrock_wants_a_signature_for_bedrock_or_a_bearer_token(upstream: Upstream) -> None:
    url = f"{upstream.root}/model/mock/converse"
    body = orjson.dumps({"messages": []})
    strangers = [{}, {"authorization": "Basic x"}, {"x-api-key": KEY}, signed(url, body, service="s3")]
    for headers in strangers:
        answer = _bedrock(upstream, "mock", headers)
        assert (answer.status, answer.headers["x-amzn-errortype"]) == (403, "AccessDeniedException")
        assert list(answer.json) == ["message"]
    dateless = {name: value for name, value in signed(url, body).items() if name != "X-Amz-Date"}
    assert _bedrock(upstream, "mock", dateless).status == 403
    assert _bedrock(upstream, "mock", signed(url, body)).status == 200
    assert _bedrock(upstream, "mock", {"authorization": f"Bearer {KEY}"}).status == 200


@pytest.mark.parametrize("name", ["us.anthropic.claude-x-v1:0", "arn:aws:bedrock:us-east-1:1:inference-profile/x"])
@pytest.mark.parametrize("vendor_name", ["bedrock", "gemini"])
def test_names_in_paths_are_unquoted(upstream: Upstream, vendor_name: str, name: str) -> None:
    vendor, model = VENDORS[vendor_name], f"{name}+tokens=2+text=plain"
    assert heard(upstream, vendor, model).text == "w0 w1 "
    assert upstream.calls()[0]["model"] == model


def test_a_plus_in_a_path_is_a_plus(upstream: Upstream) -> None:
    bearer = {"authorization": f"Bearer {KEY}"}
    answer = _bedrock(upstream, "mock+tokens=1+text=plain", bearer)
    assert answer.json["output"]["message"]["content"] == [{"text": "w0 "}]


def test_gemini_streams_only_as_server_sent_events(upstream: Upstream) -> None:
    answer = post(upstream, "/v1beta/models/mock:streamGenerateContent", {"contents": []}, {"x-goog-api-key": KEY})
    assert (answer.status, answer.json["error"]["status"]) == (400, "INVALID_ARGUMENT")


def test_anthropic_wants_its_version_and_a_limit(upstream: Upstream) -> None:
    body = {"model": "mock", "messages": [], "max_tokens": 1}
    headers = VENDORS["anthropic"].key_headers
    assert post(upstream, "/v1/messages", body, headers).status == 200
    for less, told in (({}, headers), (body, {"x-api-key": KEY})):
        answer = post(upstream, "/v1/messages", {"model": "mock", "messages": []} | less, told)
        assert (answer.status, answer.json["error"]["type"]) == (400, "invalid_request_error")


def test_azure_finds_the_plan_in_the_deployment(upstream: Upstream) -> None:
    path = f"/openai/deployments/{quote('mock+tokens=2+text=plain')}/chat/completions"
    body = {"messages": [], "stream": True}
    answer = post(upstream, f"{path}?api-version=2024-10-21", body, {"api-key": KEY})
    assert VENDORS["azure"].listen(answer.data).text == "w0 w1 "
    assert upstream.calls()[0]["model"] == "mock+tokens=2+text=plain"
    first = sse(answer.data)[0][1]
    assert first["choices"] == []
    assert first["prompt_filter_results"][0]["content_filter_results"]["hate"] == {
        "filtered": False,
        "severity": "safe",
    }
    assert post(upstream, path, body, {"api-key": KEY}).status == 404


def test_responses_take_a_bare_text(upstream: Upstream) -> None:
    body = {"model": "mock+text=echo", "input": "just this"}
    answer = post(upstream, "/v1/responses", body, {"authorization": f"Bearer {KEY}"})
    assert VENDORS["responses"].read(answer.data).text == "just this "
