"""What a call is expected to cost, beside what the price list says of exactly that."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.events import Usage
from llm.messages import Message, ModelRequest
from llm.model import ModelCard
from usage.estimates import TYPICAL_OUTPUT_TOKENS, expected_cost, expected_usage
from usage.prices import cost_of

CARD = ModelCard(id="gpt-4o", name="GPT-4o", provider="openai")
GEMINI = ModelCard(id="gemini-2.5-pro", name="Gemini", provider="gemini")


@given(card=st.sampled_from([CARD, GEMINI]), tokens=st.integers(0, 300_000), output=st.integers(0, 5_000))
def test_the_expected_cost_is_that_of_the_price_list(card: ModelCard, tokens: int, output: int) -> None:
    usage = Usage(input=tokens, output=output)
    exact, expected = cost_of(card, usage), expected_cost(card, usage)
    assert 0 <= expected.micro_dollars - exact.micro_dollars <= 1 and expected.price_version == exact.price_version


@pytest.mark.parametrize(
    ("asked", "can", "expected"),
    [(None, None, TYPICAL_OUTPUT_TOKENS), (50, None, 50), (64_000, 32_000, TYPICAL_OUTPUT_TOKENS), (500, 100, 100)],
)
def test_the_output_is_what_is_asked_for_within_what_is_typical(
    asked: int | None, can: int | None, expected: int
) -> None:
    card = ModelCard(id="m", name="m", provider="openai", output_limit=can)
    request = ModelRequest(messages=(Message.of("user", "hi"),), max_output_tokens=asked)
    assert expected_usage(card, request).output == expected


def test_the_input_is_no_more_than_the_model_can_read() -> None:
    request = ModelRequest(messages=(Message.of("user", "word " * 1_000),))
    assert 1_250 <= expected_usage(CARD, request).input <= 1_300
    card = ModelCard(id="m", name="m", provider="openai", context_window=100)
    assert expected_usage(card, request).input == 100
