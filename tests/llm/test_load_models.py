"""`manage.py load_models`: the shipped file, the platform's CSV and JSON; twice changes nothing."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from llm.models import DefaultModel, ModelEntry
from llm.shipped import shipped_cards

pytestmark = pytest.mark.django_db

RATES = '''\
ModelID,AdditionalSystemPrompt,Available,Built-In,Description,ExclusiveGroupAvailability,InputContextWindow,\
InputCostPerThousandTokens,CachedCostPerThousandTokens,ModelName,OutputCostPerThousandTokens,OutputTokenLimit,\
Provider,SupportsImages,SupportsSystemPrompts,SupportsReasoning
gpt-4o-mini,,FALSE,TRUE,"""Small""",[],128000,0.00015,0.00165,GPT-4o mini,0.0006,16384,Azure,TRUE,TRUE,FALSE
gpt-5.2,Be brief.,TRUE,TRUE,New,[],400000,0.00175,0.0001,GPT-5.2,0.014,128000,Bedrock,TRUE,TRUE,TRUE
us.amazon.nova-lite-v1:0,,TRUE,TRUE,,[],-1,0.00006,0,"""Nova Lite""",0.00024,-1,Bedrock,TRUE,TRUE,FALSE
text-embedding-3-small,,TRUE,TRUE,,[],8192,0.00002,0,Embedding,0,0,Azure,FALSE,FALSE,FALSE
'''


def _load(*args: Any) -> str:
    out = StringIO()
    call_command("load_models", *map(str, args), stdout=out)
    return out.getvalue()


def _file(folder: Path, name: str, content: Any) -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_the_shipped_models_load_once_and_edits_stay() -> None:
    assert f"Added {len(shipped_cards())}:" in _load()
    assert {row.model_id: row.card for row in ModelEntry.objects.all()} == shipped_cards()
    ModelEntry.objects.filter(model_id="gpt-4o").update(name="Ours", enabled=False)

    said = _load()
    assert "Added" not in said and "Kept, though the file says otherwise (--replace overwrites them), 1: gpt-4o" in said
    assert ModelEntry.objects.get(model_id="gpt-4o").name == "Ours"

    assert "Replaced 1: gpt-4o." in _load("--replace")
    entry = ModelEntry.objects.get(model_id="gpt-4o")
    assert (entry.name, entry.enabled) == ("GPT-4o", False)  # the file says nothing of who may use it
    before = list(ModelEntry.objects.values())
    assert _load("--replace") == f"{len(shipped_cards())} already there and the same.\n"
    assert list(ModelEntry.objects.values()) == before


def test_the_platforms_rate_table(tmp_path: Path) -> None:
    said = _load(_file(tmp_path, "rates.csv", RATES))
    assert "Left out text-embedding-3-small" in said and "gpt-5.2 is filed under Bedrock" in said
    mini, five, nova = (
        ModelEntry.objects.get(model_id=m) for m in ("gpt-4o-mini", "gpt-5.2", "us.amazon.nova-lite-v1:0")
    )
    assert (mini.provider, mini.enabled, mini.description, mini.sampling) == ("azure", False, "Small", True)
    assert (five.provider, five.thinking, five.sampling, five.system_prompt) == ("openai", "effort", False, "Be brief.")
    assert (nova.name, nova.enabled, nova.context_window, nova.image_urls) == ("Nova Lite", True, 300_000, False)
    assert "3 already there and the same." in _load(tmp_path / "rates.csv")


def test_the_platforms_available_models(tmp_path: Path) -> None:
    claude = {
        "id": "us.anthropic.claude-3-7-sonnet-20250219-v1:0", "name": "Claude 3.7", "provider": "Bedrock",
        "description": "", "inputContextWindow": "200000",
        "outputTokenLimit": 8192, "supportsImages": True, "supportsReasoning": True,
        "supportsSystemPrompts": True, "systemPrompt": "", "inputTokenCost": 0.003, "outputTokenCost": 0.015,
    }  # fmt: skip
    own = claude | {"id": "own", "provider": "Gemini", "isAvailable": False, "exclusiveGroupAvailability": ["physics"]}
    hidden = claude | {"id": "hidden", "isAvailable": False, "supportsReasoning": False}
    answer = {
        "success": True,
        "data": {"models": [claude, own, hidden], "default": claude, "cheapest": hidden, "advanced": None},
    }
    said = _load(_file(tmp_path, "models.json", answer))
    entries = {row.model_id: row for row in ModelEntry.objects.all()}
    first = entries[claude["id"]]
    assert (first.thinking, first.output_limit, first.enabled, first.groups) == ("budget", 8192, True, [])
    assert (entries["own"].provider, entries["own"].thinking, entries["own"].groups) == (
        "gemini",
        "effort",
        ["physics"],
    )
    assert not entries["hidden"].enabled and entries["hidden"].thinking == ""
    assert {row.role: row.model_id for row in DefaultModel.objects.all()} == {"default": claude["id"]}
    assert "No model for cheapest: hidden is not in the catalogue, or disabled." in said


def test_our_own_format_with_fallbacks(tmp_path: Path) -> None:
    small = {"id": "small", "name": "Small", "provider": "compatible"}
    big = small | {"id": "big", "fallback": "small", "groups": ["physics"], "position": 7}
    _load(_file(tmp_path, "own.json", {"models": [big, small], "advanced": "big"}))
    entry = ModelEntry.objects.get(model_id="big")
    assert (entry.fallback_id, entry.groups, entry.position) == ("small", ["physics"], 7)
    assert DefaultModel.objects.get().model_id == "big"


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.json", "not json", "neither JSON nor named .csv"),
        ("a.json", {"data": {"models": "x"}}, "Expected"),
        ("a.csv", "a,b\n1,2\n", "needs a ModelID"),
        ("a.json", {"models": [{"id": "m", "colour": 1}]}, "there is no field colour"),
        ("a.json", {"models": [{"id": "m", "inputContextWindow": "many"}]}, "should be a number"),
        ("a.json", {"models": [{"id": "m", "name": "m", "provider": "nobody"}]}, "Nothing was loaded. m: provider"),
        ("a.json", {"models": [{"id": "m", "name": "m", "provider": "openai", "fallback": "x"}]}, "Nothing was loaded"),
    ],
)
def test_a_wrong_file_changes_nothing(tmp_path: Path, name: str, content: Any, sentence: str) -> None:
    with pytest.raises(CommandError, match=sentence):
        _load(_file(tmp_path, name, content))
    assert not ModelEntry.objects.exists()
