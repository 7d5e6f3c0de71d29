"""A unit test: through the door, the next line comes a minute later."""

import asyncio
import io
import json
from types import SimpleNamespace
from typing import Any

import pytest

from amplify_chat import emf
from tests.harness import wait_until


async def test_each_line_has_the_figures_of_its_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emf, "PERIOD_SECONDS", 0.0)
    service: Any = SimpleNamespace(runs=SimpleNamespace(live=3), connections=[1, 2, 3, 4])
    out = io.BytesIO()
    reporting = asyncio.ensure_future(emf.report_figures(service, service_name="s", out=out, clock=lambda: 1.5))
    await wait_until(lambda: out.getvalue().count(b"\n") >= 1)
    service.runs.live = 5
    written = out.getvalue().count(b"\n")
    await wait_until(lambda: out.getvalue().count(b"\n") >= written + 2)
    reporting.cancel()
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert lines[0]["ActiveStreams"] == 3 and lines[-1]["ActiveStreams"] == 5
    assert lines[0]["OpenConnections"] == 4 and lines[0]["_aws"]["Timestamp"] == 1500
