"""Secrets of AWS Secrets Manager, read from a moto server; alone and through the door of a running service."""

import asyncio
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any
from uuid import uuid4

import boto3  # type: ignore[import-untyped]
import pytest
from structlog.testing import capture_logs

from amplify_chat.env import read_env
from amplify_chat.model_sources import ModelSources
from bench.upstream.testing import Upstream, running_upstream
from core import secrets
from core.secrets import KEEP, RETRY, Secret
from llm.catalogue import ModelSource
from tests.harness import CANARY, START_SECONDS, Service, running_service

REGION = "eu-west-1"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": f"{CANARY}-id", "AWS_SECRET_ACCESS_KEY": f"{CANARY}-key"}
COUNTED = "mock+tokens=3+text=plain"
MOTO = "from moto.server import main; main(['-H', '127.0.0.1', '-p', '0'])"


class Store:
    """A Secrets Manager of its own process."""

    def __init__(self, process: subprocess.Popen[bytes], url: str) -> None:
        self.process = process
        self.url = url
        self.client = boto3.client(
            "secretsmanager",
            region_name=REGION,
            endpoint_url=url,
            aws_access_key_id="x",
            aws_secret_access_key="x",
        )

    def create(self, text: Any, **more: Any) -> tuple[str, str]:
        """Name and ARN of a new secret."""
        content = {"SecretString": text if isinstance(text, str) else json.dumps(text)} if text is not None else {}
        made = self.client.create_secret(Name=f"test/{uuid4()}", **content, **more)
        return made["Name"], made["ARN"]

    def stop(self) -> None:
        self.client.close()
        self.process.terminate()
        self.process.wait(10)


@contextmanager
def running_store() -> Iterator[Store]:
    with NamedTemporaryFile() as log:
        process = subprocess.Popen([sys.executable, "-c", MOTO], stderr=log.fileno(), stdout=subprocess.DEVNULL)
        store = Store(process, _address(process, log.name))
        try:
            yield store
        finally:
            store.stop()


def _address(process: subprocess.Popen[bytes], log: str) -> str:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if found := re.search(r"Running on (http://\S+)", Path(log).read_text()):
            return found.group(1)
        assert process.poll() is None, Path(log).read_text()
        time.sleep(0.02)  # polls another process's log
    process.kill()
    raise AssertionError(f"moto did not start: {Path(log).read_text()}")


@pytest.fixture(scope="session")
def store() -> Iterator[Store]:
    with running_store() as running:
        yield running


@pytest.fixture(autouse=True)
def aws(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", store.url)
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)


class _Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> _Clock:
    clock = _Clock()
    monkeypatch.setattr(secrets, "time", clock)
    return clock


async def test_by_name_and_by_arn_whose_region_counts(store: Store) -> None:
    name, arn = store.create("hello")
    assert await Secret(name, region=REGION).text() == "hello"
    assert await Secret(arn, region="us-east-1").text() == "hello"


@pytest.mark.parametrize("name", ["arn:", "arn:aws:secretsmanager", "arn:aws:secretsmanager::1:secret:x"])
async def test_half_an_arn_is_no_crash(name: str) -> None:
    with capture_logs() as logs:
        assert await Secret(name, region=REGION).text() is None
    assert [line["event"] for line in logs] == ["secret_not_read"]


async def test_a_rotation_is_seen_when_the_time_has_come(store: Store, clock: _Clock) -> None:
    name, _ = store.create("old")
    secret = Secret(name, region=REGION)
    assert await secret.text() == "old"
    store.client.put_secret_value(SecretId=name, SecretString="new")
    clock.now += KEEP - 1
    assert await secret.text() == "old"
    clock.now += 1
    assert await secret.text() == "new"


async def test_a_store_that_is_away_leaves_what_was_known(monkeypatch: pytest.MonkeyPatch, clock: _Clock) -> None:
    with running_store() as own:
        monkeypatch.setenv("AWS_ENDPOINT_URL", own.url)
        name, _ = own.create(f"{CANARY}-text")
        secret = Secret(name, region=REGION)
        assert await secret.text() == f"{CANARY}-text"
    clock.now += KEEP
    with capture_logs() as logs:
        assert await secret.text() == f"{CANARY}-text"
        assert await secret.text() == f"{CANARY}-text"
    assert [(line["event"], line["secret"], line["reason"]) for line in logs] == [
        ("secret_not_read", name, "EndpointConnectionError")
    ]
    assert CANARY not in str(logs)


