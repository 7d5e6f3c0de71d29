"""Every way into the service, read from the routing tables: what the access matrix has to have a row for."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from django.urls import URLPattern, URLResolver, get_resolver


@dataclass(frozen=True, slots=True, order=True)
class Route:
    method: str
    """As in HTTP; `WS` for a socket."""
    pattern: str
    """As the routing table has it, from the root."""


def all_routes() -> set[Route]:
    from amplify_chat.asgi import application

    doors = application.application_mapping
    return {
        *_hot(doors["http"].routes),
        *(Route("WS", str(route.pattern)) for route in doors["websocket"].routes if _is_a_place(route)),
        *_of_django(get_resolver().url_patterns, ""),
    }


def _hot(routes: Iterable[Any]) -> Iterator[Route]:
    for route in routes:
        consumer = getattr(route.callback, "consumer_class", None)
        if consumer is not None:
            yield from (Route(method, str(route.pattern)) for method in consumer.methods)


def _is_a_place(route: Any) -> bool:
    """Not what answers everything else with a refusal."""
    return str(route.pattern) != ""


def _of_django(patterns: Iterable[URLPattern | URLResolver], prefix: str) -> Iterator[Route]:
    for entry in patterns:
        whole = prefix + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from _of_django(entry.url_patterns, whole)
        else:
            yield from (Route(method, whole) for method in _methods(entry.callback))


def _methods(view: Any) -> list[str]:
    """Of the REST API, each that it has; of a page, reading: what its forms do, its own tests say."""
    api = getattr(view, "cls", None)
    if api is None:
        return ["GET"]
    return [name.upper() for name in ("get", "post", "put", "patch", "delete") if hasattr(api, name)] or ["GET"]
