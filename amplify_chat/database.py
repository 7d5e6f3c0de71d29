"""The database: the one that `DATABASE_URL` names, or for a laptop a file in var/."""

import os
from pathlib import Path
from typing import Any

import dj_database_url

from core.errors import ConfigurationError


def database(url: str) -> dict[str, Any]:
    """Django's settings for the database at `url`. Raises ConfigurationError if it is a file that cannot be kept."""
    config: dict[str, Any] = dict(dj_database_url.parse(url, conn_max_age=60))
    if config["ENGINE"].endswith("sqlite3"):
        _make_room(Path(config["NAME"]))
        config["OPTIONS"] = {
            # Readers never wait for the writer; a power cut may cost the last transactions, never the file.
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA cache_size=-65536",
            # Take the write lock at the start: a transaction that reads first cannot fail half-way for want of it.
            "transaction_mode": "IMMEDIATE",
            "timeout": 10,  # seconds to wait for the lock
        }
    return config


def _make_room(file: Path) -> None:
    """Where the service may not write, it is not on a laptop: then it must be told which database is its own."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        kept = all(os.access(path, os.W_OK) for path in (file.parent, file) if path.exists())
    except OSError:
        kept = False
    if not kept:
        raise ConfigurationError(
            "Set DATABASE_URL to postgres://user:password@host/database: "
            f"a SQLite file cannot be kept in {file.parent}."
        )
