"""Facts about current models that come with the service: `data/models.json`.

Windows and ids are those of the vendors' documentation and of the package `genai-prices`; null where neither says.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from llm.model import ModelCard

SHIPPED_FILE = Path(__file__).parent / "data" / "models.json"
# Bedrock's inference profiles: a model's id behind the part of the world that may answer.
_REGION = re.compile(r"^(?:us-gov|us|eu|apac|ap|jp|au|ca|sa|global)\.(?=[a-z0-9-]+\.)")
_PLAIN: Mapping[str, Mapping[str, Any]] = {
    "bedrock": {"image_urls": False, "structured_output": "tool"},
    "gemini": {"image_urls": False},
}
_RELEASE = re.compile(r"-(?:20\d{6}|20\d\d-\d\d-\d\d|latest)$")


def read_models(path: Path) -> list[dict[str, Any]]:
    """The entries of a file `{"models": [{"id": …, …}]}`, as they stand."""
    models: list[dict[str, Any]] = json.loads(path.read_text())["models"]
    return models


@cache
def shipped_cards() -> Mapping[str, ModelCard]:
    """Reads a small file once."""
    return {facts["id"]: _card(facts) for facts in read_models(SHIPPED_FILE)}


def _card(facts: Mapping[str, Any]) -> ModelCard:
    return ModelCard(**{**facts, "efforts": tuple(facts.get("efforts", ()))})


def shipped_card(model_id: str) -> ModelCard | None:
    """The facts of a model however it is spelt: with a path, a region or a release date around its name."""
    cards = shipped_cards()
    return next((cards[name] for name in spellings(model_id) if name in cards), None)


def known_card(model_id: str, *, provider: str) -> ModelCard:
    """The facts that come with the service; of a model that they do not have, what its vendor's API takes anyway."""
    if (shipped := shipped_card(model_id)) is not None:
        return replace(shipped, id=model_id, provider=provider or shipped.provider)
    return ModelCard(id=model_id, name=model_id, provider=provider or "compatible", **_PLAIN.get(provider, {}))


def spellings(model_id: str) -> Iterator[str]:
    """The id itself, then without what may stand around a model's name, most exact first.

    `us.anthropic.claude-opus-4-7` → `anthropic.claude-opus-4-7`; `models/gemini-2.5-pro` → `gemini-2.5-pro`;
    `gpt-4o-2024-08-06` → `gpt-4o`.
    """
    yield model_id
    name = _REGION.sub("", model_id.rsplit("/", 1)[-1])
    if name != model_id:
        yield name
    plain = _RELEASE.sub("", name)
    if plain != name:
        yield plain
