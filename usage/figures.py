"""What this process's model calls have used and how long they took, for Prometheus; named after OpenTelemetry's
conventions (https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-metrics/), whose buckets these are too.

Model ids are those of the catalogue: what callers write never becomes a label.
"""

from functools import cache

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest

from usage.models import UsageRecord

disable_created_metrics()  # type: ignore[no-untyped-call]

_LABELS = ("gen_ai_request_model", "gen_ai_provider_name")
_REGISTRY = CollectorRegistry()
_TOKENS = Counter(
    "gen_ai_client_token_usage",
    "Tokens that were used, each in one class; reasoning is part of the output.",
    (*_LABELS, "gen_ai_token_type"),
    registry=_REGISTRY,
)
_DURATION = Histogram(
    "gen_ai_client_operation_duration_seconds",
    "How long calls took, by how they ended.",
    (*_LABELS, "outcome"),
    buckets=(0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92),
    registry=_REGISTRY,
)
_FIRST_TOKEN = Histogram(
    "gen_ai_server_time_to_first_token_seconds",
    "From the call to the first piece of its answer.",
    _LABELS,
    buckets=(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
    registry=_REGISTRY,
)
_NEXT_TOKEN = Histogram(
    "gen_ai_server_time_per_output_token_seconds",
    "Of each token after the first, in the mean of a call.",
    _LABELS,
    buckets=(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5),
    registry=_REGISTRY,
)
_TYPES = {
    "input": "input_tokens",
    "cache_read": "cache_read_tokens",
    "cache_write": "cache_write_tokens",
    "output": "output_tokens",
    "reasoning": "reasoning_tokens",
}


def observe(record: UsageRecord) -> None:
    """Count a call that has ended."""
    model, provider = record.model_id, record.provider
    for kind, name in _TYPES.items():
        if tokens := getattr(record, name):
            _tokens(model, provider, kind).inc(tokens)
    _duration(model, provider, record.outcome).observe(record.duration_ms / 1000)
    if record.first_token_ms is None:
        return
    _first_token(model, provider).observe(record.first_token_ms / 1000)
    if record.output_tokens > 1:
        rest = max(0, record.duration_ms - record.first_token_ms) / 1000
        _next_token(model, provider).observe(rest / (record.output_tokens - 1))


def text() -> bytes:
    """In Prometheus' text format, version 0.0.4."""
    return generate_latest(_REGISTRY)


# Looking a child up takes longer than what is then done with it.
_tokens = cache(_TOKENS.labels)
_duration = cache(_DURATION.labels)
_first_token = cache(_FIRST_TOKEN.labels)
_next_token = cache(_NEXT_TOKEN.labels)
