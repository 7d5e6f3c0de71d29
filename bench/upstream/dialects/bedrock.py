"""Amazon Bedrock's Converse and ConverseStream.

Sources, under docs.aws.amazon.com/bedrock/latest/: APIReference/API_runtime_ConverseStream.html and _Converse.html
(paths, events, stop reasons, exceptions), APIReference/API_runtime_TokenUsage.html and userguide/prompt-caching.html
(cached tokens are not among the input tokens, but are in the total), userguide/api-keys.html (bearer tokens).
"""

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

import orjson

from bench.upstream.dialects import sse
from bench.upstream.dialects.base import (
    PAUSE,
    SIGNATURE,
    THOUGHT,
    Ask,
    BadRequestError,
    Brief,
    Ending,
    Refusal,
    json_body,
    last_prompt,
    objects,
)
from bench.upstream.dialects.eventstream import CONTENT_TYPE, frame, json_headers
from bench.upstream.http import Request
from bench.upstream.plan import Fault, Trouble, Usage

_PATH = re.compile(r"/model/([^/]+)/(converse|converse-stream)")
# docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
_SIGNED = re.compile(
    r"AWS4-HMAC-SHA256 Credential=[^/ ]+/\d{8}/[a-z0-9-]+/bedrock/aws4_request, ?"
    r"SignedHeaders=[a-z0-9;-]+, ?Signature=[0-9a-f]{64}"
)
_STOP = {
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "content_filtered",
    "guardrail": "guardrail_intervened",
}
_ERROR_TYPES = {
    400: "ValidationException",
    401: "UnrecognizedClientException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    413: "RequestEntityTooLargeException",
    429: "ThrottlingException",
    500: "InternalServerException",
}
_TROUBLES = {
    Trouble.SERVER: "internalServerException",
    Trouble.RATE_LIMIT: "throttlingException",
    Trouble.OVERLOADED: "serviceUnavailableException",
    Trouble.INVALID: "validationException",
}
_BROKE = "modelStreamErrorException"
_DELTA = json_headers("event", "contentBlockDelta")
_PADDING = "abcdefghij"  # Bedrock pads its events so that their sizes do not give the text away


class BedrockEncoder:
    """Event-stream frames. A text block begins with its first delta; only a tool's is announced."""

    __slots__ = ("_around", "_block", "_brief", "_open")
    content_type = CONTENT_TYPE

    def __init__(self, brief: Brief) -> None:
        self._brief = brief
        self._block = int(brief.thinks)  # the thought's is 0
        self._open = False
        self._around = sse.around_hole(self._delta_payload(self._block, {"text": sse.hole()}))

    def _delta_payload(self, block: int, delta: dict[str, Any]) -> bytes:
        return orjson.dumps({"contentBlockIndex": block, "delta": delta, "p": _PADDING})

    def _delta(self, block: int, delta: dict[str, Any]) -> bytes:
        return frame(_DELTA, self._delta_payload(block, delta))

    def opening(self) -> bytes:
        return _event("messageStart", role="assistant") + (b"".join(self._thought()) if self._brief.thinks else b"")

    def _thought(self) -> Iterator[bytes]:
        yield self._delta(0, {"reasoningContent": {"text": THOUGHT}})
        yield self._delta(0, {"reasoningContent": {"signature": SIGNATURE}})
        yield _event("contentBlockStop", contentBlockIndex=0)

    def token(self, text: bytes) -> bytes:
        self._open = True
        before, behind = self._around
        return frame(_DELTA, b"%b%b%b" % (before, text, behind))

    def tool_call(self, name: str, arguments: list[str]) -> Iterator[bytes]:
        self._open = True
        start = {"toolUse": {"name": name, "toolUseId": "tooluse_mock"}}
        yield _event("contentBlockStart", contentBlockIndex=self._block, start=start)
        for fragment in arguments:
            yield self._delta(self._block, {"toolUse": {"input": fragment}})

    def ending(self, ending: Ending) -> Iterator[bytes | None]:
        if self._open:
            yield _event("contentBlockStop", contentBlockIndex=self._block)
        if not ending.mark:
            return
        yield _event("messageStop", stopReason=_STOP.get(ending.reason, "end_turn"))
        if ending.late:
            yield PAUSE
        for _ in range(ending.times):
            yield _event("metadata", metrics={"latencyMs": 1}, usage=_usage(ending.usage))

    def error(self, trouble: Trouble) -> bytes:
        name = _TROUBLES.get(trouble, _BROKE)
        body: dict[str, Any] = {"message": "The model's stream broke off; the request may be sent again."}
        if name == _BROKE:
            body |= {"originalStatusCode": 500, "originalMessage": "the mock was told to"}
        return frame(json_headers("exception", name), orjson.dumps(body))

    def garbage(self) -> bytes:
        """Its checksums are right: only the payload is not JSON."""
        return frame(_DELTA, b'{"contentBlockIndex":0,"delta":{"text":')

    def whole(self, text: str, reason: str, tool: tuple[str, str] | None) -> bytes:
        content: list[dict[str, Any]] = []
        if self._brief.thinks:
            content.append({"reasoningContent": {"reasoningText": {"text": THOUGHT, "signature": SIGNATURE}}})
        if tool:
            use = {"toolUseId": "tooluse_mock", "name": tool[0], "input": orjson.loads(tool[1])}
            content.append({"toolUse": use})
        elif text:
            content.append({"text": text})
        message = {"message": {"role": "assistant", "content": content}}
        body = {"output": message, "stopReason": _STOP.get(reason, "end_turn"), "metrics": {"latencyMs": 1}}
        usage = self._brief.usage
        return orjson.dumps(body if usage is None else body | {"usage": _usage(usage)})


