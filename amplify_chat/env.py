"""The environment: every variable that the service reads, with its meaning, its default and its check.

The only module that reads `os.environ`. Described for operators in docs/configuration.md.
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from core.errors import ConfigurationError

T = TypeVar("T")

BASE_DIR = Path(__file__).resolve().parent.parent


class EnvError(ConfigurationError):
    """A variable has a value that cannot be; the message names it and says what is expected."""


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < 10**6:
        raise ValueError
    return value


def _port(text: str) -> int:
    value = int(text)
    if not 0 <= value < 65536:  # noqa: PLR2004
        raise ValueError
    return value


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError
    return value


def _zone(text: str) -> str:
    try:
        return ZoneInfo(text).key
    except ZoneInfoNotFoundError as error:
        raise ValueError from error


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise ValueError
    return value


def _part_of_a_day(text: str) -> int:
    value = int(text)
    if value < 0 or (value and 24 % value):
        raise ValueError
    return value


def _on_off(text: str) -> bool:
    return {"on": True, "off": False, "true": True, "false": False, "1": True, "0": False}[text.lower()]


def _list(text: str) -> tuple[str, ...]:
    return tuple(item.strip() for item in text.split(",") if item.strip())


def _form(text: str) -> str:
    return {"seed": "seed", "answer": "answer"}[text]


def _level(text: str) -> str:
    return {level: level for level in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")}[text.upper()]


def _url(text: str) -> str:
    if not text.startswith(("http://", "https://")):
        raise ValueError
    return text.rstrip("/")


def _issuer(text: str) -> str:
    """To the letter: an issuer is a name, and a slash at its end is part of it."""
    _url(text)
    return text


def _algorithm(text: str) -> str:
    return {"RS256": "RS256", "ES256": "ES256"}[text]


def _database_url(text: str) -> str:
    if not text.startswith(("sqlite:///", "postgres://", "postgresql://")):
        raise ValueError
    return text


def _redis_url(text: str) -> str:
    url = urlsplit(text)
    # Reading the port checks it.
    if url.scheme not in ("redis", "rediss") or not url.hostname or url.port == 0:
        raise ValueError
    return text


def _backend(text: str) -> str:
    return {"database": "database", "dynamodb": "dynamodb"}[text]


def _pool_id(text: str) -> str:
    if not re.fullmatch(r"[a-z]{2}(-[a-z]+)+-\d+_[A-Za-z0-9]+", text):
        raise ValueError
    return text


def _var(
    name: str, default: Any, parse: Callable[[str], Any], expected: str, *, secret: bool = False, also: str = ""
) -> Any:
    """A field that is read from the variable `name`, or from `also`, its other spelling."""
    described = {"name": name, "parse": parse, "expected": expected, "also": also}
    return field(default=default, metadata=described, repr=not secret)


@dataclass(frozen=True, slots=True, kw_only=True)
class Env:
    host: str = _var("HOST", "127.0.0.1", str, "an address to listen on")
    port: int = _var("PORT", 8080, _port, "a port number")
    database_url: str = _var(
        "DATABASE_URL",
        f"sqlite:///{BASE_DIR}/var/amplify.sqlite3",
        _database_url,
        "sqlite:///<path> or postgres://user:password@host/database",
        secret=True,
    )
    redis_url: str = _var(
        "REDIS_URL",
        "",
        _redis_url,
        "redis://[user:password@]host:6379/0, or rediss:// with TLS",
        secret=True,
    )
    secret_key: str = _var("SECRET_KEY", "", str, "a long random text", secret=True)
    allowed_origins: tuple[str, ...] = _var("ALLOWED_ORIGINS", ("*",), _list, "origins, separated by commas, or *")
    allowed_hosts: tuple[str, ...] = _var("ALLOWED_HOSTS", ("*",), _list, "host names, separated by commas, or *")
    debug: bool = _var("DEBUG", False, _on_off, "on or off")
    metrics_token: str = _var("METRICS_TOKEN", "", str, "a long random text", secret=True)
    service_name: str = _var("SERVICE_NAME", "", str, "the name of the ECS service")
    otlp_endpoint: str = _var("OTEL_EXPORTER_OTLP_ENDPOINT", "", _url, "an http(s) URL")
    log_level: str = _var("LOG_LEVEL", "INFO", _level, "DEBUG, INFO, WARNING, ERROR or CRITICAL")

    state_backend: str = _var("STATE_BACKEND", "database", _backend, "database or dynamodb")
    api_keys_table: str = _var("API_KEYS_DYNAMODB_TABLE", "", str, "a table's name")
    groups_table: str = _var("ASSISTANT_GROUPS_DYNAMO_TABLE", "", str, "a table's name", also="GROUPS_DYNAMO_TABLE")
    users_table: str = _var("COGNITO_USERS_DYNAMODB_TABLE", "", str, "a table's name")
    accounts_table: str = _var("ACCOUNTS_DYNAMO_TABLE", "", str, "a table's name")
    admin_table: str = _var("AMPLIFY_ADMIN_DYNAMODB_TABLE", "", str, "a table's name", also="ADMIN_DYNAMODB_TABLE")
    model_rates_table: str = _var("MODEL_RATE_TABLE", "", str, "a table's name")
    chat_usage_table: str = _var("CHAT_USAGE_DYNAMO_TABLE", "", str, "a table's name")
    costs_table: str = _var("COST_CALCULATIONS_DYNAMO_TABLE", "", str, "a table's name")
    cost_history_table: str = _var("HISTORY_COST_CALCULATIONS_DYNAMO_TABLE", "", str, "a table's name")
    roll_platform_costs: bool = _var("ROLL_PLATFORM_COSTS", False, _on_off, "on or off")
    import_platform_usage_hours: int = _var(
        "IMPORT_PLATFORM_USAGE_HOURS", 0, _part_of_a_day, "1, 2, 3, 4, 6, 8, 12 or 24, or 0 for never"
    )
    api_base_url: str = _var("API_BASE_URL", "", _url, "an http(s) URL")
    aws_endpoint_url: str = _var("AWS_ENDPOINT_URL", "", _url, "an http(s) URL")

    cognito_pool_id: str = _var("COGNITO_USER_POOL_ID", "", _pool_id, "a user pool's id, like us-east-1_AbCdEfGhI")
    cognito_client_id: str = _var("COGNITO_CLIENT_ID", "", str, "an app client's id")
    idp_prefix: str = _var("IDP_PREFIX", "", str, "the prefix of user names, without its underscore")
    oidc_issuer: str = _var("OIDC_ISSUER", "", _issuer, "an issuer's URL")
    oidc_audience: str = _var("OIDC_AUDIENCE", "", str, "the audience of access tokens")
    oidc_algorithm: Literal["RS256", "ES256"] = _var("OIDC_ALGORITHM", "RS256", _algorithm, "RS256 or ES256")
    oidc_user_claim: str = _var("OIDC_USER_CLAIM", "sub", str, "a claim's name")
    oidc_groups_claim: str = _var("OIDC_GROUPS_CLAIM", "", str, "a claim's name")
    oidc_client_id: str = _var("OIDC_CLIENT_ID", "", str, "the client's id")
    oidc_client_secret: str = _var("OIDC_CLIENT_SECRET", "", str, "the client's secret", secret=True)
    oidc_scopes: str = _var("OIDC_SCOPES", "openid email profile", str, "scopes, separated by spaces")
    staff_groups: tuple[str, ...] = _var("STAFF_GROUPS", (), _list, "groups of the sign-in service, by commas")
    admin_groups: tuple[str, ...] = _var("ADMIN_GROUPS", (), _list, "groups of the sign-in service, by commas")
    local_login: bool = _var("LOCAL_LOGIN", True, _on_off, "on or off")

    embedded_model: bool = _var("EMBEDDED_MODEL", True, _on_off, "on or off")
    openai_api_key: str = _var("OPENAI_API_KEY", "", str, "a key", secret=True)
    openai_base_url: str = _var("OPENAI_BASE_URL", "", _url, "an http(s) URL that ends in /v1 as a rule")
    openai_models: tuple[str, ...] = _var("OPENAI_MODELS", (), _list, "model ids, separated by commas")
    llm_endpoints_file: str = _var("LLM_ENDPOINTS_FILE", "", str, "the path of a JSON file")
    llm_endpoints_secret: str = _var("LLM_ENDPOINTS_SECRETS_NAME", "", str, "the name or ARN of a secret")
    llm_endpoints_secret_arn: str = _var("LLM_ENDPOINTS_SECRETS_NAME_ARN", "", str, "the ARN of a secret")
    app_secrets: str = _var("SECRETS_ARN_NAME", "", str, "the name or ARN of a secret")
    azure_tenant_id: str = _var("AZURE_TENANT_ID", "", str, "a directory's id")
    azure_client_id: str = _var("AZURE_CLIENT_ID", "", str, "an application's id")
    azure_client_secret: str = _var("AZURE_CLIENT_SECRET", "", str, "an application's secret", secret=True)
    anthropic_api_key: str = _var("ANTHROPIC_API_KEY", "", str, "a key", secret=True)
    anthropic_base_url: str = _var("ANTHROPIC_BASE_URL", "https://api.anthropic.com", _url, "an http(s) URL")
    anthropic_models: tuple[str, ...] = _var("ANTHROPIC_MODELS", (), _list, "model ids, separated by commas")
    gemini_api_key: str = _var("GEMINI_API_KEY", "", str, "a key", secret=True)
    gemini_base_url: str = _var(
        "GEMINI_BASE_URL", "https://generativelanguage.googleapis.com/v1beta", _url, "an http(s) URL"
    )
    gemini_models: tuple[str, ...] = _var("GEMINI_MODELS", (), _list, "model ids, separated by commas")
    bedrock_models: tuple[str, ...] = _var("BEDROCK_MODELS", (), _list, "model ids, separated by commas")
    bedrock_base_url: str = _var("BEDROCK_BASE_URL", "", _url, "an http(s) URL")
    bedrock_api_key: str = _var("AWS_BEARER_TOKEN_BEDROCK", "", str, "a Bedrock API key", secret=True)
    bedrock_guardrail_id: str = _var("BEDROCK_GUARDRAIL_ID", "", str, "a guardrail's id or ARN")
    bedrock_guardrail_version: str = _var("BEDROCK_GUARDRAIL_VERSION", "", str, "a number or DRAFT")
    aws_region: str = _var("AWS_REGION", "us-east-1", str, "an AWS region")
    upstream_connect_seconds: float = _var("UPSTREAM_CONNECT_SECONDS", 5.0, _seconds, "a number of seconds")
    upstream_first_byte_seconds: float = _var("UPSTREAM_FIRST_BYTE_SECONDS", 60.0, _seconds, "a number of seconds")
    upstream_gap_seconds: float = _var("UPSTREAM_GAP_SECONDS", 60.0, _seconds, "a number of seconds")

    stream_format: str = _var("STREAM_FORMAT", "seed", _form, "seed or answer")
    user_requests_per_minute: int = _var("USER_REQUESTS_PER_MINUTE", 0, _count, "a whole number, 0 for no limit")
    user_tokens_per_minute: int = _var("USER_TOKENS_PER_MINUTE", 0, _count, "a whole number, 0 for no limit")
    user_concurrent_runs: int = _var("USER_CONCURRENT_RUNS", 0, _count, "a whole number, 0 for no limit")
    key_requests_per_minute: int = _var("KEY_REQUESTS_PER_MINUTE", 0, _count, "a whole number, 0 for no limit")
    key_tokens_per_minute: int = _var("KEY_TOKENS_PER_MINUTE", 0, _count, "a whole number, 0 for no limit")
    key_concurrent_runs: int = _var("KEY_CONCURRENT_RUNS", 0, _count, "a whole number, 0 for no limit")
    display_time_zone: str = _var("DISPLAY_TIME_ZONE", "UTC", _zone, "a time zone's name, like America/Chicago")
    journal_dir: str = _var("JOURNAL_DIR", f"{BASE_DIR}/var/journal", str, "the path of a directory")
    reservation_seconds: float = _var("RESERVATION_SECONDS", 120.0, _seconds, "a number of seconds")

    heartbeat_seconds: float = _var("HEARTBEAT_SECONDS", 15.0, _seconds, "a number of seconds")
    run_deadline_seconds: float = _var("RUN_DEADLINE_SECONDS", 840.0, _seconds, "a number of seconds")
    run_grace_seconds: float = _var("RUN_GRACE_SECONDS", 30.0, _seconds, "a number of seconds")
    run_keep_seconds: float = _var("RUN_KEEP_SECONDS", 60.0, _seconds, "a number of seconds")
    body_max_mb: int = _var("BODY_MAX_MB", 50, _positive, "a whole number of megabytes")
    body_seconds: float = _var("BODY_SECONDS", 60.0, _seconds, "a number of seconds")
    websocket_max_mb: int = _var("WEBSOCKET_MAX_MB", 4, _positive, "a whole number of megabytes")
    keep_alive_seconds: float = _var("KEEP_ALIVE_SECONDS", 150.0, _seconds, "a number of seconds")
    drain_seconds: float = _var("DRAIN_SECONDS", 110.0, _seconds, "a number of seconds")


def variables() -> dict[str, str]:
    """Every variable's name and what it expects; docs/configuration.md is tested against it."""
    return {item.metadata["name"]: item.metadata["expected"] for item in fields(Env)}


def read_env(environ: Mapping[str, str] | None = None) -> Env:
    """Read and check the environment. An empty variable counts as unset. Raises EnvError."""
    given = os.environ if environ is None else environ
    values = {}
    for item in fields(Env):
        for name in (item.metadata["name"], item.metadata["also"]):
            if text := given.get(name, "").strip():
                values[item.name] = _parsed(name, text, item.metadata["parse"], item.metadata["expected"])
                break
    return Env(**values)


def _parsed(name: str, text: str, parse: Callable[[str], T], expected: str) -> T:
    try:
        return parse(text)
    except (ValueError, KeyError):
        # The value is not repeated: it may be a secret in the wrong place.
        raise EnvError(f"{name} should be {expected}.") from None


def set_default(name: str, value: str) -> None:
    """Set a variable for this process unless it is set; for what starts the service with defaults of its own."""
    os.environ.setdefault(name, value)
