"""The service beside a platform that tells by its API who may use which model, and what it costs."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import orjson
import pytest

from bench.upstream.testing import Upstream
from tests.accounts.test_stores_dynamodb import Platform, settings
from tests.e2e.test_platform import key_of
from tests.harness import Service, question, running_service
from tests.moto import running_moto

COUNTED = "mock+tokens=5+in=1000+cached=400+out=70+reasoning=20"
RESERVED = "mock+tokens=3+text=plain"
UNLISTED = "mock+tokens=6+text=emoji"
COMMON = {
    "provider": "OpenAI", "inputContextWindow": "128000", "outputTokenLimit": "4096", "isAvailable": True,
    "inputTokenCost": "0.0025", "outputTokenCost": "0.01", "cachedTokenCost": "0.00125",
}  # fmt: skip


class Api(ThreadingHTTPServer):
    """Its own small world: bearer to models."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.models: dict[str, list[str]] = {}
        self.asked: list[tuple[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Api

    def do_GET(self) -> None:
        bearer = self.headers["Authorization"].removeprefix("Bearer ")
        self.server.asked.append((self.path, bearer))
        names = self.server.models.get(bearer)
        models = [{"id": name, "name": name, **COMMON} for name in names or ()]
        answer = {"success": True, "data": {"models": models, "default": models[0] if models else None}}
        self.send_response(503 if names is None else 200)
        self.end_headers()
        self.wfile.write(orjson.dumps(answer))

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    with Api() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    with running_moto() as url:
        yield Platform(url)


@pytest.fixture(scope="module")
def service(
    platform: Platform, api: Api, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    folder: Path = tmp_path_factory.mktemp("available")
    env = {**settings(platform), "API_BASE_URL": f"{api.url}/"}
    models = [COUNTED, RESERVED, UNLISTED]
    with running_service(folder, upstream=upstream.url, models=models, **env) as running:
        yield running


async def test_each_caller_has_the_models_that_the_api_lists_for_them(
    service: Service, platform: Platform, api: Api
) -> None:
    member, other = key_of(platform, "chemist@example.edu"), key_of(platform, "jdoe@example.edu")
    api.models |= {member: [RESERVED, COUNTED], other: [COUNTED]}

    assert (await service.ask(question(RESERVED), key=member)).error is None
    refused = await service.ask(question(RESERVED), key=other)
    assert (refused.status, refused.json["code"]) == (400, "unknown_model")
    assert COUNTED in refused.json["error"] and UNLISTED not in refused.json["error"]
    listed = await service.ask(path="/v1/models", method="GET", key=other)
    assert [entry["id"] for entry in listed.json["data"]] == [COUNTED]

    # The default is the list's, and so is the price: 600 uncached, 400 cached, 70 out.
    answer = await service.ask({"messages": [{"role": "user", "content": "hi"}]}, key=other)
    row = service.record(answer.headers["X-Run-Id"])
    assert (row["model_id"], row["micro_dollars"]) == (COUNTED, 600 * 2.5 + 400 * 1.25 + 70 * 10)
    assert row["price_version"] == "platform model-rates"
    assert [asked for asked in api.asked if asked[1] in (member, other)] == [
        ("/available_models", member),
        ("/available_models", other),
    ]


async def test_while_the_api_says_nothing_nobody_is_guessed_at(service: Service, platform: Platform) -> None:
    unknown = key_of(platform, "new@example.edu")
    refused = await service.ask(question(COUNTED), key=unknown)
    assert refused.status == 503 and "Which models you may use" in refused.json["error"]
    assert unknown not in service.log
