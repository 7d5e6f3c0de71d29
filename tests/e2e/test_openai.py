"""OpenAI's front door, asked by OpenAI's own package: what works there works in the tools that people have."""

import asyncio
import json
import os
import shutil
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.e2e.conftest import COUNTED, LONG, MODELS, PACED, SHORT, TOOLS
from tests.harness import CANARY, ROOT, Service, manage, running_service

ASK: list[Any] = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "2+2?"}]
TOOL: Any = {
    "type": "function",
    "function": {"name": "lookup", "parameters": {"type": "object", "properties": {"query": {"type": "string"}}}},
}
# In an environment of its own: in ours, a package `llm` stands already.
LLM = ROOT / ".venv/clients/bin/llm"
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


@pytest.fixture
async def client(service: Service) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{service.url}/v1", api_key=service.key, max_retries=0) as opened:
        yield opened


async def test_a_stream(client: openai.AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(model=SHORT, messages=ASK, stream=True)
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "w0 w1 w2 "
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert len({(chunk.id, chunk.created) for chunk in chunks}) == 1 and chunks[0].model == SHORT


async def test_usage_comes_last_and_only_if_asked_for(client: openai.AsyncOpenAI, service: Service) -> None:
    asked = {"stream": True, "stream_options": {"include_usage": True}}
    response = await client.chat.completions.with_raw_response.create(model=COUNTED, messages=ASK, **asked)
    chunks = [chunk async for chunk in response.parse()]
    usage = chunks[-1].usage
    assert usage is not None and not chunks[-1].choices
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (1000, 70, 1070)
    assert usage.prompt_tokens_details is not None and usage.prompt_tokens_details.cached_tokens == 400
    assert all(chunk.usage is None for chunk in chunks[:-1])
    row = service.record(response.headers["X-Run-Id"])
    assert (row["input_tokens"], row["cache_read_tokens"], row["output_tokens"]) == (600, 400, 70)


async def test_a_whole_answer_agrees_with_the_stream(client: openai.AsyncOpenAI) -> None:
    whole = await client.chat.completions.create(model=COUNTED.replace("stamp", "plain"), messages=ASK)
    assert whole.choices[0].finish_reason == "stop"
    assert whole.usage is not None and whole.usage.prompt_tokens == 1000
    short = await client.chat.completions.create(model=SHORT, messages=ASK)
    assert short.choices[0].message.content == "w0 w1 w2 "


async def test_tools_there_and_back(client: openai.AsyncOpenAI) -> None:
    called = await client.chat.completions.create(model=TOOLS, messages=ASK, tools=[TOOL])
    assert called.choices[0].finish_reason == "tool_calls"
    (call,) = called.choices[0].message.tool_calls or []
    assert call.type == "function" and json.loads(call.function.arguments) == {"query": "mock"}
    messages = [
        *ASK,
        called.choices[0].message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": call.id, "content": "42"},
    ]
    answered = await client.chat.completions.create(model=TOOLS, messages=messages, tools=[TOOL])
    assert answered.choices[0].finish_reason == "stop" and answered.choices[0].message.content

    stream = await client.chat.completions.create(model=TOOLS, messages=ASK, tools=[TOOL], stream=True)
    pieces = [d for chunk in [c async for c in stream] for d in chunk.choices[0].delta.tool_calls or []]
    assert pieces[0].id == call.id and pieces[0].function is not None and pieces[0].function.name == "lookup"
    assert "".join(p.function.arguments or "" for p in pieces if p.function) == call.function.arguments


async def test_images_and_parts(client: openai.AsyncOpenAI) -> None:
    parts: Any = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
    ]
    answer = await client.chat.completions.create(model=SHORT, messages=[{"role": "user", "content": parts}])
    assert answer.choices[0].message.content == "w0 w1 w2 "


async def test_a_large_image_is_read_like_a_small_one(client: openai.AsyncOpenAI) -> None:
    part: Any = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{'QUJD' * 2**20}"}}
    ask: Any = [{"role": "user", "content": [part]}]
    answer = await client.chat.completions.create(model=SHORT, messages=ask)
    assert answer.choices[0].message.content == "w0 w1 w2 "


@pytest.mark.parametrize("effort", ["none", "minimal", "xhigh"])
async def test_every_effort_is_taken(client: openai.AsyncOpenAI, effort: Any) -> None:
    answer = await client.chat.completions.create(model=SHORT, messages=ASK, reasoning_effort=effort)
    assert answer.choices[0].message.content == "w0 w1 w2 "


