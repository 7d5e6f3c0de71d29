"""Every provider keeps the contract, against the mock upstream that speaks its language."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import ClassVar

import pytest

from bench.upstream.testing import Upstream, running_upstream
from core.http import HttpClient, HttpTimeouts
from llm.endpoints import Api, Endpoint
from llm.model import Model, ModelCard
from llm.providers.anthropic import Anthropic
from llm.providers.bedrock import Bedrock
from llm.providers.gemini import Gemini
from llm.providers.openai_chat import OpenAIChat
from llm.providers.openai_responses import OpenAIResponses
from llm.testing import ModelContract
from llm.vendor import Provider, VendorModel
from tests.harness import CANARY


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with running_upstream() as running:
        yield running


@pytest.fixture
async def hasty() -> AsyncIterator[HttpClient]:
    """Waits only shortly for a vendor that has fallen silent."""
    opened = HttpClient(timeouts=HttpTimeouts(connect=2.0, first_byte=0.4, gap=0.4))
    yield opened
    await opened.aclose()


@pytest.fixture
async def patient() -> AsyncIterator[HttpClient]:
    """Waits as long as a busy machine needs."""
    opened = HttpClient(timeouts=HttpTimeouts())
    yield opened
    await opened.aclose()


class _AgainstTheMock(ModelContract):
    """`path` goes behind the mock's address; `{script}` in it is where a vendor has the model's name."""

    provider: ClassVar[Provider]
    api: ClassVar[Api]
    path: ClassVar[str]
    billed_as: ClassVar[str]

    @pytest.fixture(autouse=True)
    def _mock(self, upstream: Upstream, hasty: HttpClient, patient: HttpClient) -> None:
        self.upstream, self.hasty, self.patient = upstream, hasty, patient

    def model(self, script: str) -> Model:
        name = f"mock+{script}"
        card = ModelCard(id=name, name=name, provider=self.billed_as, thinking="effort")
        url = self.upstream.url.removesuffix("/v1") + self.path.format(script=name)
        endpoint = Endpoint(url=url, key=CANARY, provider=self.billed_as, api=self.api)
        return VendorModel(card, endpoint, self.provider, self.hasty if "fault" in script else self.patient)

    async def hung_up(self, script: str) -> bool:
        def left(calls: list[dict[str, object]]) -> bool:
            return any(call["model"] == f"mock+{script}" and call["outcome"] == "hung_up" for call in calls)

        await asyncio.to_thread(self.upstream.wait_for_calls, left)
        return True


class TestOpenAIChat(_AgainstTheMock):
    provider, api, path, billed_as = OpenAIChat(), "chat", "/v1/chat/completions", "openai"


class TestOpenAIResponses(_AgainstTheMock):
    provider, api, path, billed_as = OpenAIResponses(), "responses", "/v1/responses", "openai"


class TestAzure(_AgainstTheMock):
    path = "/openai/deployments/{script}/chat/completions?api-version=2024-10-21"
    provider, api, billed_as = OpenAIChat(), "chat", "azure"


class TestBedrock(_AgainstTheMock):
    provider, api, path, billed_as = Bedrock(), "bedrock", "", "bedrock"


class TestGemini(_AgainstTheMock):
    provider, api, path, billed_as = Gemini(), "gemini", "/v1beta", "gemini"


class TestAnthropic(_AgainstTheMock):
    provider, api, path, billed_as = Anthropic(), "anthropic", "", "anthropic"
