"""The spans of the real service, as a collector receives them."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from websockets.asyncio.client import connect

from bench.upstream.testing import Upstream
from tests.e2e.conftest import SHORT
from tests.harness import CANARY, question, running_service

FAULTY = "mock+fault=500"
PROMPT = f"{CANARY}-prompt"
TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}


class Collector:
    """What came, decoded and as bytes."""

    def __init__(self) -> None:
        self.raw = b""
        self.spans: list[Any] = []
        self.keys: set[str | None] = set()

    def named(self, name: str) -> Any:
        [span] = [span for span in self.spans if span.name == name]
        return span


@contextmanager
def collecting() -> Iterator[tuple[str, Collector]]:
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            collector.raw += body
            collector.keys.add(self.headers["x-collector-key"])
            sent = ExportTraceServiceRequest.FromString(body)
            collector.spans += [s for r in sent.resource_spans for scope in r.scope_spans for s in scope.spans]
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", collector
        finally:
            server.shutdown()
            thread.join()


def attributes(span: Any) -> dict[str, Any]:
    return {item.key: getattr(item.value, item.value.WhichOneof("value")) for item in span.attributes}


@pytest.mark.parametrize("server", ["daphne", "uvicorn"])
async def test_a_turn_is_a_tree_below_the_callers_trace(server: str, upstream: Upstream, tmp_path: Path) -> None:
    with collecting() as (url, collector):
        env = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": url,
            "OTEL_EXPORTER_OTLP_HEADERS": f"x-collector-key={CANARY}-collector",
            "OTEL_PROPAGATORS": "tracecontext,baggage,xray",
        }
        with running_service(tmp_path, server=server, upstream=upstream.url, models=[SHORT], **env) as service:
            answer = await service.chat(SHORT, PROMPT, headers=CALLER)
            key = service.key
            assert service.stop() == 0
            log = service.log
    door, call, attempt = (collector.named(name) for name in ("POST /chat", f"chat {SHORT}", "attempt"))
    assert {span.trace_id.hex() for span in collector.spans} == {TRACE}
    assert door.parent_span_id.hex() == "b7ad6b7169203331"
    assert call.parent_span_id == collector.named("admission").parent_span_id == door.span_id
    assert attempt.parent_span_id == call.span_id
    said = attributes(door)
    assert (said["http.response.status_code"], said["amplify.run.id"]) == (200, answer.headers["x-run-id"])
    assert attributes(call)["gen_ai.usage.output_tokens"] > 0
    assert f'"trace_id":"{TRACE}"' in next(line for line in log.splitlines() if "run_ended" in line)
    assert collector.keys == {f"{CANARY}-collector"}
    for secret in (CANARY, key):
        assert secret.encode() not in collector.raw and secret not in log
    assert b"alice" not in collector.raw


async def test_every_door_begins_a_span_below_the_load_balancers(upstream: Upstream, tmp_path: Path) -> None:
    """By `X-Amzn-Trace-Id`, as it comes from a load balancer of AWS."""
    root = "67891233abcdef012345678912345678"
    traced = {"X-Amzn-Trace-Id": f"Root=1-{root[:8]}-{root[8:]};Parent=53995c3f42cd8ad8;Sampled=1"}
    with collecting() as (url, collector):
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_PROPAGATORS": "tracecontext,baggage,xray"}
        with running_service(tmp_path, upstream=upstream.url, models=[SHORT], **env) as service:
            body = {"model": SHORT, "messages": [{"role": "user", "content": PROMPT}]}
            assert (await service.ask(body, path="/v1/chat/completions", headers=traced)).status == 200
            async with connect(service.ws_url, additional_headers=service.headers(**traced)) as socket:
                await socket.send(json.dumps({"type": "chat.start", "id": "q1", "body": question(SHORT, PROMPT)}))
                while json.loads(await socket.recv())["type"] != "run.ended":
                    pass
            assert (await service.ask(path="/health", method="GET", headers=traced)).status == 200
            assert service.stop() == 0
    doors = [span for span in collector.spans if span.parent_span_id.hex() == "53995c3f42cd8ad8"]
    assert sorted(span.name for span in doors) == ["POST /v1/chat/completions", "run /ws/chat"]
    assert {span.trace_id.hex() for span in collector.spans} == {root}
    calls = [span for span in collector.spans if span.name == f"chat {SHORT}"]
    assert sorted(span.parent_span_id for span in calls) == sorted(span.span_id for span in doors)
    assert CANARY.encode() not in collector.raw


async def test_what_django_answers_is_named_by_its_route(upstream: Upstream, tmp_path: Path) -> None:
    with collecting() as (url, collector):
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": url}
        with running_service(tmp_path, upstream=upstream.url, models=[SHORT], **env) as service:
            for path in (
                f"/api/groups/{CANARY}/usage",
                "/api/usage/",
                f"/{CANARY}",
                "/static/chat/page.js",
                "/v1/models/v1",
            ):
                await service.ask(path=path, method="GET", headers=CALLER)
            await service.ask(path="/runs/runs/events", method="GET", headers=CALLER)
            assert (await service.ask(path="/admin/", method="GET", headers=CALLER)).status == 200  # the sign-in page
            assert service.stop() == 0
    names = {span.name: attributes(span)["http.response.status_code"] for span in collector.spans}
    [usage_of_group] = [name for name in names if name.startswith("GET /api/groups/<")]
    assert names == {
        "GET /api/usage/": 200, usage_of_group: 403, "GET /_OTHER": 404,
        "GET /admin/": 302, "GET /admin/login/": 302, "GET /login/": 200,
        "GET /v1/models/{model_id}": 404, "GET /runs/{run_id}/events": 404,
    }  # fmt: skip
    # Redirects are followed with the same headers.
    assert {span.trace_id.hex() for span in collector.spans} == {TRACE}
    assert CANARY.encode() not in collector.raw


async def test_a_failure_has_its_code(upstream: Upstream, tmp_path: Path) -> None:
    with collecting() as (url, collector):
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": url}
        with running_service(tmp_path, upstream=upstream.url, models=[FAULTY], **env) as service:
            assert (await service.chat(FAULTY)).error
            assert service.stop() == 0
    call = collector.named(f"chat {FAULTY}")
    assert attributes(call)["error.type"].startswith("model_") and call.status.code == 2 and not call.status.message
    assert len([span for span in collector.spans if span.name == "attempt"]) > 1


async def test_nothing_is_sent_of_what_is_not_sampled(upstream: Upstream, tmp_path: Path) -> None:
    with collecting() as (url, collector):
        sampler = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"}
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": url, **sampler}
        with running_service(tmp_path, upstream=upstream.url, models=[SHORT], **env) as service:
            assert (await service.chat(SHORT)).text
            assert service.stop() == 0
    assert collector.spans == []


async def test_a_collector_that_is_away_changes_nothing(upstream: Upstream, tmp_path: Path) -> None:
    env = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
        "OTEL_EXPORTER_OTLP_HEADERS": f"x-key={CANARY}-collector",
    }
    with running_service(tmp_path, upstream=upstream.url, models=[SHORT], **env) as service:
        assert (await service.chat(SHORT)).text
        assert service.stop() == 0
        assert service.log.count("traces_not_sent") <= 1 and CANARY not in service.log


def test_off_nothing_of_it_is_loaded() -> None:
    code = "import amplify_chat.asgi, sys; print([m for m in sys.modules if m.startswith('opentelemetry')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
