"""Where models answer: endpoints, read from the environment or from a file in the platform's secret format."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from core.errors import ConfigurationError

OPENAI_URL = "https://api.openai.com/v1"
_AZURE_HOSTS = (".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com")

Api = Literal["chat", "responses", "anthropic", "bedrock", "gemini"]
"""Which vendor's API is spoken at a URL."""


class EndpointsError(ConfigurationError):
    """The endpoints file is not of the format; the message says where and what to write."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One URL that answers, and the key to it."""

    url: str
    """Complete, as it is posted to; for `anthropic`, `bedrock` and `gemini` the base that the path goes behind."""
    key: str = field(default="", repr=False)
    provider: str = "compatible"
    """By whose price list it is billed."""
    api: Api = "chat"
    weight: float = 1.0
    """Its share of the calls, relative to the pool's others."""
    max_concurrent: int | None = None
    """Calls at once; None is no limit."""

    @property
    def name(self) -> str:
        """What may be shown of it: no key, no query."""
        parts = urlsplit(self.url)
        port = f":{parts.port}" if parts.port else ""
        return f"{parts.hostname}{port}{parts.path}"

    @property
    def is_azure(self) -> bool:
        return (urlsplit(self.url).hostname or "").endswith(_AZURE_HOSTS)

    @property
    def headers(self) -> dict[str, str]:
        """Azure takes its key in a header of its own; everybody else takes a bearer token."""
        if not self.key:
            return {}
        if self.is_azure:
            return {"api-key": self.key}
        return {"Authorization": f"Bearer {self.key}"}


def base_endpoint(base_url: str, key: str) -> Endpoint:
    """The endpoint of a server given by its base URL (`OPENAI_BASE_URL`, ending in /v1 as a rule)."""
    provider = "openai" if base_url.rstrip("/") == OPENAI_URL else "compatible"
    return Endpoint(url=f"{base_url.rstrip('/')}/chat/completions", key=key, provider=provider)


def read_endpoints_file(path: Path) -> dict[str, tuple[Endpoint, ...]]:
    """Model id to its endpoints, from `{"models": [{"<id>": {"endpoints": [{"url": …, "key": …}]}}]}`.

    The format is the platform's endpoint secret (llm-providers: endpoint and key configuration). Raises
    EndpointsError; its message never holds a key.
    """
    try:
        content = json.loads(path.read_text())
    except OSError as error:
        raise EndpointsError(f"LLM_ENDPOINTS_FILE: {path} cannot be read ({error.strerror}).") from error
    except ValueError as error:
        raise EndpointsError(f"LLM_ENDPOINTS_FILE: {path} is not JSON.") from error
    models = content.get("models") if isinstance(content, dict) else None
    if not isinstance(models, list):
        raise EndpointsError('LLM_ENDPOINTS_FILE: expected an object {"models": [...]}.')
    pools: dict[str, tuple[Endpoint, ...]] = {}
    for entry in models:
        for model_id, value in _mapping(entry, "models[]").items():
            # The first entry that owns a name wins, as on the platform.
            pools.setdefault(model_id, _endpoints(model_id, value))
    return pools


def _endpoints(model_id: str, value: Any) -> tuple[Endpoint, ...]:
    listed = _mapping(value, model_id).get("endpoints")
    if not isinstance(listed, list) or not listed:
        raise EndpointsError(f'LLM_ENDPOINTS_FILE: {model_id} needs "endpoints": [{{"url": …, "key": …}}].')
    return tuple(_endpoint(model_id, item) for item in listed)


def _endpoint(model_id: str, item: Any) -> Endpoint:
    url, key = (_mapping(item, model_id).get(name) for name in ("url", "key"))
    if not isinstance(url, str) or not url.startswith(("http://", "https://")):
        raise EndpointsError(
            f"LLM_ENDPOINTS_FILE: {model_id} has an endpoint whose url does not start with http(s)://."
        )
    if not isinstance(key, str):
        raise EndpointsError(f"LLM_ENDPOINTS_FILE: {model_id} has an endpoint without a key.")
    openai = url.startswith(OPENAI_URL)
    return Endpoint(url=url, key=key, provider="openai" if openai else "compatible")


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise EndpointsError(f"LLM_ENDPOINTS_FILE: {where} should be an object.")
    return value