class _Refuses(BaseHTTPRequestHandler):
    """A vendor whose model `refuser` will not answer, and whose model `down` is."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if asked["model"] == "down":
            self.send_error(503)
            return
        pieces = ("I will ", "not.") if len(asked["messages"]) == 1 else ("I said no.",)
        chunks = [{"choices": [{"index": 0, "delta": {"refusal": piece}}]} for piece in pieces]
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for chunk in (*chunks, {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}):
            self.wfile.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
        self.wfile.write(b"data: [DONE]\n\n")

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def refuser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Refuses) as vendor:
        threading.Thread(target=vendor.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{vendor.server_port}/v1"
        folder = tmp_path_factory.mktemp("refuser")
        with running_service(folder / "run", upstream=base, models=["down", "refuser"]) as service:
            models = [{"id": name, "name": name, "provider": "compatible"} for name in ("refuser", "down")]
            models[1]["fallback"] = "refuser"
            (folder / "models.json").write_text(json.dumps({"models": models}))
            manage(service.env, "load_models", str(folder / "models.json"))
            yield service
        vendor.shutdown()


SCHEMA: Any = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object", "required": ["n"]}}}


@pytest.mark.parametrize("more", [{}, {"response_format": SCHEMA}], ids=["text", "schema"])
async def test_a_refusal(refuser: Service, more: dict[str, Any]) -> None:
    async with openai.AsyncOpenAI(base_url=f"{refuser.url}/v1", api_key=refuser.key, max_retries=0) as client:
        ask: Any = [{"role": "user", "content": "?"}]
        stream = await client.chat.completions.create(model="refuser", messages=ask, stream=True, **more)
        deltas = [chunk.choices[0].delta async for chunk in stream]
        assert "".join(delta.refusal or "" for delta in deltas) == "I will not."
        assert not any(delta.content for delta in deltas)

        message = (await client.chat.completions.create(model="refuser", messages=ask, **more)).choices[0].message
        assert (message.content, message.refusal) == (None, "I will not.")
        history: Any = [*ask, message.model_dump(exclude_none=True), *ask]
        again = await client.chat.completions.create(model="refuser", messages=history, **more)
        assert again.choices[0].message.refusal == "I said no."
    assert (await refuser.chat("refuser")).text == "I will not."


async def test_the_answer_names_the_model_that_stood_in(refuser: Service) -> None:
    async with openai.AsyncOpenAI(base_url=f"{refuser.url}/v1", api_key=refuser.key, max_retries=0) as client:
        stream = await client.chat.completions.create(model="down", messages=ASK, stream=True)
        assert {chunk.model async for chunk in stream} == {"refuser"}
        whole = await client.chat.completions.create(model="down", messages=ASK)
        assert whole.model == "refuser"


async def test_models(client: openai.AsyncOpenAI) -> None:
    listed = [model.id async for model in client.models.list()]
    assert listed == MODELS
    assert (await client.models.retrieve(SHORT)).owned_by == "compatible"
    with pytest.raises(openai.NotFoundError, match="GET /v1/models"):
        await client.models.retrieve("nothing")


@pytest.mark.parametrize(
    ("change", "kind", "says"),
    [
        ({"model": "nothing"}, openai.NotFoundError, "no 'nothing'"),
        ({"messages": []}, openai.BadRequestError, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, openai.BadRequestError, r"content"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, openai.BadRequestError, r"messages\[0\]"),
        ({"n": 2}, openai.BadRequestError, "n should"),
        ({"temperature": 7}, openai.BadRequestError, "temperature"),
        ({"tools": [{"type": "function", "function": {"name": "no spaces"}}]}, openai.BadRequestError, "name"),
    ],
)
async def test_mistakes_are_exceptions_that_say_what(
    client: openai.AsyncOpenAI, change: dict[str, Any], kind: type[openai.APIStatusError], says: str
) -> None:
    with pytest.raises(kind, match=says) as raised:
        await client.chat.completions.create(**{"model": SHORT, "messages": ASK} | change)
    assert raised.value.request_id and raised.value.code


async def test_a_wrong_image_is_named(client: openai.AsyncOpenAI) -> None:
    part: Any = {"type": "image_url", "image_url": {"url": "data:image/png;base64,@@@"}}
    with pytest.raises(openai.BadRequestError, match=r"image_url\.url is not valid base64"):
        await client.chat.completions.create(model=SHORT, messages=[{"role": "user", "content": [part]}])


async def test_keys(service: Service) -> None:
    async with openai.AsyncOpenAI(base_url=f"{service.url}/v1", api_key=CANARY, max_retries=0) as stranger:
        with pytest.raises(openai.AuthenticationError) as refused:
            await stranger.chat.completions.create(model=SHORT, messages=ASK)
    assert CANARY not in str(refused.value)


async def test_failures_of_the_model(client: openai.AsyncOpenAI, service: Service) -> None:
    with pytest.raises(openai.InternalServerError, match="credentials"):
        await client.chat.completions.create(model="mock+fault=401", messages=ASK)
    stream = await client.chat.completions.create(
        model="mock+tokens=8+at=4+text=plain+fault=cut", messages=ASK, stream=True
    )
    text = ""
    with pytest.raises(openai.APIError, match="broke off"):
        async for chunk in stream:
            text += chunk.choices[0].delta.content or ""
    assert text == "w0 w1 w2 w3 "
    assert CANARY not in service.log


async def test_a_failure_before_the_first_word_has_its_status_streamed_too(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.InternalServerError) as busy:
        await client.chat.completions.create(model="mock+fault=429", messages=ASK, stream=True)
    assert (busy.value.status_code, busy.value.code) == (503, "model_busy")
    assert busy.value.response.headers["Retry-After"] and "x-should-retry" not in busy.value.response.headers
    with pytest.raises(openai.APIStatusError) as rejected:
        await client.chat.completions.create(model="mock+fault=401", messages=ASK, stream=True)
    # The package would try it twice more, and nothing could come of it.
    assert rejected.value.response.headers["x-should-retry"] == "false"


async def test_a_stream_is_killed_by_its_request_id(client: openai.AsyncOpenAI, service: Service) -> None:
    response = await client.chat.completions.with_raw_response.create(
        model=LONG, messages=ASK, stream=True, extra_headers={"X-Request-ID": "my-stream"}
    )
    stream = response.parse()
    await anext(aiter(stream))
    assert (await service.ask({"killSwitch": {"requestId": "my-stream", "value": True}})).status == 200
    with pytest.raises(openai.APIError, match="stopped"):
        async for chunk in stream:
            assert chunk.choices[0].finish_reason is None
    assert service.record(response.headers["X-Run-Id"])["outcome"] == "killed"


async def test_a_whole_answer_is_killed_by_its_request_id(client: openai.AsyncOpenAI, service: Service) -> None:
    named = {"X-Request-ID": "my-whole"}
    whole = asyncio.ensure_future(client.chat.completions.create(model=LONG, messages=ASK, extra_headers=named))
    await service.ask({"killSwitch": {"requestId": "my-whole", "value": True}})  # before it or after: both stop it
    with pytest.raises(openai.BadRequestError, match="stopped"):
        await whole


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed on this machine")
def test_curl(service: Service) -> None:
    body = json.dumps({"model": SHORT, "messages": ASK, "stream": True})
    command = ["curl", "-sN", f"{service.url}/v1/chat/completions", "-H", f"Authorization: Bearer {service.key}"]
    done = subprocess.run([*command, "-d", body], capture_output=True, text=True, timeout=20, check=True)
    lines = [line for line in done.stdout.split("\n\n") if line]
    assert lines[-1] == "data: [DONE]" and all(line.startswith("data: {") for line in lines[:-1])


@pytest.mark.skipif(not LLM.exists(), reason="the `llm` tool is not installed; `make test` installs it")
def test_the_llm_command_line_tool(service: Service, tmp_path: Path) -> None:
    """`llm` by Simon Willison, as its users set it up: an entry in extra-openai-models.yaml."""
    entry = f"- model_id: ours\n  model_name: {PACED!r}\n  api_base: {service.url}/v1\n  api_key_name: ours\n"
    (tmp_path / "extra-openai-models.yaml").write_text(entry)
    (tmp_path / "keys.json").write_text(json.dumps({"ours": service.key}))
    env = os.environ | {"LLM_USER_PATH": str(tmp_path), "LLM_LOAD_PLUGINS": ""}
    for more in ([], ["--no-stream"]):
        command = [LLM, "-m", "ours", "2+2?", *more]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=True)
        assert done.stdout.strip() == " ".join(f"w{n}" for n in range(30))