def _event(name: str, **payload: Any) -> bytes:
    return frame(json_headers("event", name), orjson.dumps(payload | {"p": _PADDING}))


def _usage(usage: Usage | None) -> dict[str, Any] | None:
    """Input, cache reads and cache writes are disjoint, and all are in the total; reasoning is inside the output."""
    if usage is None:
        return None
    return {
        "inputTokens": usage.uncached,
        "outputTokens": usage.output,
        "totalTokens": usage.input + usage.output,
        "cacheReadInputTokens": usage.cached,
        "cacheWriteInputTokens": usage.cache_write,
    }


def _check_signature(request: Request) -> None:
    """Raises BadRequestError unless there is a bearer token or what has the form of a signature for Bedrock.

    The signature itself is not checked: the mock has nobody's secret.
    """
    said = request.headers.get("authorization", "")
    if not said:
        raise BadRequestError("The request has no authentication token.", status=403)
    if said[:7].lower() == "bearer ":
        return
    if not _SIGNED.fullmatch(said):
        message = "The Authorization header is no AWS4-HMAC-SHA256 signature whose credential is scoped to 'bedrock'."
        raise BadRequestError(message, status=403)
    if "x-amz-date" not in request.headers:
        raise BadRequestError("A signed request needs the x-amz-date header.", status=403)


def _tool(body: dict[str, Any], messages: list[dict[str, Any]]) -> str | None:
    last = (messages[-1].get("content") or []) if messages else []
    if any("toolResult" in block for block in last):
        return None
    tools = (body.get("toolConfig") or {}).get("tools") or [{}]
    return str(tools[0].get("toolSpec", {}).get("name", "lookup"))


class Bedrock:
    """`POST /model/<quoted id>/converse-stream` and `/converse`. Key: a SigV4 signature for `bedrock`, or a bearer."""

    special_faults = frozenset({Fault.CRC, Fault.GUARDRAIL})

    def accepts(self, method: str, path: str) -> bool:
        return method == "POST" and _PATH.fullmatch(path) is not None

    def parse(self, request: Request) -> Ask:
        _check_signature(request)
        found = _PATH.fullmatch(request.path.partition("?")[0])
        assert found is not None  # `accepts` has seen it
        body = json_body(request)
        messages = objects(body, "messages")
        if any(not isinstance(message.get("content"), list) for message in messages):
            raise BadRequestError("The content of a message must be a list of content blocks.")
        return Ask(
            model=unquote(found[1]),
            stream=found[2] == "converse-stream",
            prompt=last_prompt(messages),
            tool=_tool(body, messages),
        )

    def encoder(self, brief: Brief) -> BedrockEncoder:
        return BedrockEncoder(brief)

    def refusal(self, status: int, message: str, *, retry_after: int | None = None) -> Refusal:
        kind = _ERROR_TYPES.get(status, "ServiceUnavailableException")
        body = orjson.dumps({"message": message})
        return Refusal(status=status, body=body, headers={"x-amzn-errortype": kind})

    def overflow(self, asked: int) -> Refusal:
        return self.refusal(400, f"Input is too long for requested model: {asked} tokens.")
