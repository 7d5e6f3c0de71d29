"""The catalogue of models: edited through the admin's pages, read through CardBook."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.db import IntegrityError, OperationalError
from django.test import Client

from accounts.models import User
from core.testing import own_blocking_thread
from llm import cards
from llm.cards import CardBook
from llm.models import DefaultModel, ModelEntry
from tests.llm.askers import member_of

MODELS = "/admin/llm/modelentry/"
DEFAULTS = "/admin/llm/defaultmodel/"
FORM = {
    "model_id": "house-model", "name": "House model", "provider": "compatible", "vendor_id": "", "description": "",
    "enabled": "on", "groups": "[]", "fallback": "", "position": "0", "context_window": "8192", "output_limit": "",
    "images": "on", "tools": "on", "thinking": "", "structured_output": "native", "system_prompt": "", "extra": "{}",
}  # fmt: skip


@pytest.fixture(autouse=True)
def own_thread() -> Iterator[None]:
    with own_blocking_thread():
        yield


@pytest.fixture
def editor(client: Client, django_user_model: type[User]) -> Client:
    client.force_login(django_user_model.objects.create(username="editor", is_staff=True, is_superuser=True))
    return client


def _entry(model_id: str, **fields: Any) -> ModelEntry:
    return ModelEntry.objects.create(**{"model_id": model_id, "name": model_id, "provider": "openai"} | fields)


def _post(client: Client, url: str, **fields: str) -> str:
    """The page's text if the form was refused, else empty."""
    response = client.post(url, FORM | fields)
    return "" if response.status_code == 302 else response.content.decode().replace("&#x27;", "'")


@pytest.mark.django_db
def test_a_model_is_added_found_and_switched_off_in_the_admin(editor: Client) -> None:
    assert _post(editor, f"{MODELS}add/") == ""
    entry = ModelEntry.objects.get(model_id="house-model")
    assert (entry.context_window, entry.output_limit, entry.sampling) == (8192, None, False)
    assert "House model" in editor.get(MODELS, {"q": "house", "provider__exact": "compatible"}).content.decode()

    change = f"{MODELS}{entry.pk}/change/"
    assert _post(editor, change, model_id="renamed", name="Home model", groups='["physics"]') == ""
    entry.refresh_from_db()
    assert (entry.model_id, entry.name, entry.groups) == ("house-model", "Home model", ["physics"])

    DefaultModel.objects.create(role="default", model=entry)
    page = editor.post(MODELS, {"action": "disable", "_selected_action": [entry.pk]}, follow=True).content.decode()
    assert "1 model(s) disabled." in page and "choose another one under Default models" in page
    entry.refresh_from_db()
    assert not entry.enabled
    assert LogEntry.objects.filter(change_message="Disabled.").exists()


@pytest.mark.django_db
def test_an_empty_list_says_how_it_is_filled(editor: Client) -> None:
    assert "manage.py load_models" in editor.get(MODELS).content.decode()
    _entry("gpt-4o")
    assert "manage.py load_models" not in editor.get(MODELS).content.decode()
    assert "manage.py load_models" not in editor.get(MODELS, {"q": "nothing of that name"}).content.decode()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"groups": '{"a": 1}'}, "Write a list of group names"),
        ({"groups": "[1]"}, "Write a list of group names"),
        ({"extra": "[1]"}, "Write an object"),
        ({"efforts": '["low", "utmost"]'}, "Write a list like"),
        ({"provider": "nobody"}, "Select a valid choice"),
        ({"context_window": "0"}, "greater than or equal to 1"),
        ({"model_id": "gpt-4o"}, "already exists"),
    ],
)
def test_the_admin_says_what_to_write(editor: Client, fields: dict[str, str], sentence: str) -> None:
    _entry("gpt-4o")
    assert sentence in _post(editor, f"{MODELS}add/", **fields)
    assert ModelEntry.objects.count() == 1


@pytest.mark.django_db
def test_empty_lists_may_be_left_empty(editor: Client) -> None:
    assert _post(editor, f"{MODELS}add/", groups="", extra="") == ""
    assert ModelEntry.objects.get().groups == []


@pytest.mark.django_db
def test_fallbacks_never_lead_back(editor: Client) -> None:
    first = _entry("first")
    _entry("third", fallback=_entry("second", fallback=first))
    third = str(ModelEntry.objects.get(model_id="third").pk)
    page = _post(editor, f"{MODELS}{first.pk}/change/", fallback="third")
    assert "choose a model whose own fallbacks do not lead back to first" in page
    assert _post(editor, f"{MODELS}{third}/change/", fallback="nowhere") != ""
    assert _post(editor, f"{MODELS}{first.pk}/change/", fallback="first") != ""
    with pytest.raises(IntegrityError):
        ModelEntry.objects.filter(pk=first.pk).update(fallback="first")


