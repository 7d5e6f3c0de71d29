"""Counting tokens: the numbers that budgets and windows rest on, so the functions are asked directly."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm import tokens
from llm.messages import Image, Message, ModelRequest, OutputSchema, Reasoning, Text, Tool, ToolCall, ToolResult
from llm.model import ModelCard
from llm.tokens import (
    INLINE_BYTES,
    count_messages,
    count_request,
    count_text,
    counter_of,
    encoding_of,
    estimate_messages,
    estimate_text,
    request_tokens,
    utf8_length,
)


def card(model_id: str = "gpt-4o", provider: str = "openai") -> ModelCard:
    return ModelCard(id=model_id, name=model_id, provider=provider)


OPENAI, OTHER = card(), card("claude", "anthropic")
# Built from code points, so that lone surrogates and NUL are among them.
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=200)


@pytest.mark.parametrize(
    ("model_id", "provider", "encoding"),
    [
        ("gpt-4o", "openai", "o200k_base"),
        ("gpt-4.1-mini", "azure", "o200k_base"),
        ("gpt-5", "openai", "o200k_base"),
        ("our-deployment", "azure", "o200k_base"),
        ("gpt-4", "openai", "cl100k_base"),
        ("gpt-4-turbo-2024-04-09", "openai", "cl100k_base"),
        ("gpt-35-turbo", "azure", "cl100k_base"),
        ("gpt-3.5-turbo", "openai", "cl100k_base"),
        ("gpt-4", "compatible", None),
        ("claude", "bedrock", None),
        ("smollm2", "embedded", None),
    ],
)
def test_the_vocabulary_follows_from_the_card(model_id: str, provider: str, encoding: str | None) -> None:
    assert encoding_of(card(model_id, provider)) == encoding


def test_an_azure_deployment_is_known_by_either_of_its_names() -> None:
    azure = ModelCard(id="gpt-4", vendor_id="prod-1", name="GPT-4", provider="azure")
    assert encoding_of(azure) == "cl100k_base"


@pytest.mark.parametrize(
    ("text", "o200k", "cl100k"),
    [
        ("", 0, 0),
        ("hello world", 2, 2),
        ("tiktoken is great!", 6, 6),  # https://cookbook.openai.com, "How to count tokens with tiktoken"
        ("antidisestablishmentarianism", 6, 6),
        ("お誕生日おめでとう", 8, 9),
    ],
)
def test_published_counts(text: str, o200k: int, cl100k: int) -> None:
    """From the same page of OpenAI's."""
    assert count_text(text, card=OPENAI) == o200k
    assert count_text(text, card=card("gpt-4")) == cl100k


@pytest.mark.parametrize("text", ["<|endoftext|>", "a<|fim_prefix|>b", "\ud800", "x\udfffy", "\0", "\0" * 1000, "🤖"])
def test_odd_texts_are_texts(text: str) -> None:
    for model in (OPENAI, card("gpt-4"), OTHER):
        assert 0 < count_text(text, card=model) <= utf8_length(text)


def test_a_marker_is_counted_as_it_is_written() -> None:
    assert count_text("<|endoftext|>", card=OPENAI) > 1


@given(text=ANY_TEXT)
def test_no_token_is_shorter_than_a_byte(text: str) -> None:
    for model in (OPENAI, OTHER):
        assert count_text(text, card=model) <= utf8_length(text)


@pytest.mark.parametrize("text", ["word " * 400_000, "a" * 2_000_000, " " * 2_000_000, "ab1" * 700_000])
def test_megabytes_take_as_much_longer_as_they_are(text: str) -> None:
    """Where time grew with the square of the length, eight times the text would take 64 times as long."""
    counter_of(OPENAI)("loaded")
    eighth, whole = (_seconds_for(text[: len(text) // parts]) for parts in (8, 1))
    assert whole < 32 * eighth


def _seconds_for(text: str) -> float:
    started = time.thread_time()
    assert 0 < count_text(text, card=OPENAI) < len(text)
    return time.thread_time() - started


def test_estimates_for_models_whose_vocabulary_we_do_not_have() -> None:
    assert count_text("x" * 41, card=OTHER) == estimate_text("x" * 41) == 11
    assert estimate_messages([Message.of("user", "x" * 40), Message.of("assistant", "é" * 20)]) == 4 + 10 + 4 + 10


SAMPLE = ModelRequest(
    messages=(
        Message(role="user", parts=(Text("look"), Image.of("image/png", b"\0" * 5_000_000))),
        Message(
            role="assistant",
            parts=(Reasoning(text="hm", signature="s" * 999), ToolCall(id="1", name="find", arguments='{"q":"x"}')),
        ),
        Message(role="user", parts=(ToolResult(call_id="1", name="find", text="found it"),)),
    ),
    tools=(Tool(name="find", description="Finds.", parameters={"type": "object", "required": ["q"], "x": (1, None)}),),
    output=OutputSchema(schema={"type": "object"}),
)


@pytest.mark.parametrize("model", [OPENAI, OTHER])
async def test_every_part_of_a_request_counts(model: ModelCard) -> None:
    whole = await count_request(SAMPLE, card=model)
    assert whole > await count_messages(SAMPLE.messages, card=model) > tokens.IMAGE_TOKENS
    for message in SAMPLE.messages:
        for part in message.parts:
            assert tokens.message_tokens(Message(role="user", parts=(part,)), counter_of(model)) > 4
    assert whole < tokens.IMAGE_TOKENS + 200  # neither the image's bytes nor signatures are text
    assert whole <= request_tokens(SAMPLE, utf8_length)


async def test_a_schema_of_any_depth_is_counted() -> None:
    schema: dict[str, object] = {}
    for _ in range(50_000):
        schema = {"a": schema}
    request = ModelRequest(messages=(), tools=(Tool(name="t", parameters=schema),))
    assert await count_request(request, card=OTHER) > 25_000


async def test_much_text_is_counted_off_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    counter_of(OPENAI)("loaded")
    calls = []

    async def recorded(function):  # type: ignore[no-untyped-def]
        calls.append(function)
        return function()

    monkeypatch.setattr(tokens.COMPUTING, "run", recorded)
    small = await count_messages([Message.of("user", "hello world")], card=OPENAI)
    assert (small, calls) == (4 + 2 + 3, [])
    assert await count_messages([Message.of("user", "word " * INLINE_BYTES)], card=OPENAI) > INLINE_BYTES
    assert len(calls) == 1


async def test_the_first_count_is_made_off_the_loop_too(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens.preload(OPENAI)  # or what this test loads would be forgotten with its set
    monkeypatch.setattr(tokens, "_loaded", set())
    assert not tokens.counts_at_once(OPENAI, 1)
    assert tokens.counts_at_once(OTHER, 1)
    assert await count_messages([Message.of("user", "hi")], card=OPENAI) == 4 + 1 + 3
    monkeypatch.undo()
    tokens.preload(OPENAI)
    assert tokens.counts_at_once(OPENAI, 1)
