"""The platform's tables as the catalogue and the price book see them: pure, but for the reading, which is given."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from structlog.testing import capture_logs

from core.testing import own_blocking_thread
from llm.cards import CardBook
from llm.events import Usage
from llm.model import ModelCard
from llm.platform_models import Item, ModelRate, PlatformModels, card_table, default_models, model_rates
from tests.llm.askers import member_of
from usage.prices import PLATFORM_VERSION, PriceBook

MILLION = 10**6
GPT: dict[str, Any] = {
    "ModelID": "gpt-4o", "ModelName": "GPT-4o", "Provider": "Azure", "Description": "Sees images",
    "InputCostPerThousandTokens": Decimal("0.003"), "OutputCostPerThousandTokens": Decimal("0.012"),
    "CachedCostPerThousandTokens": Decimal("0.001"), "InputCachedCostPerThousandTokens": Decimal("0.0015"),
    "InputWriteCachedCostPerThousandTokens": Decimal(0), "InputContextWindow": Decimal(128000),
    "OutputTokenLimit": Decimal(16384), "Available": True, "Built-In": True, "ExclusiveGroupAvailability": [],
    "SupportsImages": True, "SupportsReasoning": False, "SupportsSystemPrompts": True, "AdditionalSystemPrompt": "Hi.",
    "SupportsImageGeneration": False, "SupportsVideo": False,
}  # fmt: skip
RESERVED = GPT | {"ModelID": "own", "ModelName": "Own", "Available": False, "ExclusiveGroupAvailability": ["physics"]}
HIDDEN = GPT | {"ModelID": "hidden", "ModelName": "Hidden", "Available": False}
UNSAID = {"ModelID": "unsaid", "ModelName": "Unsaid", "Provider": "Bedrock"}
EMBEDS = GPT | {"ModelID": "embeds", "OutputTokenLimit": 0, "OutputCostPerThousandTokens": 0}
BROKEN = GPT | {"ModelID": "broken", "InputContextWindow": "many"}
ITEMS = [RESERVED, HIDDEN, GPT, UNSAID, EMBEDS, BROKEN]
DEFAULTS = {
    "config_id": "defaultModels",
    "data": {"user": "gpt-4o", "advanced": "hidden", "cheapest": None, "agent": "own", "embeddings": "embeds"},
}


@pytest.fixture(autouse=True)
def own_thread() -> Iterator[None]:
    with own_blocking_thread():
        yield


def _platform(items: list[Item] | None = None, defaults: Item | None = None, **more: Any) -> PlatformModels:
    return PlatformModels(read_rates=lambda: items or ITEMS, read_defaults=lambda: defaults or DEFAULTS, **more)


def test_rows_become_cards_whatever_order_they_come_in() -> None:
    with capture_logs() as logs:
        entries = card_table(ITEMS, DEFAULTS).entries
    assert list(entries) == ["gpt-4o", "hidden", "own", "unsaid"]
    card = entries["gpt-4o"].card
    assert (card.name, card.provider, card.context_window, card.output_limit) == ("GPT-4o", "azure", 128_000, 16_384)
    assert (card.system_prompt, card.thinking, card.efforts) == ("Hi.", "", ())
    (refused,) = [line for line in logs if line["event"] == "model_row_not_read"]
    assert "broken: inputContextWindow should be a number" in refused["reason"]


async def test_who_may_use_what() -> None:
    book = CardBook(_platform().table)
    for group, usable in (("", ["gpt-4o"]), ("physics", ["gpt-4o", "own"])):
        names = ("gpt-4o", "own", "hidden", "unsaid", "not-in-the-table")
        rules = await book.rules_for(member_of(group))
        assert [name for name in names if rules.may_use(name)] == usable
        assert rules.in_order(["own", "gpt-4o"]) == ["gpt-4o", "own"]
    assert (await book.card("own", provider="compatible")).provider == "azure"
    others_pass = await CardBook(_platform(is_complete=False).table).rules_for(member_of())
    assert others_pass.may_use("not-in-the-table")


async def test_roles_fall_back_where_theirs_is_not_available() -> None:
    rules = await CardBook(_platform().table).rules_for(member_of())
    assert rules.roles == dict.fromkeys(("default", "advanced", "cheapest", "document_caching"), "gpt-4o")


@pytest.mark.parametrize("defaults", [None, {}, {"data": None}, {"data": {}}])
def test_where_no_defaults_were_ever_saved_the_rows_flags_tell(defaults: Item | None) -> None:
    rows = [GPT | {"UsersDefault": True}, RESERVED | {"DefaultCheapestModel": True, "DefaultAdvancedModel": False}]
    assert default_models(rows, defaults) == {"default": "gpt-4o", "cheapest": "own"}


async def test_a_table_that_cannot_be_read_leaves_what_was_known() -> None:
    answers: list[list[Item] | None] = [[GPT], None]

    def read() -> list[Item]:
        if (answer := answers.pop(0) if len(answers) > 1 else answers[0]) is None:
            raise OSError("throttled")
        return answer

    book = CardBook(PlatformModels(read_rates=read, read_defaults=lambda: None).table, seconds=0)
    for _ in range(3):
        assert (await book.rules_for(member_of())).may_use("gpt-4o")


@pytest.mark.parametrize(
    ("change", "read", "write"),
    [
        ({}, "1.5", "3"),
        ({"InputCachedCostPerThousandTokens": 0}, "1", "3"),
        ({"InputCachedCostPerThousandTokens": None, "CachedCostPerThousandTokens": "0"}, "3", "3"),
        ({"InputWriteCachedCostPerThousandTokens": "0.00375"}, "1.5", "3.75"),
        ({"InputWriteCachedCostPerThousandTokens": Decimal("NaN")}, "1.5", "3"),
    ],
)
def test_rates_of_both_generations_of_the_table(change: dict[str, Any], read: str, write: str) -> None:
    rate = ModelRate(input=Decimal(3), cache_read=Decimal(read), cache_write=Decimal(write), output=Decimal(12))
    assert model_rates([GPT | change]) == {"gpt-4o": rate}


def test_a_row_without_prices_has_no_rate() -> None:
    assert model_rates([UNSAID, GPT | {"OutputCostPerThousandTokens": ""}, {"ModelName": "x"}]) == {}


@pytest.mark.django_db
async def test_the_price_book_goes_by_the_platforms_rates_before_the_price_list() -> None:
    book = PriceBook()
    book.take_rates(_platform().rates)
    await book.refresh()
    card = ModelCard(id="gpt-4o", name="GPT-4o", provider="azure")
    cost = book.cost_of(card, Usage(input=MILLION, cache_read=MILLION, cache_write=MILLION, output=MILLION))
    assert (cost.micro_dollars, cost.price_version) == (19_500_000, PLATFORM_VERSION)
    elsewhere = book.cost_of(ModelCard(id="gpt-4o-mini", name="", provider="openai"), Usage(input=MILLION))
    assert elsewhere.micro_dollars == 150_000 and elsewhere.price_version != PLATFORM_VERSION
