"""API keys: made, named and hashed. The platform's forms and its hash, so that both sides can read them
(billing-and-state: API keys)."""

import hashlib
import re
import secrets
import uuid

from accounts.principal import FULL_ACCESS, KeyKind

PREFIX = "amp-v1-"
ACCESS_TYPES = (FULL_ACCESS, "chat", "assistants", "file_upload", "share", "dual_embedding", "api_key")
"""What a key may be for, as the platform spells it."""
# Today's form, or that of legacy and group keys: `amp-` and a UUID.
_FORM = re.compile(r"amp-v1-[A-Za-z0-9_-]{43}|amp-(?!v1-)[A-Za-z0-9_-]{16,128}")


def new_key() -> str:
    """256 random bits behind the platform's prefix."""
    return PREFIX + secrets.token_urlsafe(32)


def key_id(owner: str, kind: KeyKind) -> str:
    """A new key's public name."""
    return f"{owner}/{kind}Key/{uuid.uuid4()}"


def hash_key(key: str) -> str:
    """SHAKE-256 with 64 bytes of output, lower-case hex: what the platform's key issuer stores.

    Salt and many rounds would gain nothing: what is hashed is random already. And as the hash of what a caller sends is
    looked up by index, no secret is compared with it step by step, so there is no time to measure.
    """
    return hashlib.shake_256(key.encode()).hexdigest(64)


def is_well_formed(key: str) -> bool:
    """Whether it can be a key at all; what cannot is refused without asking the store."""
    return _FORM.fullmatch(key) is not None
