"""What a model is not given because its card says that it cannot take it: pure, hence a unit test."""

from dataclasses import replace
from typing import Any

import pytest

from core.errors import BadRequest
from llm.messages import Effort, Image, Message, ModelRequest, Part, Reasoning, Text, Tool, ToolCall, ToolResult
from llm.model import EFFORTS, ModelCard
from llm.prepare import BLIND_NOTE, Prepared, prepared
from llm.shipped import shipped_cards
from llm.testing import ScriptedModel, ask, listen

PICTURE = Image.of("image/png", b"png")
LINK = Image(url="https://example.org/a.png")
ABLE = ModelCard(id="m", name="Model M", provider="compatible", thinking="effort")


def _card(**facts: Any) -> ModelCard:
    return replace(ABLE, **facts)


def _said(*parts: Part, role: Any = "user") -> ModelRequest:
    return ModelRequest(messages=(Message(role=role, parts=parts),))


def _parts(card: ModelCard, *parts: Part) -> tuple[Part, ...]:
    messages = prepared(card, _said(*parts)).messages
    return messages[0].parts if messages else ()


def test_a_model_that_can_everything_gets_everything() -> None:
    request = ModelRequest(
        messages=(
            Message.of("system", "Be brief."),
            Message(role="user", parts=(Text("What is this?"), PICTURE, LINK)),
            Message(
                role="assistant",
                parts=(Reasoning(text="Hm.", signature="s"), ToolCall(id="1", name="f", arguments="{}")),
            ),
            Message(role="user", parts=(ToolResult(call_id="1", text="found"),)),
        ),
        temperature=0.5,
        top_p=0.9,
        stop=("END",),
        tools=(Tool(name="f"),),
        effort="high",
    )
    assert prepared(ABLE, request) == request


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        ({"thinking": ""}, {"none": None, "high": None, "xhigh": None}),
        ({"thinking": "effort"}, {"none": "low", "minimal": "low", "medium": "medium", "xhigh": "high"}),
        ({"thinking": "budget"}, {"none": "none", "minimal": "minimal", "xhigh": "xhigh"}),
        ({"thinking": "adaptive"}, {"none": "none", "minimal": "none", "xhigh": "high"}),
        ({"efforts": ("minimal", "low", "medium", "high")}, {"none": "minimal", "xhigh": "high"}),
        ({"efforts": ("none", "low", "medium", "high", "xhigh")}, {"minimal": "none", "xhigh": "xhigh"}),
        ({"efforts": ("high",)}, {"none": "high", "low": "high", "xhigh": "high"}),
        ({"efforts": ("high", "low")}, {"none": "low", "medium": "low", "xhigh": "high"}),
        ({"thinking": "", "efforts": ("low",)}, {"low": None}),
    ],
)
def test_a_model_is_told_the_nearest_effort_that_it_knows(facts: dict[str, Any], told: dict[Effort, Effort]) -> None:
    for wanted, nearest in told.items():
        request = replace(_said(Text("?")), effort=wanted)
        assert prepared(_card(**facts), request).effort == nearest, wanted
    assert prepared(_card(**facts), _said(Text("?"))).effort is None


@pytest.mark.parametrize("card", shipped_cards().values(), ids=lambda card: card.id)
def test_what_our_facts_say_of_efforts_is_in_our_words(card: ModelCard) -> None:
    assert set(card.efforts) <= set(EFFORTS)
    assert bool(card.thinking) or not card.efforts


def test_a_blind_model_is_told_that_an_image_stood_there() -> None:
    for image in (PICTURE, LINK):
        assert _parts(_card(images=False, image_urls=False), Text("see"), image) == (Text("see"), Text(BLIND_NOTE))


def test_an_address_is_refused_by_name_where_it_would_not_be_fetched() -> None:
    card = _card(image_urls=False)
    assert _parts(card, PICTURE) == (PICTURE,)
    with pytest.raises(BadRequest, match=r"Model M does not fetch images.*data URL"):
        prepared(card, _said(LINK))


def test_tools_are_refused_by_name() -> None:
    with pytest.raises(BadRequest, match="Model M cannot call tools"):
        prepared(_card(tools=False), ask(tools=[Tool(name="f")]))
    assert prepared(_card(tools=False), ask()) == ask()


@pytest.mark.parametrize("blank", ["", " ", "\n\t", "\u00a0"])
def test_blank_text_is_left_out_and_messages_of_it_too(blank: str) -> None:
    assert _parts(ABLE, Text(blank), PICTURE, Text("x")) == (PICTURE, Text("x"))
    request = ModelRequest(messages=(Message.of("assistant", blank), Message.of("user", "hi")))
    assert prepared(ABLE, request).messages == (Message.of("user", "hi"),)


def test_the_administrators_prompt_goes_before_everything() -> None:
    request = ModelRequest(messages=(Message.of("system", "theirs"), Message.of("user", "hi")))
    found = prepared(_card(system_prompt="ours"), request).messages
    assert [(message.role, message.text) for message in found] == [
        ("system", "ours"),
        ("system", "theirs"),
        ("user", "hi"),
    ]
    found = prepared(_card(system_prompt="ours", system_prompts=False), request).messages
    assert [(message.role, message.text) for message in found] == [("user", "ours"), ("user", "theirs"), ("user", "hi")]


def test_sampling_is_dropped_where_it_would_be_refused() -> None:
    request = replace(ask(), temperature=0.0, top_p=0.5, stop=("END",))
    assert prepared(_card(sampling=False), request) == ask()
    assert prepared(ABLE, request) == request


@pytest.mark.parametrize(
    ("thinking", "effort"), [("", None), ("effort", "low"), ("budget", "low"), ("adaptive", "low")]
)
def test_only_models_that_think_are_told_how_much(thinking: Any, effort: str | None) -> None:
    assert prepared(_card(thinking=thinking), replace(ask(), effort="low")).effort == effort


def test_a_signature_of_another_vendor_is_taken_off_a_tool_call() -> None:
    call = ToolCall(id="1", name="f", arguments="{}", signature="geminis")
    request = _said(call, role="assistant")
    assert prepared(_card(provider="gemini"), request) == request
    assert prepared(_card(provider="openai"), request).messages[0].parts == (replace(call, signature=""),)


async def test_the_wrapper_prepares_with_its_models_card() -> None:
    heard: list[ModelRequest] = []

    class Hearing(ScriptedModel):
        def stream(self, request: ModelRequest) -> Any:
            heard.append(request)
            return super().stream(request)

    model = Prepared(Hearing("fine", card=_card(images=False)))
    assert (await listen(model, _said(PICTURE))).text == "fine "
    assert heard == [_said(Text(BLIND_NOTE))]
    assert model.card.id == "m"


def test_a_conversation_of_blanks_is_no_question() -> None:
    with pytest.raises(BadRequest, match="blank"):
        prepared(ModelCard(id="m", name="M", provider="openai"), ModelRequest(messages=(Message.of("user", " \n"),)))
