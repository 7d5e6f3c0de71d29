"""What the one place of vendors' I/O adds to their events: a unit test, with a vendor that says what it is told to."""

from collections.abc import Iterator, Mapping, Sequence

import pytest

from bench.upstream.testing import Upstream, running_upstream
from core.errors import ModelFailed
from core.http import HttpClient, HttpTimeouts
from llm.endpoints import Endpoint
from llm.events import Event, Finished, TextDelta, ToolCallDelta
from llm.messages import ModelRequest
from llm.model import ModelCard
from llm.testing import listen
from llm.vendor import VendorModel, WireCall


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with running_upstream() as running:
        yield running


class _Reader:
    """Gives its events at the first bytes, whatever they are."""

    def __init__(self, events: Sequence[Event]) -> None:
        self._events = list(events)
        self.done = False
        self.failure: ModelFailed | None = None

    def feed(self, chunk: bytes) -> Sequence[Event]:
        events, self._events = self._events, []
        self.done = True
        return events


class _Provider:
    def __init__(self, *events: Event) -> None:
        self._events = events

    async def call(self, card: ModelCard, endpoint: Endpoint, request: ModelRequest) -> WireCall:
        return WireCall(url=endpoint.url, body=b'{"model":"mock","messages":[],"stream":true}')

    def reader(self) -> _Reader:
        return _Reader(self._events)

    def refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> ModelFailed:
        return ModelFailed()


async def test_a_call_without_arguments_gets_empty_ones(upstream: Upstream) -> None:
    said = (
        TextDelta("x"),
        ToolCallDelta(index=0, id="a", name="now"),
        ToolCallDelta(index=1, id="b", name="find", arguments='{"q":'),
        ToolCallDelta(index=1, arguments="1}"),
        Finished("tool_calls"),
    )
    client = HttpClient(timeouts=HttpTimeouts())
    endpoint = Endpoint(url=f"{upstream.url}/chat/completions")
    card = ModelCard(id="m", name="M", provider="compatible")
    told = await listen(VendorModel(card, endpoint, _Provider(*said), client))
    await client.aclose()
    assert told.tool_calls() == [("now", "{}"), ("find", '{"q":1}')]
    assert told.events[-1] == Finished("tool_calls")