async def test_a_secret_that_is_not_there_is_asked_for_again_later(store: Store, clock: _Clock) -> None:
    name = f"test/{uuid4()}"
    secret = Secret(name, region=REGION)
    with capture_logs() as logs:
        assert await secret.text() is None
        store.client.create_secret(Name=name, SecretString="late")
        assert await secret.text() is None
    assert [line["reason"] for line in logs] == ["ResourceNotFoundException"]
    assert "GetSecretValue" in logs[0]["hint"] and CANARY not in str(logs)
    clock.now += RETRY
    assert await secret.text() == "late"


async def test_a_binary_secret_and_a_wrong_address_are_said(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    name, _ = store.create(None, SecretBinary=f"{CANARY}".encode())
    with capture_logs() as logs:
        assert await Secret(name, region=REGION).text() is None
        monkeypatch.setenv("AWS_ENDPOINT_URL", "no address")
        assert await Secret(name, region=REGION).text() is None
    assert [line["event"] for line in logs] == ["secret_not_read"] * 2
    assert CANARY not in str(logs)


async def test_many_share_the_first_read(store: Store) -> None:
    name, _ = store.create("hello")
    secret = Secret(name, region=REGION)
    assert await asyncio.gather(*(secret.text() for _ in range(20))) == ["hello"] * 20


async def test_a_reader_that_goes_away_leaves_the_others_theirs(store: Store) -> None:
    name, _ = store.create("hello")
    secret = Secret(name, region=REGION)
    first = asyncio.ensure_future(secret.text())
    second = asyncio.ensure_future(secret.text())
    await asyncio.sleep(0)
    first.cancel()
    assert await second == "hello"


def _vendors(app_secrets: str) -> Sequence[ModelSource]:
    """The sources of OpenAI, Anthropic and Gemini; none of them gets as far as to make a model here."""
    nobody: Any = None
    env = read_env({"SECRETS_ARN_NAME": app_secrets, "AWS_REGION": REGION})
    return ModelSources(env, nobody, nobody).all()[:3]


async def test_a_vendor_whose_key_cannot_be_read_yet_is_asked_about_again(store: Store) -> None:
    """None says "not known yet" to the catalogue, which then asks again; [] would be believed for a minute."""
    assert [await source() for source in _vendors(f"test/{uuid4()}")] == [None] * 3


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"OPENAI_API_KEY": null, "GEMINI_API_KEY": ""}'])
async def test_application_secrets_without_keys_give_no_models(store: Store, text: str) -> None:
    name, _ = store.create(text)
    assert [await source() for source in _vendors(name)] == [[]] * 3


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with running_upstream() as running:
        yield running


@pytest.fixture(scope="module")
def service(store: Store, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Models out of a pool's secret; keys of two vendors out of the platform's application secrets."""
    endpoints = [{"url": f"{upstream.url}/chat/completions", "key": COUNTED}]
    pools, _ = store.create({"models": [{"of-the-secret": {"endpoints": endpoints}}]})
    _, keys = store.create({"ANTHROPIC_API_KEY": f"{CANARY}-a\n", "GEMINI_API_KEY": f"{CANARY}-g", "OTHER": "x"})
    env = {
        **CREDENTIALS,
        "AWS_ENDPOINT_URL": store.url,
        "AWS_REGION": REGION,
        "LLM_ENDPOINTS_SECRETS_NAME": pools,
        "SECRETS_ARN_NAME": keys,
        "ANTHROPIC_BASE_URL": upstream.root,
        "ANTHROPIC_MODELS": f"{COUNTED}+in=1",
        "GEMINI_BASE_URL": f"{upstream.root}/v1beta",
        "GEMINI_MODELS": f"{COUNTED}+in=2",
    }
    with running_service(tmp_path_factory.mktemp("secrets"), **env) as running:
        yield running


async def test_every_model_of_the_secrets_is_there_from_the_first_request_on(service: Service) -> None:
    listed = (await service.ask(path="/v1/models", method="GET")).json["data"]
    assert {model["id"] for model in listed} >= {"of-the-secret", f"{COUNTED}+in=1", f"{COUNTED}+in=2"}


@pytest.mark.parametrize("model", ["of-the-secret", f"{COUNTED}+in=1", f"{COUNTED}+in=2"])
async def test_a_model_whose_key_is_a_secret_answers(service: Service, upstream: Upstream, model: str) -> None:
    answer = await service.chat(model)
    assert (answer.status, answer.text, answer.error) == (200, "w0 w1 w2 ", None)


async def test_no_secret_is_in_the_services_log(service: Service) -> None:
    assert (await service.chat("of-the-secret")).status == 200
    assert CANARY not in service.log
