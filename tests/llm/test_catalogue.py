"""Which models there are while their sources come and go: a unit test, since no server fails on command so finely."""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from core.errors import Unavailable, UnknownModel
from core.http import HttpClient, HttpTimeouts
from llm.catalogue import Asker, Catalogue, ListedModels, Role, is_for_chat
from llm.endpoints import base_endpoint
from llm.events import Event
from llm.messages import ModelRequest
from llm.model import Model, ModelCard
from tests.llm.askers import member_of


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


class _Rules:
    """Everybody may use everything but what is `closed`; `after` says who answers for whom."""

    def __init__(self, closed: str = "", default: str = "", after: dict[str, str] | None = None, **roles: str) -> None:
        self.closed, self.after = closed, after or {}
        self.roles = roles | ({"default": default} if default else {})

    async def rules_for(self, asker: Asker) -> "_Given":
        return _Given(self, asker.groups)


class _Given:
    def __init__(self, rules: _Rules, groups: AbstractSet[str]) -> None:
        self._rules, self._groups = rules, groups

    @property
    def roles(self) -> Mapping[str, str]:
        return self._rules.roles

    def may_use(self, model_id: str) -> bool:
        return model_id != self._rules.closed or "lab" in self._groups

    def fallback_of(self, model_id: str) -> str | None:
        return self._rules.after.get(model_id)

    def in_order(self, model_ids: Iterable[str]) -> list[str]:
        return list(model_ids)


async def _ids(catalogue: Catalogue, model_id: str | None, *groups: str) -> list[str]:
    return [model.card.id for model in await catalogue.find(model_id, member_of(*groups))]


def _now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Catalogue, "REFRESH_SECONDS", 0.0)


async def test_the_default_is_the_first_sources_as_soon_as_it_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    _now(monkeypatch)
    catalogue = Catalogue([_Listing(None, ["real"]), _Listing(["small"])], _Rules())
    assert await _ids(catalogue, None) == ["small"]
    assert await _ids(catalogue, "real") == ["real"]
    assert await _ids(catalogue, None) == ["real"]


async def test_a_source_that_answers_no_more_keeps_its_models(monkeypatch: pytest.MonkeyPatch) -> None:
    _now(monkeypatch)
    catalogue = Catalogue([_Listing(["real"], None)], _Rules())
    assert await _ids(catalogue, "real") == ["real"]
    with pytest.raises(UnknownModel, match="choose one of: real"):
        await catalogue.find("other", member_of())
    assert await _ids(catalogue, "real") == ["real"]


async def test_unknown_names_do_not_make_us_ask_again_and_again() -> None:
    listing = _Listing(["real"])
    catalogue = Catalogue([listing], _Rules())
    for _ in range(5):
        with pytest.raises(UnknownModel):
            await catalogue.find("other", member_of())
    assert listing.asked == 1


async def test_who_may_use_what_and_who_answers_for_whom() -> None:
    rules = _Rules(closed="b", default="b", after={"a": "b", "b": "c", "c": "a"})
    catalogue = Catalogue([_Listing(["a", "b", "c"])], rules)
    assert await _ids(catalogue, None) == ["a", "c"]
    assert await _ids(catalogue, None, "lab") == ["b", "c", "a"]
    with pytest.raises(UnknownModel) as refused:
        await catalogue.find("b", member_of())
    assert "choose one of: a, c" in str(refused.value)


@pytest.mark.parametrize(
    ("role", "groups", "found"),
    [
        ("default", (), "a"),
        ("cheapest", (), "c"),
        ("document_caching", (), "c"),  # has none of its own
        ("advanced", ("lab",), "b"),
        ("advanced", (), "a"),  # its own is not for everybody
    ],
)
async def test_the_model_of_a_role(role: Role, groups: tuple[str, ...], found: str) -> None:
    rules = _Rules(closed="b", default="a", advanced="b", cheapest="c", after={"b": "c"})
    models = await Catalogue([_Listing(["c", "b", "a"])], rules).find_role(role, member_of(*groups))
    assert models[0].card.id == found
    assert [model.card.id for model in models[1:]] == (["c"] if found == "b" else [])


async def test_without_roles_the_default_model_serves_them_all() -> None:
    catalogue = Catalogue([_Listing(["a", "b"])], _Rules(cheapest="gone"))
    assert [model.card.id for model in await catalogue.find_role("document_caching", member_of())] == ["a"]
    with pytest.raises(Unavailable):
        await Catalogue([_Listing([])], _Rules(cheapest="a")).find_role("cheapest", member_of())


async def test_a_source_that_trips_takes_no_other_along() -> None:
    async def broken() -> Sequence[Model] | None:
        raise ValueError("a bad address")

    assert await _ids(Catalogue([broken, _Listing(["real"])], _Rules()), None) == ["real"]


async def test_a_long_list_is_read_to_its_end() -> None:
    """In two writes, as every list of a real vendor comes."""
    body = orjson.dumps({"data": [{"id": f"model-{n}"} for n in range(5_000)]})

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for part in (body[:9_000], body[9_000:]):
            await response.write(part)
            await asyncio.sleep(0.01)  # so that they are two reads for whoever reads but once
        return response

    async def make(model_id: str) -> Model:
        return _Model(model_id)

    app = web.Application()
    app.router.add_get("/v1/models", answer)
    client = HttpClient(timeouts=HttpTimeouts())
    async with TestServer(app) as server:
        base = f"http://127.0.0.1:{server.port}/v1"
        listed = await ListedModels(base_url=base, endpoint=base_endpoint(base, ""), client=client, make=make)()
    await client.aclose()
    assert listed is not None and len(listed) == 5_000


async def test_no_model_at_all_says_what_to_do() -> None:
    with pytest.raises(Unavailable, match="OPENAI_API_KEY"):
        await Catalogue([_Listing([])], _Rules()).find(None, member_of())


@pytest.mark.parametrize("name", ["text-embedding-3-large", "whisper-1", "code-interpreter", "x" * 256])
def test_what_is_not_for_chat_is_not_offered(name: str) -> None:
    assert not is_for_chat(name) and is_for_chat("gpt-4o")
