"""The ASGI application: hot routes first, then Django."""

import os
from functools import partial

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "amplify_chat.settings")

import django

django.setup()

from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.conf import settings  # noqa: E402
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler  # noqa: E402
from django.core.asgi import get_asgi_application  # noqa: E402
from django.urls import path, re_path  # noqa: E402

from accounts.api.asgi import ApiDoor  # noqa: E402
from amplify_chat.health import Health, Live, Ready  # noqa: E402
from amplify_chat.metrics import Metrics  # noqa: E402
from amplify_chat.traced_django import TracedDjango  # noqa: E402
from amplify_chat.wiring import Wiring  # noqa: E402
from chat.routes import http_routes, websocket_routes  # noqa: E402

wiring = Wiring(settings.ENV)
service = wiring.service
django_application = get_asgi_application()
api = ApiDoor(
    django=django_application,  # type: ignore[arg-type]
    identify=partial(service.authenticator.by_headers, scope=None),  # policies ask for the scopes
    allowed_origins=service.allowed_origins,
    body_seconds=service.limits.body_seconds,
)

application = ProtocolTypeRouter(
    {
        "http": URLRouter(
            [
                *http_routes(service),
                path("health", Health.as_asgi(service=service)),
                path("ready", Ready.as_asgi(service=service)),
                path("readyz", Ready.as_asgi(service=service)),
                path("livez", Live.as_asgi(service=service)),
                path("metrics", Metrics.as_asgi(service=service, token=settings.ENV.metrics_token)),
                re_path(r"^(?:api|billing)(?:/|$)", TracedDjango(api)),  # type: ignore[arg-type]
                re_path("", TracedDjango(ASGIStaticFilesHandler(django_application))),  # type: ignore[arg-type]
            ]
        ),
        "websocket": websocket_routes(service),
    }
)
