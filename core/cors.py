"""What browsers are told about calls from pages of other origins."""

from collections.abc import Sequence

Headers = list[tuple[bytes, bytes]]

_ALLOWED_HEADERS = b"Content-Type,Authorization,X-Request-ID,Last-Event-ID,If-Match"
_EXPOSED_HEADERS = b"X-Request-ID,X-Run-Id,ETag"


def cors_headers(allowed: Sequence[str], origin: str | None) -> Headers:
    """Any origin may read if `*` is allowed (no cookie counts then); a listed one may, with credentials."""
    if "*" in allowed:
        return [(b"access-control-allow-origin", b"*"), (b"access-control-expose-headers", _EXPOSED_HEADERS)]
    if origin is None or origin not in allowed:
        return [(b"vary", b"Origin")]
    return [
        (b"access-control-allow-origin", origin.encode("latin-1")),
        (b"access-control-allow-credentials", b"true"),
        (b"access-control-expose-headers", _EXPOSED_HEADERS),
        (b"vary", b"Origin"),
    ]


def preflight_headers(methods: bytes) -> Headers:
    """For the answer to OPTIONS; `methods` by commas."""
    return [
        (b"access-control-allow-methods", methods),
        (b"access-control-allow-headers", _ALLOWED_HEADERS),
        (b"access-control-max-age", b"600"),
    ]
