"""Structured logs: one JSON object a line, or aligned columns on a terminal. Never prompts, answers, keys or tokens."""

import logging
import sys
from collections.abc import Callable
from typing import Any

import orjson
import structlog

from core import tracing


def configure_logs(level: str = "INFO", *, json: bool | None = None) -> None:
    """Route structlog to stderr at `level` (a `logging` level name); JSON unless stderr is a terminal."""
    as_json = not sys.stderr.isatty() if json is None else json
    renderer: structlog.typing.Processor = structlog.dev.ConsoleRenderer()
    factory: Callable[..., structlog.typing.WrappedLogger] = structlog.PrintLoggerFactory(sys.stderr)
    if as_json:
        renderer = structlog.processors.JSONRenderer(serializer=_json)
        factory = structlog.BytesLoggerFactory(sys.stderr.buffer)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            _add_trace_id,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=factory,
        cache_logger_on_first_use=True,
    )


def _add_trace_id(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    if trace_id := tracing.trace_id():
        event["trace_id"] = trace_id
    return event


def _json(event: Any, **_: Any) -> bytes:
    return orjson.dumps(event, default=str)
