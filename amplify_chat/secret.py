"""The secret that signs sessions: `SECRET_KEY`, or for a laptop a random one kept in var/secret_key."""

import secrets
from pathlib import Path

from core.errors import ConfigurationError


def secret_key(given: str, keep_in: Path) -> str:
    """`given`, else the kept one, else a new one that is kept. Raises ConfigurationError if it cannot be kept."""
    if given:
        return given
    try:
        return keep_in.read_text() if keep_in.exists() else _make(keep_in)
    except OSError as error:
        raise ConfigurationError(
            f"Set SECRET_KEY to a long random text: one made here cannot be kept in {keep_in.parent}."
        ) from error


def _make(keep_in: Path) -> str:
    key = secrets.token_urlsafe(50)
    keep_in.parent.mkdir(parents=True, exist_ok=True)
    keep_in.touch(mode=0o600, exist_ok=True)
    keep_in.write_text(key)
    return key
