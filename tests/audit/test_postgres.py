"""PostgreSQL too refuses to change the audit log."""

from pathlib import Path

import psycopg
import pytest

from tests.harness import environment, manage
from tests.infra.postgres import running_postgres

_RECORD = """
from audit.entries import By, record
from audit.models import Door
record(By(actor="alice", door=Door.REST), "created", "model", "gpt", {"name": [None, "a"]})
"""


@pytest.mark.slow
def test_the_database_refuses_to_change_it(tmp_path: Path) -> None:
    with running_postgres(tmp_path / "postgres") as url:
        env = environment(tmp_path, DATABASE_URL=url)
        manage(env, "migrate", "--verbosity", "0")
        manage(env, "shell", "--verbosity", "0", "-c", _RECORD)
        with psycopg.connect(url, autocommit=True) as database:
            for statement in ("UPDATE audit_entry SET actor = 'bob'", "DELETE FROM audit_entry"):
                with pytest.raises(psycopg.errors.RaiseException, match="never changed"):
                    database.execute(statement)
            assert database.execute("SELECT actor FROM audit_entry").fetchall() == [("alice",)]
