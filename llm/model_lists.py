"""Lists of models as files have them: our own, the platform's rate table (CSV), its available-models API (JSON).

The platform's fields: llm-providers, model record and table ↔ API field map.
"""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llm.models import CARD_FIELDS
from llm.shipped import known_card, shipped_card

MAX_NUMBER = 10**12
"""Of a window or a limit, in tokens, or a price: far above all that are meant."""
_SHOWN = 100

OWN_FIELDS = frozenset({"id", *CARD_FIELDS, "enabled", "groups", "fallback", "position"})

_OF_COLUMN = {
    "ModelID": "id", "ModelName": "name", "Provider": "provider", "Description": "description",
    "InputContextWindow": "inputContextWindow", "OutputTokenLimit": "outputTokenLimit",
    "SupportsImages": "supportsImages", "SupportsReasoning": "supportsReasoning",
    "SupportsSystemPrompts": "supportsSystemPrompts", "AdditionalSystemPrompt": "systemPrompt",
    "Available": "isAvailable", "OutputCostPerThousandTokens": "outputTokenCost",
    "ExclusiveGroupAvailability": "exclusiveGroupAvailability",
}  # fmt: skip
_SAME = {"supportsImages": "images", "supportsSystemPrompts": "system_prompts"}
_COUNTS = {"inputContextWindow": "context_window", "outputTokenLimit": "output_limit"}
_TEXTS = {"name": "name", "description": "description", "systemPrompt": "system_prompt"}
_ROLES = {
    "default": "default", "user": "default", "advanced": "advanced", "cheapest": "cheapest",
    "documentCaching": "document_caching",
}  # fmt: skip
_THINKS = {"openai": "effort", "azure": "effort", "gemini": "effort", "bedrock": "budget", "anthropic": "budget"}


class ModelListError(ValueError):
    """The file is not a list of models; the message says where and what is expected."""


@dataclass(slots=True, kw_only=True)
class ModelList:
    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Model id to the columns of its `ModelEntry` that the file speaks of."""
    roles: dict[str, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    """What was left out or put right, for people."""


def read_model_list(path: Path) -> ModelList:
    """Raises ModelListError."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelListError(f"{path} cannot be read ({type(error).__name__}).") from error
    if path.suffix.lower() == ".csv":
        return of_rate_table(csv.DictReader(text.splitlines()))
    try:
        content = json.loads(text)
    except ValueError as error:
        raise ModelListError(f"{path} is neither JSON nor named .csv.") from error
    return _of_json(content)


def _of_json(content: Any) -> ModelList:
    content = content.get("data", content) if isinstance(content, dict) else {"models": content}
    models = content.get("models") if isinstance(content, dict) else None
    if isinstance(models, dict):
        models = list(models.values())
    if not isinstance(models, list) or not all(isinstance(entry, dict) and entry.get("id") for entry in models):
        raise ModelListError('Expected {"models": [{"id": …, …}, …]}, as the available-models API answers it.')
    platform = any("inputContextWindow" in entry for entry in models)
    found = of_available_models(models) if platform else _own_list(models)
    found.roles = dict(roles_of(content))
    return found


