"""The lines of the log that CloudWatch makes metrics of."""

import json
from pathlib import Path
from typing import Any

from bench.upstream.testing import Upstream
from tests.e2e.conftest import LONG
from tests.harness import question, read_events, running_service


def lines(log: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.splitlines() if line.startswith('{"_aws"')]


async def test_a_service_with_a_name_tells_how_busy_it_is(upstream: Upstream, tmp_path: Path) -> None:
    with running_service(tmp_path, upstream=upstream.url, models=[LONG], SERVICE_NAME="chat-prod") as service:
        async with service.opened(question(LONG)) as stream:
            await read_events(stream, 2)
        [told] = lines(service.log)
    assert told["Service"] == "chat-prod" and told["ActiveStreams"] == 0  # at its start
    [directive] = told["_aws"]["CloudWatchMetrics"]
    assert (directive["Namespace"], directive["Dimensions"]) == ("AmplifyChat", [["Service"]])
    assert {metric["Name"] for metric in directive["Metrics"]} == {"ActiveStreams", "OpenConnections"} <= set(told)


def test_without_a_name_the_log_has_none(tmp_path: Path) -> None:
    with running_service(tmp_path) as service:
        assert lines(service.log) == []
