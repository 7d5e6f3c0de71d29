"""What our REST APIs have in common, whichever app they belong to: bodies, errors in one shape, pages, pace.

Built on Django REST framework. `settings.REST_FRAMEWORK` names `answer_error`; the rest is `JsonView`'s.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import orjson
import structlog
from django.core.exceptions import PermissionDenied
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from rest_framework import exceptions, negotiation, pagination, parsers, serializers, throttling, views
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request

from core import errors
from core.errors import AmplifyError

log = structlog.get_logger(__name__)

# A message names so many fields at most; `fields` has them all.
_NAMED_FIELDS = 3


class JsonParser(parsers.BaseParser):
    """Strict JSON: no NaN, no half characters, and no nesting that would exhaust Python's stack."""

    media_type = "application/json"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        try:
            return orjson.loads(stream.read())
        except orjson.JSONDecodeError as error:
            raise errors.BadRequest("The body is not valid JSON. Check its quotes, commas and encoding.") from error


class AlwaysJson(negotiation.DefaultContentNegotiation):
    """There is one form of answer, so nobody's `Accept` is refused."""

    def select_renderer(
        self, request: Request, renderers: Any, format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        return renderers[0], renderers[0].media_type


class StrictSerializer(serializers.Serializer[Any]):
    """A body in which a field that does not exist is an error: a misspelt limit must not count as none."""

    def to_internal_value(self, data: Any) -> Any:
        unknown = sorted(str(name) for name in data if name not in self.fields) if isinstance(data, Mapping) else []
        if unknown:
            known = ", ".join(self.fields)
            raise serializers.ValidationError(
                {name[:100]: f"There is no such field. There are {known}." for name in unknown}
            )
        return super().to_internal_value(data)


class Pages(pagination.LimitOffsetPagination):
    """`?limit=` and `?offset=`: our lists come whole from their stores, so skipping costs nothing."""

    default_limit = 100
    max_limit = 500


class PerPrincipal(throttling.SimpleRateThrottle):
    """So many requests a minute for whoever is asking, with whatever key.

    Counted in the memory of each process, approximately: it is there against programs that run wild, and n processes
    let through n times as much.
    """

    scope = "principal"

    def get_cache_key(self, request: Request, view: views.APIView) -> str | None:
        user_id = getattr(request.user, "user_id", None)
        if user_id is None:
            return None
        # A user id may be longer than a cache's key, and of other characters.
        return f"pace-{hashlib.sha256(user_id.encode()).hexdigest()}"


class JsonView(views.APIView):
    """The base of our views: JSON in and out, for whom the door has let in. Subclasses say how they are known."""

    parser_classes = (JsonParser,)
    renderer_classes = (JSONRenderer,)
    content_negotiation_class = AlwaysJson
    permission_classes = ()  # policies decide, in the actions
    throttle_classes = (PerPrincipal,)

    def initialize_request(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Request:
        if "CONTENT_LENGTH" not in request.META:  # a chunked body, which REST framework would take for none
            request.META["CONTENT_LENGTH"] = str(len(request.body))
        return super().initialize_request(request, *args, **kwargs)


def answer_error(error: Exception, context: Mapping[str, Any]) -> HttpResponse:
    """REST framework's exception handler: every error as our one JSON object, whatever its view renders else."""
    views.set_rollback()
    ours = as_ours(error)
    if ours is None:
        log.exception("request_crashed", request=request_id_of(context["request"]), path=context["request"].path)
        ours = AmplifyError()
    body = ours.body(request_id_of(context["request"]))
    if isinstance(error, exceptions.ValidationError):
        body["fields"] = fields_of(error)
    return HttpResponse(
        orjson.dumps(body), content_type="application/json", status=ours.status, headers=dict(ours.answer_headers())
    )


def as_ours(error: Exception) -> AmplifyError | None:
    """The error that clients are told of; None for one that nobody foresaw."""
    match error:
        case AmplifyError():
            return error
        case exceptions.ValidationError():
            return errors.BadRequest(_sentence(fields_of(error)))
        case exceptions.Throttled():
            return errors.TooManyRequests(retry_after=getattr(error, "wait", None) or 1.0)
        case OperationalError() | InterfaceError():
            log.warning("database_failed", reason=type(error).__name__)
            return errors.Unavailable()
    return next((make() for kind, make in _OURS.items() if isinstance(error, kind)), None)


_OURS: Mapping[type[Exception], Callable[[], AmplifyError]] = {
    exceptions.ParseError: lambda: errors.BadRequest("The body cannot be read. Send one JSON object."),
    exceptions.UnsupportedMediaType: errors.UnsupportedMediaType,
    exceptions.MethodNotAllowed: lambda: errors.MethodNotAllowed("This address has no such method. See /api/docs/."),
    exceptions.NotFound: errors.NotFound,
    Http404: errors.NotFound,
    exceptions.NotAuthenticated: errors.Unauthorized,
    exceptions.AuthenticationFailed: errors.Unauthorized,
    exceptions.PermissionDenied: errors.Forbidden,
    PermissionDenied: errors.Forbidden,
}


def fields_of(error: exceptions.ValidationError) -> dict[str, str]:
    """What is wrong, by the field's path: `{"limit.period": "…"}`; the whole body is called `body`."""
    return dict(_flat("", error.detail))


def _flat(path: str, detail: Any) -> Iterator[tuple[str, str]]:
    if isinstance(detail, Mapping):
        for name, inner in detail.items():
            below = path if name == "non_field_errors" else f"{path}.{name}".lstrip(".")
            yield from _flat(below, inner)
    elif isinstance(detail, list) and any(isinstance(inner, Mapping | list) for inner in detail):
        for place, inner in enumerate(detail):
            yield from _flat(f"{path}.{place}".lstrip("."), inner)
    elif detail:
        yield path or "body", " ".join(map(str, detail)) if isinstance(detail, list) else str(detail)


def _sentence(fields: Mapping[str, str]) -> str:
    named = [f"{path}: {problem}" for path, problem in list(fields.items())[:_NAMED_FIELDS]]
    more = len(fields) - len(named)
    return " ".join([*named, f"And {more} more, see `fields`."] if more > 0 else named) or "Invalid request body."


def request_id_of(request: Any) -> str:
    """The id that the door gave to the request (`accounts.api.asgi`); empty where there is no door."""
    scope = getattr(request, "scope", None) or getattr(getattr(request, "_request", None), "scope", {})
    return str(scope.get("request_id", ""))
