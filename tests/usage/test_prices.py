"""Golden invoices: recomputed by hand from list prices. Prices of our own: added in the admin, used at once."""

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, OperationalError
from django.test import Client
from django.utils import timezone
from structlog.testing import capture_logs

from accounts.models import User
from core.testing import own_blocking_thread
from llm.events import Usage
from llm.model import ModelCard
from llm.shipped import shipped_cards
from usage import price_list
from usage import prices as prices_module
from usage.models import Price
from usage.prices import VERSION, PriceBook, cost_of

URL = "/admin/usage/price/"
MILLION = 10**6


@pytest.fixture(autouse=True)
def own_thread() -> Iterator[None]:
    with own_blocking_thread():
        yield


def _card(provider: str, model: str, **more: str) -> ModelCard:
    return ModelCard(id=model, name=model, provider=provider, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("provider", "model", "usage", "micro_dollars"),
    [
        # 1 M input tokens of which 90 % cached at 2.50 / 1.25 $ per M
        ("openai", "gpt-4o", Usage(input=100_000, cache_read=900_000), 1_375_000),
        # 3 uncached + 12,304 cache write + 550 output at 3 / 3.75 / 15 $ per M
        ("anthropic", "claude-3-7-sonnet", Usage(input=3, cache_write=12_304, output=550), 54_399),
        (
            "bedrock",
            "us.anthropic.claude-3-7-sonnet-20250219-v1:0",
            Usage(input=3, cache_write=12_304, output=550),
            54_399,
        ),
        # 6 uncached + 159,217 cache write + 2,745 output at 5 / 6.25 / 25 $ per M: 1,063,761.25 micro-dollars
        ("anthropic", "claude-opus-4-5-20251101", Usage(input=6, cache_write=159_217, output=2745), 1_063_761),
        # 10,000 written for minutes at 3.75, 20,000 for an hour at 6 $ per M; a tenth more in a region of Bedrock
        ("anthropic", "claude-sonnet-4-5", Usage(cache_write=30_000, cache_write_1h=20_000), 157_500),
        (
            "bedrock",
            "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
            Usage(cache_write=30_000, cache_write_1h=20_000),
            173_250,
        ),
        # reasoning is part of the output and not charged again
        ("openai", "gpt-4o", Usage(output=1000, reasoning=400), 10_000),
        # over 200,000 tokens of input, cached ones included, everything costs 2.50 / 0.25 / 15 $ per M
        ("gemini", "gemini-2.5-pro", Usage(input=100_000, cache_read=100_000, output=1000), 147_500),
        ("gemini", "gemini-2.5-pro", Usage(input=100_001, cache_read=100_000, output=1000), 290_002),
        ("gemini", "models/gemini-2.5-flash", Usage(input=MILLION), 300_000),
        ("azure", "gpt-4o", Usage(input=MILLION), 2_500_000),
        ("azure", "o3", Usage(output=MILLION), 8_000_000),
        ("compatible", "gpt-4o", Usage(input=MILLION), 2_500_000),
        ("bedrock", "eu.amazon.nova-pro-v1:0", Usage(input=MILLION), 800_000),
        ("bedrock", "meta.llama3-3-70b-instruct-v1:0", Usage(output=MILLION), 720_000),
        # without a region: as in its own one
        ("bedrock", "amazon.nova-2-lite-v1:0", Usage(input=MILLION), 330_000),
        ("bedrock", "global.amazon.nova-2-lite-v1:0", Usage(input=MILLION), 300_000),
        ("embedded", "smollm2-135m-instruct", Usage(input=MILLION, output=MILLION), 0),
    ],
)
def test_golden_invoices(provider: str, model: str, usage: Usage, micro_dollars: int) -> None:
    cost = cost_of(_card(provider, model), usage)
    assert cost.micro_dollars == micro_dollars
    assert cost.price_version in (VERSION, "embedded")


@pytest.mark.parametrize("card", shipped_cards().values(), ids=lambda card: card.id)
def test_every_model_that_comes_with_the_service_has_a_price(card: ModelCard) -> None:
    assert cost_of(card, Usage(input=MILLION, output=MILLION)).micro_dollars > 0


def test_the_vendors_own_name_tells_the_price_but_a_deployments_does_not() -> None:
    alias = _card("openai", "house", vendor_id="gpt-4o")
    assert cost_of(alias, Usage(input=MILLION)).micro_dollars == 2_500_000
    deployed = _card("azure", "gpt-4o", vendor_id="gpt-4")  # somebody's deployment, named at will
    assert cost_of(deployed, Usage(input=MILLION)).micro_dollars == 2_500_000


