"""Where models answer: endpoints, read from the environment or from a file in the platform's secret format."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import SplitResult, urlsplit

from core.errors import ConfigurationError

OPENAI_URL = "https://api.openai.com/v1"
MAX_WEIGHT = 1_000_000
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
    def identity(self) -> str:
        """Tells it from others without showing its key."""
        return hashlib.sha256(f"{self.url}\n{self.key}".encode()).hexdigest()

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


def endpoint_of(url: str, key: str, **more: Any) -> Endpoint:
    """An endpoint whose API and provider are told by its address, unless `more` says otherwise."""
    told = _told_by(urlsplit(url))
    return Endpoint(url=url, key=key, **{"provider": told[0], "api": told[1], **more})


def _told_by(url: SplitResult) -> tuple[str, Api]:
    host = url.hostname or ""
    api: Api = "responses" if url.path.endswith("/responses") else "chat"
    if host.endswith(_AZURE_HOSTS):
        return "azure", api
    for name, provider, native in _VENDOR_HOSTS:
        if name in host:
            return provider, api if native is None or "/openai/" in url.path else native
    return "compatible", api


# Part of the host, provider, and the API that is spoken there unless the path is one of OpenAI's.
_VENDOR_HOSTS: tuple[tuple[str, str, Api | None], ...] = (
    ("api.openai.com", "openai", None),
    ("api.anthropic.com", "anthropic", "anthropic"),
    ("bedrock-runtime", "bedrock", "bedrock"),
    ("generativelanguage.googleapis.com", "gemini", "gemini"),
)


def base_endpoint(base_url: str, key: str) -> Endpoint:
    """The endpoint of a server given by its base URL (`OPENAI_BASE_URL`, ending in /v1 as a rule)."""
    return endpoint_of(f"{base_url.rstrip('/')}/chat/completions", key)


Pools = Mapping[str, tuple[Endpoint, ...]]
"""Model id to its endpoints."""


def read_endpoints_file(path: Path) -> Pools:
    """The pools of a file. Raises EndpointsError; its message never holds a key."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise EndpointsError(f"LLM_ENDPOINTS_FILE: {path} cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError:
        raise EndpointsError(f"LLM_ENDPOINTS_FILE: {path} is not JSON.") from None
    return parse_endpoints(text, f"LLM_ENDPOINTS_FILE: {path}")


def parse_endpoints(text: str, source: str) -> Pools:
    """The pools in `{"models": [{"<id>": {"endpoints": [{"url": …, "key": …}]}}]}`.

    The format is the platform's endpoint secret (llm-providers: endpoint and key configuration); each endpoint may also
    have `weight`, `maxConcurrent`, `api` and `provider`. Raises EndpointsError that begins with `source`.
    """
    try:
        content = json.loads(text)
    except ValueError as error:
        raise EndpointsError(f"{source} is not JSON.") from error
    models = content.get("models") if isinstance(content, dict) else None
    if not isinstance(models, list):
        raise EndpointsError(f'{source}: expected an object {{"models": [...]}}.')
    pools: dict[str, tuple[Endpoint, ...]] = {}
    try:
        for entry in models:
            for model_id, value in _mapping(entry, "models[]").items():
                # The first entry that owns a name wins, as on the platform.
                pools.setdefault(model_id, _endpoints(model_id, value))
    except EndpointsError as error:
        raise EndpointsError(f"{source}: {error}") from None
    return pools


def _endpoints(model_id: str, value: Any) -> tuple[Endpoint, ...]:
    listed = _mapping(value, model_id).get("endpoints")
    if not isinstance(listed, list) or not listed:
        raise EndpointsError(f'{model_id} needs "endpoints": [{{"url": …, "key": …}}].')
    return tuple(_endpoint(model_id, _mapping(item, model_id)) for item in listed)


def _endpoint(model_id: str, item: dict[str, Any]) -> Endpoint:
    url, key, weight, most = (item.get(name) for name in ("url", "key", "weight", "maxConcurrent"))
    if not isinstance(url, str) or not _is_http(url):
        raise EndpointsError(f"{model_id} has an endpoint whose url is not of the form http(s)://host[:port]/path.")
    if not isinstance(key, str):
        raise EndpointsError(f'{model_id} has an endpoint without a key ("" where none is needed).')
    if weight is not None and not (type(weight) in (int, float) and 0 < weight < MAX_WEIGHT):
        raise EndpointsError(f"{model_id} has an endpoint whose weight is not a positive number.")
    if most is not None and not (type(most) is int and most > 0):
        raise EndpointsError(f"{model_id} has an endpoint whose maxConcurrent is not a positive whole number.")
    more = {name: item[name] for name in ("api", "provider") if item.get(name) is not None}
    if more.get("api", "chat") not in get_args(Api):
        raise EndpointsError(f"{model_id} has an endpoint whose api is not one of {', '.join(get_args(Api))}.")
    if not (isinstance(provider := more.get("provider", "compatible"), str) and provider):
        raise EndpointsError(f"{model_id} has an endpoint whose provider is not a name, such as openai or azure.")
    # A key that was copied with its line end would make a header that cannot be sent.
    return endpoint_of(url, key.strip(), weight=float(weight or 1), max_concurrent=most, **more)


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # no host between brackets, no number as port
        return False


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise EndpointsError(f"{where} should be an object.")
    return value
