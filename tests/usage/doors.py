"""Ask a view of ours in the test's own transaction, as the door would hand the request to it."""

import json
from dataclasses import dataclass
from typing import Any

from django.http import HttpResponse
from django.test import RequestFactory
from django.urls import resolve

from accounts.principal import Principal
from core.errors import AmplifyError


@dataclass(frozen=True)
class Reply:
    status: int
    json: Any


def ask(
    caller: Principal | AmplifyError, method: str, path: str, body: Any = None, *, raw: bytes | None = None
) -> Reply:
    content = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
    request = RequestFactory().generic(method, path, content, content_type="application/json")
    request.scope = {"caller": caller, "request_id": "req-test"}  # type: ignore[attr-defined]
    found = resolve(request.path_info)
    response: HttpResponse = found.func(request, *found.args, **found.kwargs)
    if hasattr(response, "render"):
        response.render()
    return Reply(response.status_code, json.loads(response.content))