def test_a_missing_price_is_marked_and_told_once() -> None:
    card = _card("compatible", "nobody-knows-this-model")
    price_list._listed.cache_clear()
    with capture_logs() as logs:
        for _ in range(3):
            cost = cost_of(card, Usage(output=5))
    assert (cost.micro_dollars, cost.price_version) == (0, "")
    assert [line["model"] for line in logs if line["event"] == "price_missing"] == ["nobody-knows-this-model"]


def _price(model: str, **fields: Any) -> Price:
    return Price.objects.create(**{"model_id": model, "input": Decimal(1), "output": Decimal(2)} | fields)


@pytest.mark.django_db(transaction=True)
async def test_a_price_of_our_own_goes_before_the_list() -> None:
    book, usage = PriceBook(seconds=3600), Usage(input=10, cache_read=100, cache_write=1000, output=10_000)
    await book.refresh()
    now = timezone.now()
    hour = timedelta(hours=1)
    gpt, azure = _card("openai", "gpt-4o"), _card("azure", "gpt-4o")
    assert book.cost_of(gpt, usage).price_version == VERSION

    first = await Price.objects.acreate(
        model_id="gpt-4o", input="3", cache_read="0.3", cache_write="3.75", output="15", valid_from=now - hour
    )
    await book.refresh()
    # 30 + 30 + 3,750 + 150,000
    assert book.cost_of(gpt, usage) == prices_module.Cost(153_810, f"local {first.pk}")
    assert book.cost_of(gpt, usage, now=now - 2 * hour).price_version == VERSION  # before it held

    at_azure = await Price.objects.acreate(
        model_id="gpt-4o", provider="azure", input="1", output="0", valid_from=now - hour
    )
    later = await Price.objects.acreate(model_id="gpt-4o", input="0", output="0", valid_from=now + hour)
    await book.refresh()
    assert book.cost_of(gpt, usage).price_version == first.version
    assert book.cost_of(azure, usage) == prices_module.Cost(1110, at_azure.version)  # cached tokens as input
    assert book.cost_of(gpt, usage, now=now + 2 * hour) == prices_module.Cost(0, later.version)

    await Price.objects.acreate(model_id="gpt-4o", valid_from=now - timedelta(minutes=1))
    await book.refresh()
    assert book.cost_of(gpt, usage).price_version == VERSION  # given up again


@pytest.mark.django_db(transaction=True)
async def test_a_database_that_is_away_leaves_the_last_prices(monkeypatch: pytest.MonkeyPatch) -> None:
    await Price.objects.acreate(model_id="house", input="1", output="2")
    book, house = PriceBook(seconds=0), _card("embedded", "house")
    await book.refresh()

    def away() -> None:
        raise OperationalError("away")

    monkeypatch.setattr(Price.objects, "order_by", lambda *_: away())
    await book.refresh()
    assert book.cost_of(house, Usage(output=MILLION)).micro_dollars == 2_000_000


@pytest.mark.django_db
def test_prices_are_added_in_the_admin_and_never_changed(client: Client, django_user_model: type[User]) -> None:
    client.force_login(django_user_model.objects.create(username="finance", is_staff=True, is_superuser=True))
    old = _price("house", valid_from=timezone.now() - timedelta(days=9))
    coming = _price("house", valid_from=timezone.now() + timedelta(days=9))
    form = {
        "model_id": "house", "provider": "", "input": "1.5", "cache_read": "", "cache_write": "", "output": "6",
        "valid_from_0": timezone.now().date().isoformat(), "valid_from_1": "00:00:00", "note": "contract 12",
    }  # fmt: skip
    assert client.post(f"{URL}add/", form).status_code == 302
    new = Price.objects.get(note="contract 12")
    assert (new.created_by, new.input) == ("finance", Decimal("1.5"))

    rows = {row.pk: row.used for row in client.get(URL).context["cl"].result_list}
    assert rows == {old.pk: False, new.pk: True, coming.pk: False}
    page = client.get(f"{URL}{new.pk}/change/").content.decode()
    assert "contract 12" in page and 'name="_save"' not in page
    assert client.post(f"{URL}{new.pk}/change/", form).status_code == 403
    assert client.post(f"{URL}{new.pk}/delete/", {"post": "yes"}).status_code == 403
    refused = client.post(f"{URL}add/", form | {"output": ""}).content.decode()
    assert "Give both input and output" in refused


@pytest.mark.django_db
def test_a_price_stays_as_it_is() -> None:
    price = _price("house")
    price.input = Decimal(9)
    with pytest.raises(TypeError, match="Add a new one"):
        price.save()
    with pytest.raises(TypeError, match="Add a new one"):
        price.delete()


@pytest.mark.django_db
@pytest.mark.parametrize(
    "wrong", [{"input": Decimal(-1)}, {"output": None}, {"provider": "nobody"}, {"cache_read": Decimal("-0.1")}]
)
def test_the_database_refuses_impossible_prices(wrong: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError):
        _price("house", **wrong)
