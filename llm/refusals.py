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

MALFORMED_CALL = (
    "The model tried to call a tool and got the call wrong. Please try again, offer fewer or simpler tools, or choose "
    "another model."
)
"""What people are told of an answer that ends so."""

# Not "guardrail" alone: Bedrock also speaks of one that does not exist.
_FILTERED = re.compile(
    r"content[_ ](filter|policy|management policy)|responsibleaipolicy|guardrail policy|usage polic(y|ies)"
)
# Only asked of answers that refuse the request itself: rate limits speak of "too many tokens" too. And not of what
# exceeds any maximum: images do, and `max_tokens` does.
_OVERFLOW = re.compile(
    r"context[_ ](length|window)|maximum (context|model length|prompt length)"
    r"|(prompt|input|request|content)[a-z ]* (is )?too (long|large)"
    r"|too many (input |total )?tokens|token count .{0,40}exceeds|input tokens? [^.]{0,40}exceed"
    r"|exceeds? [^.]{0,40}(context|token)"
)


def judge(status: int, headers: Mapping[str, str], code: str, message: str) -> ModelFailed:
    """The error to raise. `code` and `message` are the vendor's; they decide and are then forgotten."""
    code, wait = code.lower(), retry_after(headers)
    match status:
        case 401 | 403:
            return ModelRejectedKey()
        case _ if status == 402 or "insufficient_quota" in code or "billing" in code:  # noqa: PLR2004
            return ModelOutOfQuota()
        case 429 | 529:
            return ModelBusy(retry_after=wait)
        case 408 | 503 | 504:
            return ModelTimedOut(retry_after=wait)
        case _ if not 400 <= status < 500 or status in (404, 405):  # noqa: PLR2004
            # 404, 405 and redirects: not what is asked is wrong but this address; another endpoint may have the model.
            return ModelFailed(retry_after=wait)
        case _:
            return _refused(status, f"{code} {message}".lower())


def _refused(status: int, text: str) -> ModelRefused:
    if _FILTERED.search(text):
        return ModelFiltered()
    if status == 413 or _OVERFLOW.search(text):  # noqa: PLR2004
        return ModelOverflowed()
    return ModelRefused()


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait according to `retry-after-ms` or `Retry-After` (RFC 9110, section 10.2.3), or None."""
    milliseconds = _bounded(headers.get("retry-after-ms") or "", scale=0.001)
    if milliseconds is not None:
        return milliseconds
    text = headers.get("Retry-After") or headers.get("retry-after") or ""
    seconds = _bounded(text)
    return seconds if seconds is not None else _until(text)


def _until(text: str) -> float | None:
    """Seconds until a date, in UTC where it names no zone."""
    try:
        moment = parsedate_to_datetime(text)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return _bounded(str((moment - datetime.now(UTC)).total_seconds()))
    except (ValueError, OverflowError):
        return None


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
