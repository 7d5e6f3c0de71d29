"""One mock upstream and one service per server; every test here runs on both servers."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache

import pytest

from bench.upstream.testing import Upstream, running_upstream
from tests.harness import Service, running_service

SHORT = "mock+tokens=3+text=plain"
EMOJI = "mock+tokens=6+text=emoji"
PACED = "mock+tokens=30+gap=20+text=plain"
HUNDRED = "mock+tokens=100+gap=20+text=plain"
LONG = "mock+tokens=400+gap=25+text=plain"
LATE = "mock+tokens=3+ttft=1500+text=plain"
NEVER = "mock+fault=silent"
PRICED = "gpt-4o"
TOOLS = "mock+tokens=3+text=plain+fault=tools"
COUNTED = "mock+tokens=5+in=1000+cached=400+out=70+reasoning=20"

MODELS = [
    SHORT,
    EMOJI,
    PACED,
    HUNDRED,
    LONG,
    LATE,
    NEVER,
    COUNTED,
    TOOLS,
    *(f"mock+fault={fault}" for fault in ("400", "401", "429", "500", "503", "mute", "html", "garbage")),
    *(f"mock+tokens=8+at=4+text=plain+fault={fault}" for fault in ("cut", "close", "half-silent", "error-event")),
    *(f"mock+tokens=8+text=plain+fault={fault}" for fault in ("utf8", "two-in-one", "split", "no-done", "length")),
    *(f"mock+tokens=4+in=9+out=4+usage={usage}" for usage in ("twice", "never", "late")),
    "mock+tokens=2000+text=plain",
]


@pytest.fixture(scope="session")
def upstream() -> Iterator[Upstream]:
    with running_upstream(MODELS) as running:
        yield running


@pytest.fixture(scope="session")
def services(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Service]]:
    """Each server's service, started when it is first asked for and kept: tests come in random order."""
    with ExitStack() as running:

        @cache
        def start(server: str) -> Service:
            folder = tmp_path_factory.mktemp(server)
            return running.enter_context(running_service(folder, server=server, upstream=upstream.url, models=MODELS))

        yield start


@pytest.fixture(params=["daphne", "uvicorn"])
def server(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def service(server: str, services: Callable[[str], Service]) -> Service:
    return services(server)
