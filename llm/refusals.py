"""What a vendor's error answer means: one judgement for all vendors, made from status, code and wording."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import orjson

from core.errors import (
    ModelBusy,
    ModelFailed,
    ModelFiltered,
    ModelOutOfQuota,
    ModelOverflowed,
    ModelRefused,
    ModelRejectedKey,
    ModelTimedOut,
)

MAX_RETRY_AFTER_SECONDS = 3600.0

_FILTERED = ("content_filter", "content_policy", "responsibleaipolicy", "guardrail")
# Only asked of answers that refuse the request itself: rate limits speak of "too many tokens" too.
_OVERFLOW = re.compile(
    r"context[_ ](length|window)|maximum context|(prompt|input|request|content)[a-z ]* (is )?too (long|large)"
    r"|too many (input |total )?tokens|token count .{0,40}exceeds|exceeds? .{0,40}(context|token|maximum)"
)


def judge(status: int, headers: Mapping[str, str], code: str, message: str) -> ModelFailed:
    """The error to raise. `code` and `message` are the vendor's; they decide and are then forgotten."""
    code, wait = code.lower(), retry_after(headers)
    match status:
        case 401 | 403:
            return ModelRejectedKey()
        case 429 if "insufficient_quota" in code or "billing" in code:
            return ModelOutOfQuota()
        case 429 | 529:
            return ModelBusy(retry_after=wait)
        case 408 | 503 | 504:
            return ModelTimedOut(retry_after=wait)
        case _ if status >= 500 or status == 404:  # noqa: PLR2004 - 404: this endpoint has no such model, another may
            return ModelFailed(retry_after=wait)
        case _:
            return _refused(status, f"{code} {message}".lower())


def _refused(status: int, text: str) -> ModelRefused:
    if any(word in text for word in _FILTERED):
        return ModelFiltered()
    if status == 413 or _OVERFLOW.search(text):  # noqa: PLR2004
        return ModelOverflowed()
    return ModelRefused()


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait according to `retry-after-ms` or `Retry-After` (RFC 9110, section 10.2.3), or None."""
    if milliseconds := headers.get("retry-after-ms"):
        return _bounded(milliseconds, scale=0.001)
    text = headers.get("Retry-After") or headers.get("retry-after") or ""
    if not text:
        return None
    if (seconds := _bounded(text)) is not None:
        return seconds
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    return _bounded(str((moment - datetime.now(UTC)).total_seconds()))


def _bounded(text: str, scale: float = 1.0) -> float | None:
    try:
        seconds = float(text) * scale
    except ValueError:
        return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS) if seconds == seconds else None  # noqa: PLR0124 - not NaN


def json_object(body: bytes) -> dict[str, Any]:
    """The body as an object, or an empty one: error answers come in any shape."""
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    if isinstance(content, list) and content:
        content = content[0]
    return content if isinstance(content, dict) else {}
