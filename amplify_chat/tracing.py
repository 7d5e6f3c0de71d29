"""OpenTelemetry's SDK behind `core.tracing`: spans go to OTEL_EXPORTER_OTLP_ENDPOINT in the background.

Imported only when that is set. The SDK reads the standard OTEL_* variables itself (docs/configuration.md).
"""

import asyncio
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from typing import Any

import structlog
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.propagate import extract
from opentelemetry.propagators.textmap import Getter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from core.tracing import Kind, Value

log = structlog.get_logger(__name__)

CLOSE_SECONDS = 3.0
"""What a shutdown waits at most for the last spans to leave."""
QUIET_SECONDS = 600.0
"""Between two lines about a collector that takes nothing."""
_KINDS = {"server": trace.SpanKind.SERVER, "client": trace.SpanKind.CLIENT, "internal": trace.SpanKind.INTERNAL}


class Tracing:
    """Makes spans and sends them; what `core.tracing.use` takes."""

    def __init__(self, exporter: SpanExporter | None = None) -> None:
        # Its lines repeat addresses and what the other side said; ours says that it fails.
        library = logging.getLogger("opentelemetry")
        library.propagate, library.disabled = False, True
        library.setLevel(logging.CRITICAL + 1)
        self._provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(_Quiet(exporter or OTLPSpanExporter())))
        self._tracer = self._provider.get_tracer("amplify_chat")

    def start(
        self, name: str, attributes: Mapping[str, Value], kind: Kind, headers: Mapping[str, str] | None
    ) -> trace.Span:
        parent = None if headers is None else extract(headers, getter=_Headers())
        return self._tracer.start_span(name, parent, _KINDS[kind], attributes)

    def current(self, span: trace.Span) -> AbstractContextManager[Any]:
        # An exception's text may hold anything: `fail` says what there is to say.
        return trace.use_span(span, record_exception=False, set_status_on_exception=False)

    def fail(self, span: trace.Span, code: str) -> None:
        span.set_attribute("error.type", code)
        span.set_status(trace.Status(trace.StatusCode.ERROR))

    def trace_id(self) -> str:
        context = trace.get_current_span().get_span_context()
        return trace.format_trace_id(context.trace_id) if context.is_valid else ""

    async def aclose(self) -> None:
        """Send what is left, for CLOSE_SECONDS at most; a thread that hangs is left behind and holds up no exit."""
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def shut_down() -> None:
            self._provider.shutdown()
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(done.set)

        threading.Thread(target=shut_down, daemon=True, name="traces-close").start()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await done.wait()


class _Headers(Getter[Mapping[str, str]]):
    """ASGI's headers have small letters, and propagators ask for theirs as their authors wrote them."""

    def get(self, carrier: Mapping[str, str], key: str) -> list[str] | None:
        value = carrier.get(key.lower())
        return None if value is None else [value]

    def keys(self, carrier: Mapping[str, str]) -> list[str]:
        return list(carrier)


class _Quiet(SpanExporter):
    """An exporter whose failures are told once in a while, without its addresses and headers, which hold keys."""

    def __init__(self, inner: SpanExporter) -> None:
        self._inner = inner
        self._told: float | None = None

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        try:
            result = self._inner.export(spans)
        except Exception:  # noqa: BLE001 - a collector's trouble is nobody else's
            result = SpanExportResult.FAILURE
        if result is not SpanExportResult.SUCCESS:
            self._tell()
        return result

    def _tell(self) -> None:
        now = time.monotonic()
        if self._told is None or now - self._told > QUIET_SECONDS:
            self._told = now
            log.warning("traces_not_sent", hint="Nothing takes spans at OTEL_EXPORTER_OTLP_ENDPOINT.")

    def shutdown(self) -> None:
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._inner.force_flush(timeout_millis)


def _resource() -> Resource:
    """As OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say; the image sets `service.version` in the latter."""
    given = Resource.create()
    if str(given.attributes["service.name"]).startswith("unknown_service"):
        return given.merge(Resource({"service.name": "amplify-chat"}))
    return given
