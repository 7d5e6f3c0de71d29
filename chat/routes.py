"""The hot routes: Channels consumers, mounted above Django (docs/architecture.md, section 4)."""

from channels.exceptions import DenyConnection
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import URLRouter
from django.urls import path, re_path

from chat.http import ChatConsumer, RunCancelConsumer, RunEventsConsumer
from chat.openai import CompletionsConsumer, ModelConsumer, ModelsConsumer
from chat.service import ChatService
from chat.websocket import ChatSocket


def http_routes(service: ChatService) -> list[object]:
    return [
        path("chat", ChatConsumer.as_asgi(service=service)),
        path("v1/chat/completions", CompletionsConsumer.as_asgi(service=service)),
        path("v1/models", ModelsConsumer.as_asgi(service=service)),
        path("v1/models/<path:model_id>", ModelConsumer.as_asgi(service=service)),
        path("runs/<str:run_id>/events", RunEventsConsumer.as_asgi(service=service)),
        path("runs/<str:run_id>/cancel", RunCancelConsumer.as_asgi(service=service)),
    ]


def websocket_routes(service: ChatService) -> URLRouter:
    return URLRouter([path("ws/chat", ChatSocket.as_asgi(service=service)), re_path("", _NoSuchSocket.as_asgi())])


class _NoSuchSocket(AsyncWebsocketConsumer):
    async def connect(self) -> None:
        raise DenyConnection
