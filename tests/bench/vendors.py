"""How each vendor is asked, and by which reader it is understood. Bedrock is signed for by botocore's signer."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import orjson
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.bench import readers
from tests.bench.readers import Event, Heard, aws, sse

KEY = "sk-canary-0123456789abcdef"


@dataclass(frozen=True)
class Vendor:
    path: Callable[[str, bool], str]  # of a model, streamed or not
    body: Callable[[str, bool, list[Any]], dict[str, Any]]  # with the tool messages that follow the question
    key_headers: dict[str, str]
    decode: Callable[[bytes], list[Event]]
    hear: Callable[[Heard, str, Any], None]  # one event
    whole: Callable[[Heard, Any], None]
    reasons: dict[str, str]  # of OpenAI's reasons, the vendor's
    tool_result: list[Any]
    content_type: str = "text/event-stream"

    def listen(self, data: bytes) -> Heard:
        heard = Heard()
        for name, event in self.decode(data):
            self.hear(heard, name, event)
        return heard

    def read(self, data: bytes) -> Heard:
        """A whole answer."""
        heard = Heard(ended=True)
        self.whole(heard, orjson.loads(data))
        return heard

    def headers(self, url: str, body: bytes) -> dict[str, str]:
        return self.key_headers or signed(url, body)


def signed(url: str, body: bytes, *, service: str = "bedrock", key: str = KEY) -> dict[str, str]:
    request = AWSRequest(method="POST", url=url, data=body)
    SigV4Auth(Credentials(key, "secret"), service, "us-east-1").add_auth(request)
    return dict(request.headers)


def _chat_body(model: str, stream: bool, more: list[Any]) -> dict[str, Any]:
    tools = [{"type": "function", "function": {"name": "weather"}}]
    messages = [{"role": "user", "content": "say it again"}, *more]
    options = {"stream_options": {"include_usage": True}} if stream else {}
    return {"model": model, "stream": stream, "messages": messages, "tools": tools} | options


def _responses_body(model: str, stream: bool, more: list[Any]) -> dict[str, Any]:
    tools = [{"type": "function", "name": "weather", "parameters": {}}]
    said = [{"role": "user", "content": [{"type": "input_text", "text": "say it again"}]}, *more]
    return {"model": model, "stream": stream, "input": said, "tools": tools}


def _gemini_body(_model: str, _stream: bool, more: list[Any]) -> dict[str, Any]:
    contents = [{"role": "user", "parts": [{"text": "say it again"}]}, *more]
    return {"contents": contents, "tools": [{"functionDeclarations": [{"name": "weather"}]}]}


def _bedrock_body(_model: str, _stream: bool, more: list[Any]) -> dict[str, Any]:
    messages = [{"role": "user", "content": [{"text": "say it again"}]}, *more]
    return {"messages": messages, "toolConfig": {"tools": [{"toolSpec": {"name": "weather"}}]}}


def _anthropic_body(model: str, stream: bool, more: list[Any]) -> dict[str, Any]:
    messages = [{"role": "user", "content": "say it again"}, *more]
    body = {"model": model, "stream": stream, "max_tokens": 99, "messages": messages}
    return body | {"tools": [{"name": "weather", "input_schema": {}}]}


_CHAT: dict[str, Any] = {
    "body": _chat_body,
    "decode": sse,
    "hear": readers.chat,
    "whole": readers.chat_whole,
    "reasons": {name: name for name in ("stop", "length", "content_filter", "tool_calls")},
    "tool_result": [{"role": "tool", "tool_call_id": "call_mock", "content": "42"}],
}

_RESPONSES: dict[str, Any] = {
    "body": _responses_body,
    "decode": readers.responses_sse,
    "hear": readers.responses,
    "whole": readers.responses_whole,
    "reasons": {
        "stop": "completed",
        "length": "max_output_tokens",
        "content_filter": "content_filter",
        "tool_calls": "completed",
    },
    "tool_result": [{"type": "function_call_output", "call_id": "call_mock", "output": "42"}],
}

_BEARER = {"authorization": f"Bearer {KEY}"}
_AZURE = {"api-key": KEY}

VENDORS: dict[str, Vendor] = {
    "openai": Vendor(path=lambda _model, _stream: "/v1/chat/completions", key_headers=_BEARER, **_CHAT),
    "responses": Vendor(path=lambda _model, _stream: "/v1/responses", key_headers=_BEARER, **_RESPONSES),
    "azure": Vendor(
        path=lambda _model, _stream: "/openai/deployments/gpt/chat/completions?api-version=2024-10-21",
        key_headers=_AZURE,
        **_CHAT,
    ),
    "azure-v1": Vendor(path=lambda _model, _stream: "/openai/v1/chat/completions", key_headers=_AZURE, **_CHAT),
    "azure-responses": Vendor(path=lambda _model, _stream: "/openai/v1/responses", key_headers=_AZURE, **_RESPONSES),
    "gemini": Vendor(
        path=lambda model, stream: (
            f"/v1beta/models/{quote(model, safe='')}"
            + (":streamGenerateContent?alt=sse" if stream else ":generateContent")
        ),
        body=_gemini_body,
        key_headers={"x-goog-api-key": KEY},
        decode=sse,
        hear=readers.gemini,
        whole=lambda heard, body: readers.gemini(heard, "", body),
        reasons={"stop": "STOP", "length": "MAX_TOKENS", "content_filter": "SAFETY", "tool_calls": "STOP"},
        tool_result=[{"role": "user", "parts": [{"functionResponse": {"name": "weather", "response": {}}}]}],
    ),
    "bedrock": Vendor(
        path=lambda model, stream: f"/model/{quote(model, safe='')}/converse" + ("-stream" if stream else ""),
        body=_bedrock_body,
        key_headers={},
        decode=aws,
        hear=readers.bedrock,
        whole=readers.bedrock_whole,
        reasons={
            "stop": "end_turn",
            "length": "max_tokens",
            "content_filter": "content_filtered",
            "tool_calls": "tool_use",
        },
        tool_result=[{"role": "user", "content": [{"toolResult": {"toolUseId": "tooluse_mock", "content": []}}]}],
        content_type="application/vnd.amazon.eventstream",
    ),
    "anthropic": Vendor(
        path=lambda _model, _stream: "/v1/messages",
        body=_anthropic_body,
        key_headers={"x-api-key": KEY, "anthropic-version": "2023-06-01"},
        decode=sse,
        hear=readers.anthropic,
        whole=readers.anthropic_whole,
        reasons={"stop": "end_turn", "length": "max_tokens", "content_filter": "refusal", "tool_calls": "tool_use"},
        tool_result=[{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_mock"}]}],
    ),
}
