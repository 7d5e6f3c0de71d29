"""Google's Gemini by its own API.

Sources: ai.google.dev/api/generate-content (paths, candidates, UsageMetadata), ai.google.dev/gemini-api/docs/thinking
(thoughts, signatures), ai.google.dev/gemini-api/docs/function-calling, and google.aip.dev/193 (errors).
"""

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, unquote

import orjson

from bench.upstream.dialects import sse
from bench.upstream.dialects.base import (
    CONTEXT_LIMIT,
    PAUSE,
    SIGNATURE,
    THOUGHT,
    Ask,
    BadRequestError,
    Brief,
    Ending,
    Refusal,
    json_body,
    objects,
    text_of_content,
)
from bench.upstream.http import Request
from bench.upstream.plan import Fault, Trouble, Usage

_PATH = re.compile(r"/v1(?:beta)?/models/([^/]+)(?::|%3[aA])(generateContent|streamGenerateContent)")
_FINISH = {"length": "MAX_TOKENS", "content_filter": "SAFETY"}
_CODES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
}
_TROUBLES = {
    Trouble.RATE_LIMIT: (429, "The quota of this project is used up."),
    Trouble.OVERLOADED: (503, "The model is overloaded."),
    Trouble.INVALID: (400, "The request stopped being valid."),
}
_SERVER_ERROR = (500, "An internal error has occurred.")


class GeminiEncoder:
    """Server-sent `GenerateContentResponse` objects. Usage stands on each and counts up; the last has the reason.

    That last chunk is the only end mark there is.
    """

    __slots__ = ("_around", "_brief", "_said")
    content_type = b"text/event-stream"

    def __init__(self, brief: Brief) -> None:
        self._brief = brief
        self._said = 0
        self._around = sse.around_hole(self._chunk([{"text": sse.hole()}])[:-3])  # -3: the object stays open

    def _body(self, candidates: list[dict[str, Any]]) -> dict[str, Any]:
        answer = f"mock-{self._brief.call_id}"
        return {"candidates": candidates, "modelVersion": self._brief.ask.model, "responseId": answer}

    def _chunk(self, parts: list[dict[str, Any]], **more: Any) -> bytes:
        candidate = {"content": {"parts": parts, "role": "model"}, "index": 0}
        return sse.data_event(orjson.dumps(self._body([candidate | more])))

    def _counted(self, chunk: bytes, usage: Usage | None, visible: int) -> bytes:
        """The chunk with its usage, where there is any."""
        if usage is None:
            return chunk
        return chunk[:-3] + b',"usageMetadata":%b}\n\n' % orjson.dumps(_usage(usage, visible))

    def _visible(self) -> int:
        return 0 if self._brief.usage is None else min(self._said, self._brief.usage.visible)

    def opening(self) -> bytes:
        if not self._brief.thinks:
            return b""
        return self._counted(self._chunk([{"text": THOUGHT, "thought": True}]), self._brief.usage, 0)

    def token(self, text: bytes) -> bytes:
        self._said += 1
        before, behind = self._around
        chunk = b"%b%b%b}\n\n" % (before, text, behind)
        return self._counted(chunk, self._brief.usage, self._visible())

    def tool_call(self, name: str, arguments: list[str]) -> Iterator[bytes]:
        """Gemini's calls come whole, whatever the fragments."""
        part = self._function_call(name, "".join(arguments))
        yield self._counted(self._chunk([part]), self._brief.usage, self._visible())

    def _function_call(self, name: str, arguments: str) -> dict[str, Any]:
        call = {"functionCall": {"name": name, "args": orjson.loads(arguments)}}
        return call | ({"thoughtSignature": SIGNATURE} if self._brief.thinks else {})

    def ending(self, ending: Ending) -> Iterator[bytes | None]:
        if not ending.mark:
            return
        final = 0 if ending.usage is None else ending.usage.visible
        last = self._chunk([{"text": ""}], finishReason=_FINISH.get(ending.reason, "STOP"))
        yield self._counted(last, ending.usage, self._visible() if ending.late else final)
        if ending.late:
            yield PAUSE
        if ending.late or ending.times > 1:
            yield self._counted(sse.data_event(orjson.dumps(self._body([]))), ending.usage, final)

    def error(self, trouble: Trouble) -> bytes:
        return sse.data_event(_error(*_TROUBLES.get(trouble, _SERVER_ERROR)))

    def garbage(self) -> bytes:
        return sse.data_event(b'{"candidates":[{"content":{"parts":[{"text":')

    def whole(self, text: str, reason: str, tool: tuple[str, str] | None) -> bytes:
        parts: list[dict[str, Any]] = [{"text": THOUGHT, "thought": True}] if self._brief.thinks else []
        parts.append(self._function_call(*tool) if tool else {"text": text})
        content = {"parts": parts, "role": "model"}
        body = self._body([{"content": content, "finishReason": _FINISH.get(reason, "STOP"), "index": 0}])
        usage = self._brief.usage
        return orjson.dumps(body if usage is None else body | {"usageMetadata": _usage(usage, usage.visible)})


