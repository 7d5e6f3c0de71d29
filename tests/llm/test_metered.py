"""What is booked of a call, by whom it was answered: a unit test, since no vendor falls silent so finely."""

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace

import pytest

from accounts.principal import Principal
from core.errors import ModelBusy
from core.testing import own_blocking_thread
from llm.events import AnsweredBy, Event, Finished, ReasoningDelta, RefusalDelta, TextDelta, Usage, UsageReported
from llm.messages import Message, ModelRequest
from llm.model import ModelCard
from llm.pool import Member, Pool
from llm.testing import FailingModel, ask, listen
from llm.tokens import INLINE_BYTES, count_text, estimate_text
from usage.metered import Meter, Metered
from usage.models import Outcome
from usage.testing import RecordingBooks, admitted

pytestmark = pytest.mark.django_db

AZURE = ModelCard(id="gpt-4o", name="GPT-4o", provider="azure")
BEDROCK = replace(AZURE, provider="bedrock", vendor_id="amazon.nova-pro-v1:0")
UNKNOWN = replace(AZURE, id="house", provider="compatible")
SAID = "Antidisestablishmentarianism, " * 40


@pytest.fixture(autouse=True)
def own_thread() -> Iterator[None]:
    with own_blocking_thread():
        yield


@dataclass
class _Says:
    events: Sequence[Event]
    card: ModelCard = AZURE
    seen: list[ModelRequest] = field(default_factory=list)

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Event, None]:
        self.seen.append(request)
        for event in self.events:
            yield event


def _meter(books: RecordingBooks) -> Meter:
    return Meter(
        admission=admitted(books, Principal(user_id="u", account_id="a")),
        why_stopped=lambda: Outcome.KILLED,
        spent=lambda usage: None,
    )


async def test_a_call_is_billed_by_the_provider_that_answered() -> None:
    used = UsageReported(Usage(input=1_000_000, raw={"x": 1}))
    members = [
        Member(FailingModel(ModelBusy(), card=AZURE), "azure", weight=1000),
        Member(_Says([TextDelta("hi"), used, Finished()], card=BEDROCK), "bedrock", weight=0.001),
    ]
    books = RecordingBooks()
    told = await listen(Metered(Pool(replace(AZURE, vendor_id="amazon.nova-pro-v1:0"), members), _meter(books)))
    assert told.text == "hi" and AnsweredBy(model_id="gpt-4o", provider="bedrock") in told.events
    (row,) = books.rows
    # Azure's list would say 2.50 $ for a million tokens, Amazon's says 0.80 $.
    assert (row.provider, row.micro_dollars) == ("bedrock", 800_000)


async def test_a_call_that_nobody_answered_is_booked_under_the_pools_own_provider() -> None:
    books = RecordingBooks()
    await listen(Metered(Pool(AZURE, [Member(FailingModel(ModelBusy(), card=BEDROCK), "b")]), _meter(books)))
    assert [(row.provider, row.micro_dollars, row.outcome) for row in books.rows] == [("azure", 0, "failed")]


@pytest.mark.parametrize("card", [AZURE, UNKNOWN])
async def test_what_a_vendor_does_not_say_is_counted_by_the_models_own_vocabulary(card: ModelCard) -> None:
    books = RecordingBooks()
    said = [ReasoningDelta(SAID), TextDelta(SAID), RefusalDelta(SAID), Finished()]
    await listen(Metered(_Says(said, card=card), _meter(books)), ask(SAID))
    (row,) = books.rows
    assert row.estimated and row.output_tokens == count_text(SAID * 3, card=card)
    assert row.input_tokens == count_text(SAID, card=card) + 4 + 3
    if card is AZURE:
        assert row.output_tokens != estimate_text(SAID * 3)


async def test_a_killed_call_with_a_long_text_is_counted_off_the_loop_and_booked_once() -> None:
    books = RecordingBooks()
    text = "word " * INLINE_BYTES
    metered = Metered(_Says([TextDelta(text), TextDelta("never heard")]), _meter(books))
    async with aclosing(metered.stream(ModelRequest(messages=(Message.of("user", text),)))) as events:
        await anext(events)
    (row,) = books.rows
    assert (row.outcome, row.estimated) == ("killed", True)
    assert row.output_tokens == count_text(text, card=AZURE) and row.input_tokens > INLINE_BYTES
