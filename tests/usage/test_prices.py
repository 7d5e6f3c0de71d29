"""Golden invoices: recomputed by hand from list prices."""

import pytest

from llm.events import Usage
from llm.model import ModelCard
from usage.prices import VERSION, cost_of


def _card(provider: str, model: str) -> ModelCard:
    return ModelCard(id=model, name=model, provider=provider)


@pytest.mark.parametrize(
    ("provider", "model", "usage", "micro_dollars"),
    [
        # 1 M input tokens of which 90 % cached at 2.50 / 1.25 $ per M
        ("openai", "gpt-4o", Usage(input=100_000, cache_read=900_000), 1_375_000),
        # 3 uncached + 12,304 cache write + 550 output at 3 / 3.75 / 15 $ per M
        ("anthropic", "claude-3-7-sonnet", Usage(input=3, cache_write=12_304, output=550), 54_399),
        # reasoning is part of the output and not charged again
        ("openai", "gpt-4o", Usage(output=1000, reasoning=400), 10_000),
        ("embedded", "smollm2-135m-instruct", Usage(input=10**6, output=10**6), 0),
    ],
)
def test_golden_invoices(provider: str, model: str, usage: Usage, micro_dollars: int) -> None:
    cost = cost_of(_card(provider, model), usage)
    assert cost.micro_dollars == micro_dollars
    assert cost.price_version in (VERSION, "embedded")


def test_a_missing_price_is_marked() -> None:
    cost = cost_of(_card("compatible", "nobody-knows-this-model"), Usage(output=5))
    assert (cost.micro_dollars, cost.price_version) == (0, "")