def roles_of(content: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Roles and model ids as the platform's API and its `defaultModels` name them."""
    for key, role in _ROLES.items():
        model = content.get(key)
        model_id = model.get("id") if isinstance(model, dict) else model
        if isinstance(model_id, str) and model_id:
            yield role, model_id


def _own_list(models: Iterable[Mapping[str, Any]]) -> ModelList:
    found = ModelList()
    for entry in models:
        if unknown := entry.keys() - OWN_FIELDS:
            raise ModelListError(f"{entry['id']}: there is no field {', '.join(sorted(unknown))}.")
        found.records[entry["id"]] = {name: value for name, value in entry.items() if name != "id"}
    return found


def of_rate_table(rows: Iterable[Mapping[Any, Any]]) -> ModelList:
    """Rows of the platform's rate table, by its columns' names. Raises ModelListError."""
    return _platform_list(_of_columns(row) for row in rows)


def of_available_models(models: Iterable[Mapping[str, Any]]) -> ModelList:
    """Records of the platform's available-models API. Raises ModelListError."""
    return _platform_list(models)


def _of_columns(row: Mapping[str | None, Any]) -> dict[str, Any]:
    if not row.get("ModelID"):
        raise ModelListError("Every row of the CSV needs a ModelID; is its first line the names of the columns?")
    return {_OF_COLUMN[name]: value for name, value in row.items() if name in _OF_COLUMN}


def _platform_list(models: Iterable[Mapping[str, Any]]) -> ModelList:
    found = ModelList(remarks=["Prices are not loaded: those of the price list hold, or add your own under Prices."])
    for entry in models:
        model_id = _text(entry["id"])
        if _is_embedding(entry):
            found.remarks.append(f"Left out {model_id}: it makes embeddings, not answers.")
            continue
        provider = _provider(model_id, entry, found.remarks)
        found.records[model_id] = _of_platform(model_id, provider, entry)
    return found


def _is_embedding(entry: Mapping[str, Any]) -> bool:
    return _number(entry, "outputTokenLimit") == 0 and _number(entry, "outputTokenCost") == 0


def _provider(model_id: str, entry: Mapping[str, Any], remarks: list[str]) -> str:
    """As the record says, but for models that it files under Bedrock and that are not there (section 1.2: TRAP)."""
    said = _text(entry.get("provider")).lower()
    known = shipped_card(model_id)
    if said == "bedrock" and known is not None and known.provider != said:
        remarks.append(f"{model_id} is filed under Bedrock but is a model of {known.provider}: put right.")
        return known.provider
    return said or (known.provider if known else "compatible")


def _of_platform(model_id: str, provider: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    """What the record says, over what we know of the model anyway."""
    known = known_card(model_id, provider=provider)
    facts = {name: getattr(known, name) for name in CARD_FIELDS} | {"efforts": list(known.efforts)}
    for key, name in _TEXTS.items():
        facts[name] = _text(entry.get(key)) or facts[name]
    for key, name in _COUNTS.items():
        # -1 and 0 are its ways to say that nobody knows.
        facts[name] = count if (count := int(_number(entry, key))) > 0 else facts[name]
    for key, name in _SAME.items():
        if entry.get(key) not in (None, ""):
            facts[name] = _truth(entry[key])
    if entry.get("supportsReasoning") not in (None, ""):
        reasons = _truth(entry["supportsReasoning"])
        facts["thinking"] = (known.thinking or _THINKS.get(provider, "")) if reasons else ""
    return facts | _availability(entry)


def _availability(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Available to all, or to some groups only, or to nobody. The API lists only what is available to its caller."""
    listed = entry.get("exclusiveGroupAvailability")
    groups = [str(name) for name in listed] if isinstance(listed, list) else []
    if _truth(entry.get("isAvailable", True)):
        return {"enabled": True, "groups": []}
    return {"enabled": bool(groups), "groups": groups}


def _text(value: Any) -> str:
    # Some of the platform's rows have quotation marks around their texts.
    return str(value).strip().strip('"').strip() if value is not None else ""


def _truth(value: Any) -> bool:
    return value.strip().lower() == "true" if isinstance(value, str) else bool(value)


def _number(entry: Mapping[str, Any], key: str) -> float:
    """-1 if it says nothing."""
    value = entry.get(key)
    try:
        number = -1.0 if value in (None, "") else float(value)
    except (TypeError, ValueError) as error:
        raise _no_number(entry, key) from error
    if not abs(number) <= MAX_NUMBER:  # nor is what is no number at all
        raise _no_number(entry, key)
    return int(number) if number.is_integer() else number


def _no_number(entry: Mapping[str, Any], key: str) -> ModelListError:
    return ModelListError(f"{entry['id']}: {key} should be a number, not {str(entry[key])[:_SHOWN]!r}.")