def _usage(usage: Usage, visible: int) -> dict[str, Any]:
    """Cached tokens are inside the prompt's; thoughts are beside the candidates' (UsageMetadata)."""
    counts = {
        "promptTokenCount": usage.input,
        "candidatesTokenCount": visible,
        "totalTokenCount": usage.input + visible + usage.reasoning,
    }
    rare = {"cachedContentTokenCount": usage.cached, "thoughtsTokenCount": usage.reasoning}
    return counts | {name: count for name, count in rare.items() if count}


def _error(status: int, message: str, details: list[dict[str, Any]] | None = None) -> bytes:
    error: dict[str, Any] = {"code": status, "message": message, "status": _CODES.get(status, "UNAVAILABLE")}
    return orjson.dumps({"error": error | ({"details": details} if details else {})})


def _details(status: int, retry_after: int | None) -> list[dict[str, Any]]:
    kind = "type.googleapis.com/google.rpc"
    if status == 401:
        reason = {"reason": "API_KEY_INVALID", "domain": "googleapis.com"}
        return [{"@type": f"{kind}.ErrorInfo"} | reason]
    if retry_after is not None:
        return [{"@type": f"{kind}.RetryInfo", "retryDelay": f"{retry_after}s"}]
    return []


def _tool(body: dict[str, Any], contents: list[dict[str, Any]]) -> str | None:
    last = (contents[-1].get("parts") or []) if contents else []
    if any("functionResponse" in part for part in last):
        return None
    declared = [name for tool in body.get("tools") or [] for name in tool.get("functionDeclarations") or []]
    return str(declared[0].get("name", "lookup")) if declared else "lookup"


class Gemini:
    """`POST /v1beta/models/<model>:streamGenerateContent?alt=sse` and `:generateContent`. Key: `x-goog-api-key`."""

    special_faults: frozenset[Fault] = frozenset()

    def accepts(self, method: str, path: str) -> bool:
        return method == "POST" and _PATH.fullmatch(path) is not None

    def parse(self, request: Request) -> Ask:
        path, _, query = request.path.partition("?")
        found = _PATH.fullmatch(path)
        assert found is not None  # `accepts` has seen it
        stream = found[2] == "streamGenerateContent"
        if stream and parse_qs(query).get("alt") != ["sse"]:
            raise BadRequestError("The mock streams server-sent events only: add ?alt=sse.")
        body = json_body(request)
        contents = objects(body, "contents")
        said = [content for content in contents if content.get("role", "user") == "user"]
        prompt = text_of_content(said[-1].get("parts")) if said else ""
        return Ask(model=unquote(found[1]), stream=stream, prompt=prompt, tool=_tool(body, contents))

    def encoder(self, brief: Brief) -> GeminiEncoder:
        return GeminiEncoder(brief)

    def refusal(self, status: int, message: str, *, retry_after: int | None = None) -> Refusal:
        return Refusal(status=status, body=_error(status, message, _details(status, retry_after)))

    def overflow(self, asked: int) -> Refusal:
        message = f"The input token count ({asked}) exceeds the maximum of {CONTEXT_LIMIT} tokens that the model takes."
        return self.refusal(400, message)
