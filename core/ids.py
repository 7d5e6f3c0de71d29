"""Identifiers: unguessable run ids, and request ids that callers may bring."""

import random
import re
import secrets
import uuid

# What a header value or a client's id may look like, so that it can stand in a log and a header as it is.
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:@/+=-]{1,128}")


def new_run_id() -> str:
    """128 random bits; still no capability: every use of it checks the owner."""
    return f"run_{secrets.token_hex(16)}"


def new_uuid() -> uuid.UUID:
    """A random UUID for what only has to be distinct: no system call, as `uuid4` makes one."""
    return uuid.UUID(int=random.getrandbits(128), version=4)


def request_id(given: str | None) -> str:
    """The caller's `X-Request-ID` if it is presentable, else a new one."""
    if given and _REQUEST_ID.fullmatch(given):
        return given
    return f"req-{random.getrandbits(96):024x}"
