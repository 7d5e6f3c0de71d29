"""API keys: made and hashed. The platform's form `amp-v1-` and its hash, so that both sides can read them."""

import hashlib
import re
import secrets

PREFIX = "amp-v1-"
_FORM = re.compile(r"amp-v1-[A-Za-z0-9_-]{43}")


def new_key() -> str:
    """256 random bits behind the platform's prefix."""
    return PREFIX + secrets.token_urlsafe(32)


def hash_key(key: str) -> str:
    """SHAKE-256 with 64 bytes of output, lower-case hex: what the platform's key issuer stores."""
    return hashlib.shake_256(key.encode()).hexdigest(64)


def is_well_formed(key: str) -> bool:
    """Whether it can be one of ours at all; what cannot is refused without asking the database."""
    return _FORM.fullmatch(key) is not None