@pytest.mark.django_db
def test_a_disabled_model_becomes_no_default(editor: Client) -> None:
    _entry("off", enabled=False)
    page = editor.post(f"{DEFAULTS}add/", {"role": "default", "model": "off"}).content.decode()
    assert "Enable it first, or choose another model." in page
    _entry("on")
    assert editor.post(f"{DEFAULTS}add/", {"role": "default", "model": "on"}).status_code == 302


@pytest.mark.django_db
@pytest.mark.parametrize(
    "wrong", [{"provider": "x"}, {"thinking": "x"}, {"structured_output": "x"}, {"output_limit": 0}, {"model_id": ""}]
)
def test_the_database_refuses_impossible_models(wrong: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError):
        _entry(**{"model_id": "m"} | wrong)


@pytest.mark.django_db(transaction=True)
async def test_cards_come_from_the_table_over_the_shipped_file_over_nothing() -> None:
    await _made("gpt-4o", name="Ours", provider="azure", context_window=7, groups=["physics"])
    book = CardBook()
    ours = await book.card("gpt-4o", provider="compatible")
    assert (ours.name, ours.provider, ours.context_window) == ("Ours", "azure", 7)
    assert (await book.card("gpt-4o", provider="openai")).provider == "openai"  # the endpoint knows better

    mini = await book.card("gpt-5-mini-2025-08-07", provider="azure")
    assert (mini.id, mini.provider, mini.thinking, mini.sampling) == ("gpt-5-mini-2025-08-07", "azure", "effort", False)
    claude = await book.card("us.anthropic.claude-sonnet-4-5-20250929-v1:0", provider="bedrock")
    assert (claude.context_window, claude.output_limit, claude.image_urls) == (200_000, 64_000, False)
    assert claude.wire_id == "us.anthropic.claude-sonnet-4-5-20250929-v1:0"

    unknown = await book.card("who.knows", provider="bedrock")
    assert (unknown.name, unknown.context_window, unknown.image_urls) == ("who.knows", None, False)


async def _may_use(book: CardBook, model_id: str, *groups: str) -> bool:
    return (await book.rules_for(member_of(*groups))).may_use(model_id)


@pytest.mark.django_db(transaction=True)
async def test_groups_fallbacks_and_roles() -> None:
    await _made("last")
    await _made("off", enabled=False, fallback_id="last")
    await _made("closed", groups=["physics"], fallback_id="off")
    await DefaultModel.objects.acreate(role="default", model_id="last")
    await DefaultModel.objects.acreate(role="cheapest", model_id="off")
    await DefaultModel.objects.acreate(role="advanced", model_id="closed")
    book = CardBook()
    inside, outside = await book.rules_for(member_of("law", "physics")), await book.rules_for(member_of())
    assert inside.may_use("closed") and not outside.may_use("closed")
    assert outside.may_use("last") and outside.may_use("not in the table")
    assert not inside.may_use("off")
    assert outside.fallback_of("closed") == "last"  # past the one that is off
    assert outside.fallback_of("last") is None and outside.fallback_of("nowhere") is None
    expected = {"default": "last", "advanced": "closed", "cheapest": "last", "document_caching": "last"}
    assert outside.roles == expected
    assert outside.in_order(["x", "off", "closed"]) == ["closed", "off", "x"]


@pytest.mark.django_db(transaction=True)
async def test_a_change_is_seen_at_once() -> None:
    book = CardBook(seconds=3600)
    await _made("gpt-4o", name="Before")
    assert (await book.card("gpt-4o", provider="")).name == "Before"
    entry = await ModelEntry.objects.aget()
    entry.name, entry.enabled = "After", False
    await entry.asave()
    assert (await book.card("gpt-4o", provider="")).name == "After"
    assert not await _may_use(book, "gpt-4o")
    await entry.adelete()
    assert await _may_use(book, "gpt-4o")


@pytest.mark.django_db(transaction=True)
async def test_a_database_that_is_away_lets_nobody_in_and_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    await _made("closed", groups=["physics"])
    read = cards._read_table
    away = _Away(read)
    monkeypatch.setattr(cards, "_read_table", away)
    book = CardBook(seconds=0)
    monkeypatch.setattr("core.remembered.RETRY_SECONDS", 0)
    assert not await _may_use(book, "closed", "physics") and not await _may_use(book, "gpt-4o", "physics")
    assert (await book.card("gpt-4o", provider="openai")).context_window == 128_000
    away.back = True
    assert await _may_use(book, "closed", "physics")
    away.back = False
    assert await _may_use(book, "closed", "physics") and not await _may_use(book, "closed")


class _Away:
    """A database that is away until it is back."""

    def __init__(self, read: Callable[[], Any]) -> None:
        self._read = read
        self.back = False

    def __call__(self) -> Any:
        if not self.back:
            raise OperationalError("away")
        return self._read()


async def _made(model_id: str, **fields: Any) -> None:
    await ModelEntry.objects.acreate(**{"model_id": model_id, "name": model_id, "provider": "openai"} | fields)
