"""Spans for what Django answers: the REST API, billing, the admin, the pages. The hot routes make their own."""

from django.conf import settings
from django.urls import Resolver404, resolve

from accounts.api.asgi import Application, Message, Receive, Scope, Send
from core import tracing

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_FAILED = 500


class TracedDjango:
    """One span a request while traces are on, named by its route: never by the path, which holds ids and names."""

    def __init__(self, application: Application) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not tracing.is_on() or scope["path"].startswith(settings.STATIC_URL):
            return await self._application(scope, receive, send)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        method = scope["method"] if scope["method"] in _METHODS else "_OTHER"
        route = _route_of(scope["path"])
        span = tracing.start(
            f"{method} {route}",
            {"http.request.method": method, "http.route": route},
            kind="server",
            headers=headers,
        )

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                span.set({"http.response.status_code": message["status"]})
                if message["status"] >= _FAILED:
                    span.fail(str(message["status"]))
            await send(message)
            # What Django has yet to do then, in its threads, is no longer the answer, and nobody waits for it.
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                span.end()

        try:
            with span.current():
                await self._application(scope, receive, noting)
        except Exception as error:
            span.fail(tracing.code_of(error))
            raise
        finally:
            span.end()
        return None


def _route_of(path: str) -> str:
    try:
        # The API takes its addresses without the slash at their end too.
        return "/" + resolve(path if path.endswith("/") else f"{path}/").route
    except Resolver404:
        return "/_OTHER"
