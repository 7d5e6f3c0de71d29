"""`python -m bench.providers`: what each vendor's API costs on our side, beside a relay that only passes bytes on.

200 answers of half a second at once: how long they took, how late the loop was, and processor time a frame.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial

import uvloop

from bench.limits import raise_open_files
from bench.process import pin
from bench.subjects import LOAD_CORE, SUBJECT_CORE
from bench.upstream.testing import Upstream, running_upstream
from core.http import HttpClient, HttpTimeouts
from llm.endpoints import Api, Endpoint
from llm.messages import Message, ModelRequest
from llm.model import ModelCard
from llm.providers.anthropic import Anthropic
from llm.providers.bedrock import Bedrock
from llm.providers.gemini import Gemini
from llm.providers.openai_chat import OpenAIChat
from llm.providers.openai_responses import OpenAIResponses
from llm.vendor import Provider, VendorModel

STREAMS = 200
TOKENS = 25
MODEL = f"mock+tokens={TOKENS}+gap=20+text=plain"
REPS = 5
LAG_EVERY = 0.005

_PROVIDERS: dict[str, tuple[Provider, Api, str]] = {
    "OpenAI chat": (OpenAIChat(), "chat", "/v1/chat/completions"),
    "OpenAI responses": (OpenAIResponses(), "responses", "/v1/responses"),
    "Azure": (OpenAIChat(), "chat", f"/openai/deployments/{MODEL}/chat/completions?api-version=2024-10-21"),
    "Bedrock": (Bedrock(), "bedrock", ""),
    "Gemini": (Gemini(), "gemini", "/v1beta"),
    "Anthropic": (Anthropic(), "anthropic", ""),
}
_REQUEST = ModelRequest(messages=(Message.of("user", "hi"),))


def _model(upstream: Upstream, client: HttpClient, name: str) -> VendorModel:
    provider, api, path = _PROVIDERS[name]
    endpoint = Endpoint(url=upstream.url.removesuffix("/v1") + path, key="mock", api=api)
    card = ModelCard(id=MODEL, name=MODEL, provider=endpoint.provider)
    return VendorModel(card, endpoint, provider, client)


async def _listen(model: VendorModel) -> None:
    async for _ in model.stream(_REQUEST):
        pass


async def _relay(upstream: Upstream, client: HttpClient) -> None:
    """The same call with its bytes read and dropped."""
    body = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "stream": True}
    async with client.session.post(f"{upstream.url}/chat/completions", json=body) as response:
        async for _ in response.content.iter_any():
            pass


async def _watch(lags: list[float]) -> None:
    while True:
        due = time.monotonic() + LAG_EVERY
        await asyncio.sleep(LAG_EVERY)
        lags.append(time.monotonic() - due)


async def _measure(answer: Callable[[], Awaitable[None]]) -> tuple[float, float, float]:
    """Seconds for all, lag of the loop (99th percentile, seconds), processor seconds a frame."""
    await answer()
    lags: list[float] = []
    watch = asyncio.ensure_future(_watch(lags))
    started, used = time.monotonic(), time.process_time()
    await asyncio.gather(*(answer() for _ in range(STREAMS)))
    took, used = time.monotonic() - started, time.process_time() - used
    watch.cancel()
    return took, sorted(lags)[int(len(lags) * 0.99)], used / (STREAMS * TOKENS)


async def _run(upstream: Upstream) -> None:
    client = HttpClient(timeouts=HttpTimeouts())
    subjects: dict[str, Callable[[], Awaitable[None]]] = {"raw relay": partial(_relay, upstream, client)}
    for name in _PROVIDERS:
        model = _model(upstream, client, name)
        subjects[name] = partial(_listen, model)
    print(f"{STREAMS} answers of {TOKENS} frames in {TOKENS * 0.02:.1f} s, medians of {REPS}\n")
    print("| provider | wall time, s | loop lag p99, ms | CPU a frame, µs |\n|---|---:|---:|---:|")
    for name, answer in subjects.items():
        runs = [await _measure(answer) for _ in range(REPS)]
        wall, lag, cpu = (sorted(figures)[REPS // 2] for figures in zip(*runs, strict=True))
        print(f"| {name} | {wall:.2f} | {lag * 1000:.1f} | {cpu * 1e6:.0f} |", flush=True)
    await client.aclose()


def main() -> None:
    raise_open_files()
    pin(0, LOAD_CORE)  # before the mock starts: it inherits the core
    with running_upstream() as upstream:
        pin(0, SUBJECT_CORE)
        uvloop.run(_run(upstream))


if __name__ == "__main__":
    main()
