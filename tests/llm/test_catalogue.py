"""Which models there are while their sources come and go: a unit test, since no server fails on command so finely."""

from collections.abc import AsyncGenerator, Sequence

import pytest

from core.errors import UnknownModel
from llm.catalogue import Catalogue, named
from llm.events import Event
from llm.messages import ModelRequest
from llm.model import Model, ModelCard


class _Model:
    def __init__(self, model_id: str) -> None:
        self.card = ModelCard(id=model_id, name=model_id, provider="compatible")

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Event, None]:
        raise AssertionError("not asked here")
        yield


class _Listing:
    """A server that is down at first."""

    def __init__(self, *answers: list[str] | None) -> None:
        self._answers = list(answers)
        self.asked = 0

    async def __call__(self) -> Sequence[Model] | None:
        self.asked += 1
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return None if answer is None else [_Model(name) for name in answer]


def _now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Catalogue, "REFRESH_SECONDS", 0.0)


async def test_the_default_is_the_first_sources_as_soon_as_it_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    _now(monkeypatch)
    catalogue = Catalogue([_Listing(None, ["real"]), named([_Model("small")])])
    assert (await catalogue.find(None)).card.id == "small"
    assert (await catalogue.find("real")).card.id == "real"
    assert (await catalogue.find(None)).card.id == "real"


async def test_a_source_that_answers_no_more_keeps_its_models(monkeypatch: pytest.MonkeyPatch) -> None:
    _now(monkeypatch)
    catalogue = Catalogue([_Listing(["real"], None)])
    await catalogue.find("real")
    with pytest.raises(UnknownModel, match="choose one of: real"):
        await catalogue.find("other")
    assert (await catalogue.find("real")).card.id == "real"


async def test_unknown_names_do_not_make_us_ask_again_and_again() -> None:
    listing = _Listing(["real"])
    catalogue = Catalogue([listing])
    for _ in range(5):
        with pytest.raises(UnknownModel):
            await catalogue.find("other")
    assert listing.asked == 1


async def test_what_is_not_for_chat_is_not_offered() -> None:
    catalogue = Catalogue([named([_Model("text-embedding-3-large"), _Model("x" * 256), _Model("gpt-4o")])])
    assert [model.card.id for model in await catalogue.models()] == ["gpt-4o"]
