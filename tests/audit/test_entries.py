"""The audit log is written once and never changed. From within, as no door leads to most of it."""

import logging
from typing import Any

import pytest
import structlog
from django.db import DatabaseError, connection, transaction

from audit.entries import REDACTED, By, by_command, differences, record
from audit.models import Door, Entry
from tests.harness import CANARY

pytestmark = pytest.mark.django_db
ALICE = By(actor="alice", door=Door.REST, api_key_id="alice/ownerKey/x", request_id="req-1")


def test_an_entry_says_who_did_what_to_what() -> None:
    record(ALICE, "changed", "model", "gpt", {"name": ["a", "b"]})
    entry = Entry.objects.get()
    said = (entry.actor, entry.door, entry.api_key_id, entry.action, entry.resource, entry.resource_id, entry.changes)
    assert said == ("alice", "rest", "alice/ownerKey/x", "changed", "model", "gpt", {"name": ["a", "b"]})
    assert by_command().door == "command" and by_command().actor


def test_the_model_refuses_to_change_it() -> None:
    record(ALICE, "created", "model", "gpt")
    entry = Entry.objects.get()
    for attempt in (entry.save, entry.delete, Entry.objects.all().delete, lambda: Entry.objects.update(actor="bob")):
        with pytest.raises(TypeError, match="never changed"):
            attempt()


@pytest.mark.parametrize("statement", ["UPDATE audit_entry SET actor = 'bob'", "DELETE FROM audit_entry"])
def test_the_database_refuses_to_change_it(statement: str) -> None:
    record(ALICE, "created", "model", "gpt")
    with pytest.raises(DatabaseError, match="never changed"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)
    assert Entry.objects.get().actor == "alice"


def test_only_what_differs_is_told() -> None:
    old = {"name": "a", "note": "", "limit": None, "gone": [1], "same": 1}
    new = {"name": "b", "note": None, "limit": 0, "gone": [], "same": 1}
    assert differences(old, new) == {"name": ["a", "b"], "limit": [None, 0], "gone": [[1], []]}
    assert differences({}, {"name": "a", "note": ""}) == {"name": [None, "a"]}


def test_no_secret_is_told() -> None:
    key = "amp-v1-" + "k" * 43
    new = {
        **dict.fromkeys(("password", "key_hash", "client_secret", "token", "api_key", "apikey"), CANARY),
        "extra": {"headers": {"Authorization": CANARY}, "max_tokens": 5, "list": [{"api-key": "fine"}]},
        "description": f"use {key} please",
        "long": "x" * 5000,
        "nul": "a\0b",
        "members": {f"{key}\0": "read"},
    }
    told = differences({}, new)
    assert CANARY not in str(told) and key not in str(told)
    assert told["password"] == [None, REDACTED]
    assert told["extra"][1]["max_tokens"] == 5
    assert len(told["long"][1]) < 600 and told["nul"][1] == "ab"


class _Broken:
    in_atomic_block = False


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise DatabaseError(CANARY)

    monkeypatch.setattr(Entry, "save", refuse)


@pytest.mark.usefixtures("broken")
def test_an_entry_that_cannot_be_written_undoes_its_transaction() -> None:
    with pytest.raises(DatabaseError), transaction.atomic():
        record(ALICE, "created", "model", "gpt")


@pytest.mark.usefixtures("broken")
def test_outside_of_a_transaction_it_goes_to_the_log_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audit.entries.connection", _Broken())
    with structlog.testing.capture_logs() as logged:
        record(ALICE, "changed", "group", "g", {"name": ["a", "b"]})
    (event,) = logged
    assert event["event"] == "audit_entry_lost" and event["log_level"] == logging.getLevelName(logging.ERROR).lower()
    assert (event["actor"], event["resource_id"], event["changes"]) == ("alice", "g", {"name": ["a", "b"]})
    assert CANARY not in str(logged)
