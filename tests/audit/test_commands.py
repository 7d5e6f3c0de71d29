"""Commands that change models write down what they did."""

import json
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from accounts.models import ApiKey
from audit.models import Entry

pytestmark = pytest.mark.django_db


def load(folder: Path, *options: str, **facts: object) -> None:
    path = folder / "models.json"
    path.write_text(json.dumps({"models": [{"id": "gpt", "name": "GPT", "provider": "openai", **facts}]}))
    call_command("load_models", path, *options)


def test_models_that_are_loaded(tmp_path: Path) -> None:
    load(tmp_path)
    load(tmp_path, name="GPT 2")
    load(tmp_path, "--replace", name="GPT 2")
    load(tmp_path, "--replace", name="GPT 2")
    created, changed = Entry.objects.filter(resource="model").order_by("id")
    assert {(entry.door, entry.resource_id) for entry in (created, changed)} == {("command", "gpt")}
    assert (created.action, created.changes["name"]) == ("created", [None, "GPT"])
    assert (changed.action, changed.changes) == ("changed", {"name": ["GPT", "GPT 2"]})


def test_what_is_refused_is_not_written_down(tmp_path: Path) -> None:
    with pytest.raises(CommandError):
        load(tmp_path, provider="nobody")
    assert not Entry.objects.exists()


def test_a_key_that_is_made() -> None:
    output = StringIO()
    call_command("create_api_key", "--user", "ann", "--access", "share", stdout=output)
    entry = Entry.objects.get(resource="API key")
    assert (entry.door, entry.action, entry.resource_id) == ("command", "created", ApiKey.objects.get().api_owner_id)
    assert entry.changes["access_types"] == [None, ["share"]]
    assert output.getvalue().strip() not in str(entry.changes)
