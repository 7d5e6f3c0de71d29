"""Azure OpenAI: OpenAI's events behind other paths, with the content filter's findings and other error codes.

Sources: learn.microsoft.com/azure/ai-foundry/openai/reference (paths, keys, errors) and
learn.microsoft.com/azure/ai-foundry/openai/concepts/content-filter-annotations (prompt_filter_results).
"""

import re
from typing import Any
from urllib.parse import parse_qs, unquote

import orjson

from bench.upstream.dialects import sse
from bench.upstream.dialects.base import Ask, BadRequestError, Brief, Refusal
from bench.upstream.dialects.openai import (
    ChatEncoder,
    error_body,
    openai_overflow,
    overflow_message,
    parse_chat,
)
from bench.upstream.dialects.responses import Responses
from bench.upstream.http import Request
from bench.upstream.plan import Fault

_DEPLOYMENT = re.compile(r"/openai/deployments/([^/]+)/([a-z/]+)")
_CODES = {401: "401", 404: "DeploymentNotFound", 413: "RequestEntityTooLarge", 429: "429", 503: "ServiceUnavailable"}
_SAFE = {"filtered": False, "severity": "safe"}
_CATEGORIES = dict.fromkeys(("hate", "self_harm", "sexual", "violence"), _SAFE)
_PROMPT_FILTER = [{"prompt_index": 0, "content_filter_results": _CATEGORIES}]


def deployment(path: str) -> tuple[str, str] | None:
    """Name and operation of a path under `/openai/deployments/`."""
    found = _DEPLOYMENT.fullmatch(path.partition("?")[0])
    return (unquote(found[1]), found[2]) if found else None


def model_from_path(request: Request) -> str | None:
    """The deployment, which stands for the model. Raises BadRequestError where a deployment lacks the API's version."""
    found = deployment(request.path)
    if found is None:
        return None
    if not parse_qs(request.path.partition("?")[2]).get("api-version"):
        raise BadRequestError("Resource not found: the query needs an api-version.", status=404)
    return found[0]


def azure_refusal(status: int, message: str) -> Refusal:
    """Azure's gateway has codes of its own; what the model's server refuses is OpenAI's."""
    if status == 400:
        return Refusal(status=status, body=error_body(message, "invalid_request_error", None))
    code = _CODES.get(status, "InternalServerError")
    return Refusal(status=status, body=orjson.dumps({"error": {"code": code, "message": message}}))


class AzureChatEncoder(ChatEncoder):
    """As OpenAI's, after an event without choices that says what the filter thinks of the prompt."""

    __slots__ = ()

    def opening(self) -> bytes:
        findings: dict[str, Any] = {"id": "", "object": "", "created": 0, "model": "", "choices": []}
        return sse.data_event(orjson.dumps(findings | {"prompt_filter_results": _PROMPT_FILTER})) + super().opening()

    def whole(self, text: str, reason: str, tool: tuple[str, str] | None) -> bytes:
        answer = orjson.loads(super().whole(text, reason, tool))
        answer["choices"][0]["content_filter_results"] = _CATEGORIES
        return orjson.dumps(answer | {"prompt_filter_results": _PROMPT_FILTER})


class AzureChat:
    """`POST /openai/deployments/<name>/chat/completions?api-version=…` and `POST /openai/v1/chat/completions`.

    Key: `api-key`, or a bearer token.
    """

    special_faults: frozenset[Fault] = frozenset()

    def accepts(self, method: str, path: str) -> bool:
        found = deployment(path)
        ours = path == "/openai/v1/chat/completions" or (found is not None and found[1] == "chat/completions")
        return method == "POST" and ours

    def parse(self, request: Request) -> Ask:
        return parse_chat(request, model=model_from_path(request))

    def encoder(self, brief: Brief) -> AzureChatEncoder:
        return AzureChatEncoder(brief)

    def refusal(self, status: int, message: str, *, retry_after: int | None = None) -> Refusal:
        return azure_refusal(status, message)

    def overflow(self, asked: int) -> Refusal:
        return openai_overflow(overflow_message(asked), "messages")


class AzureResponses(Responses):
    """`POST /openai/v1/responses`. Key: `api-key`, or a bearer token."""

    path = "/openai/v1/responses"

    def refusal(self, status: int, message: str, *, retry_after: int | None = None) -> Refusal:
        return azure_refusal(status, message)
