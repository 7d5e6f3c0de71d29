"""The spans of the real service, as a collector receives them."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from bench.upstream.testing import Upstream
from tests.e2e.conftest import SHORT
from tests.harness import CANARY, running_service

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
        begun = time.monotonic()
        assert service.stop() == 0
        assert time.monotonic() - begun < 15
        assert service.log.count("traces_not_sent") <= 1 and CANARY not in service.log


def test_off_nothing_of_it_is_loaded() -> None:
    import subprocess

    code = "import amplify_chat.asgi, sys; print([m for m in sys.modules if m.startswith('opentelemetry')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
