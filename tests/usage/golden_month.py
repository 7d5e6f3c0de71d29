"""A small month that can be worked out by hand: the calls, the price table, and the invoice that they must add up to.

Booked as in service: each call is reserved, made, metered, priced and settled.
"""

from collections import defaultdict
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from accounts.principal import Principal
from core.errors import ModelBusy
from llm.events import Event, Finished, TextDelta, Usage, UsageReported
from llm.messages import ModelRequest
from llm.model import ModelCard
from llm.testing import listen
from usage.books import Books
from usage.metered import Meter, Metered
from usage.models import Outcome, Price, Purpose
from usage.review.asked import NONE
from usage.testing import Clock, admitted

MARCH = "2026-03-01..2026-03-31"
APRIL = datetime(2026, 4, 1, tzinfo=UTC)

GPT = ModelCard(id="gpt-4o", name="GPT-4o", provider="openai")
CLAUDE = ModelCard(id="claude-sonnet-4-5", name="Claude Sonnet 4.5", provider="anthropic")
HOUSE = ModelCard(id="nobody-knows-this-model", name="House", provider="compatible")

# US dollars per million tokens, which is micro-dollars per token.
PRICE_TABLE: Sequence[Mapping[str, Any]] = (
    # Into the cache: no price of its own, so that of input.
    {"model_id": GPT.id, "input": "2.5", "cache_read": "1.25", "output": "10"},
    {"model_id": CLAUDE.id, "input": "3", "cache_read": "0.3", "cache_write": "3.75", "output": "15"},
    {"model_id": GPT.id, "input": "5", "cache_read": "2.5", "output": "20", "valid_from": APRIL},
)

KEY = "ann/ownerKey/1"
ANN = Principal(user_id="ann", account_id="physics", groups=frozenset({"staff", "choir"}))
ANNS_KEY = Principal(user_id="ann", account_id="law", api_key_id=KEY, groups=ANN.groups)
BOB = Principal(user_id="bob", account_id="law", groups=frozenset({"staff"}))
BOB_AT_PHYSICS = Principal(user_id="bob", account_id="physics", groups=BOB.groups)
CID = Principal(user_id="cid", account_id="law")
ADMIN = Principal(user_id="root", is_admin=True)


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call as its vendor answers it, and what it must cost."""

    at: str
    who: Principal
    card: ModelCard
    usage: Usage
    micro_dollars: int
    purpose: Purpose = Purpose.ANSWER
    seconds: int = 2
    fails: bool = False


# fmt: off
CALLS = (
    # Begun in February and ended in March: 3 + 15. Not on this invoice.
    Call(at="2026-02-28 23:59:59", who=BOB, card=CLAUDE, usage=Usage(input=1, output=1), micro_dollars=18),
    # 10,000 x 2.5 + 5,000 x 10 = 25,000 + 50,000
    Call(at="2026-03-02 09:00:00", who=ANN, card=GPT, usage=Usage(input=10_000, output=5_000), micro_dollars=75_000),
    # 5 x 2.5 + 10 = 22.5, halves to even
    Call(at="2026-03-02 09:00:05", who=ANN, card=GPT, usage=Usage(input=5, output=1), micro_dollars=22,
         purpose=Purpose.TITLE),
    # 10 x 3 + 20,000 x 3.75 into the cache + 1,000 x 15 = 30 + 75,000 + 15,000
    Call(at="2026-03-02 14:30:00", who=BOB, card=CLAUDE, usage=Usage(input=10, cache_write=20_000, output=1_000),
         micro_dollars=90_030),
    # 20 x 3 + 20,010 x 0.3 from the cache + 2,000 x 15 = 60 + 6,003 + 30,000
    Call(at="2026-03-02 14:40:00", who=BOB, card=CLAUDE, usage=Usage(input=20, cache_read=20_010, output=2_000),
         micro_dollars=36_063),
    # Across midnight: of the day on which it began. 20,000 x 2.5 + 10,000 x 1.25 + 15,000 x 10, reasoning in it
    # = 50,000 + 12,500 + 150,000
    Call(at="2026-03-10 23:59:58", who=ANNS_KEY, card=GPT, seconds=9, micro_dollars=212_500,
         usage=Usage(input=20_000, cache_read=10_000, output=15_000, reasoning=10_240)),
    # The first moment of a day: 100 x 3 + 10 x 15 = 300 + 150
    Call(at="2026-03-11 00:00:00", who=CID, card=CLAUDE, usage=Usage(input=100, output=10), micro_dollars=450),
    # Broke off; the vendor had told its input and 7 tokens out: 400 x 3 + 7 x 15 = 1,200 + 105. An estimate.
    Call(at="2026-03-15 12:00:00", who=BOB, card=CLAUDE, usage=Usage(input=400, output=7), micro_dollars=1_305,
         fails=True),
    # Nobody knows its price.
    Call(at="2026-03-15 12:01:00", who=CID, card=HOUSE, usage=Usage(input=5_000, output=2_000), micro_dollars=0),
    # Counted by us: 300 x 2.5 + 40 x 10 = 750 + 400
    Call(at="2026-03-20 08:00:00", who=ANN, card=GPT, usage=Usage(input=300, output=40, estimated=True),
         micro_dollars=1_150),
    # 2.5 + 10 = 12.5, halves to even
    Call(at="2026-03-20 08:00:03", who=ANNS_KEY, card=GPT, usage=Usage(input=1, output=1), micro_dollars=12,
         purpose=Purpose.TITLE),
    # 2.5 + 1.25 + 3 x 2.5 into the cache, as input + 2 x 10 = 31.25
    Call(at="2026-03-31 12:00:00", who=BOB_AT_PHYSICS, card=GPT, micro_dollars=31,
         usage=Usage(input=1, cache_read=1, cache_write=3, output=2)),
    # Across the month's end: of March, and at March's price. 100,000 x 2.5 + 10,000 x 10 = 250,000 + 100,000
    Call(at="2026-03-31 23:59:59", who=ANN, card=GPT, usage=Usage(input=100_000, output=10_000),
         micro_dollars=350_000, seconds=5),
    # The first moment of April, at its price: 1,000 x 5 + 100 x 20 = 5,000 + 2,000. Not on this invoice.
    Call(at="2026-04-01 00:00:00", who=ANN, card=GPT, usage=Usage(input=1_000, output=100), micro_dollars=7_000),
)
# fmt: on

Sums = Mapping[str, int]
"""Micro-dollars by user, model, …: as one part of `INVOICE`."""

INVOICE: Mapping[str, Sums] = {
    "total": {"March": 766_563},  # 201,115 + 212,500 + 450 + 1,305 + 1,162 + 350,031
    "day": {
        "2026-03-02": 201_115,  # 75,000 + 22 + 90,030 + 36,063
        "2026-03-10": 212_500,
        "2026-03-11": 450,
        "2026-03-15": 1_305,
        "2026-03-20": 1_162,  # 1,150 + 12
        "2026-03-31": 350_031,  # 31 + 350,000
    },
    "model": {
        GPT.id: 638_715,  # 75,000 + 22 + 212,500 + 1,150 + 12 + 31 + 350,000
        CLAUDE.id: 127_848,  # 90,030 + 36,063 + 450 + 1,305
        HOUSE.id: 0,
    },
    "user": {
        "ann": 638_684,  # 75,000 + 22 + 212,500 + 1,150 + 12 + 350,000
        "bob": 127_429,  # 90,030 + 36,063 + 1,305 + 31
        "cid": 450,
    },
    # A call counts in each group that its caller was in, Cid's in none: these do not add up to the total.
    "group": {"staff": 766_113, "choir": 638_684},  # Ann and Bob; Ann
    "account": {
        "physics": 426_203,  # 75,000 + 22 + 1,150 + 31 + 350,000
        "law": 340_360,  # 90,030 + 36,063 + 212,500 + 450 + 1,305 + 0 + 12
    },
    "key": {KEY: 212_512, NONE: 554_051},  # 212,500 + 12; the rest
    "purpose": {"answer": 766_529, "title": 34},  # the rest; 22 + 12
}
"""March in micro-dollars, in all and part by part."""

AMOUNTS: Mapping[str, int] = {
    "calls": 12,
    # 10,000 + 5 + 10 + 20 + 20,000 + 100 + 400 + 5,000 + 300 + 1 + 1 + 100,000
    "input_tokens": 135_837,
    "cache_read_tokens": 30_011,  # 20,010 + 10,000 + 1
    "cache_write_tokens": 20_003,  # 20,000 + 3
    # 5,000 + 1 + 1,000 + 2,000 + 15,000 + 10 + 7 + 2,000 + 40 + 1 + 2 + 10,000
    "output_tokens": 35_061,
    "micro_dollars": 766_563,
}
"""March in all: calls, tokens of each class, money."""


@dataclass(frozen=True)
class _Vendor:
    """Answers one call of the month: says its usage, and takes its time."""

    call: Call
    clock: Clock

    @property
    def card(self) -> ModelCard:
        return self.call.card

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Event, None]:
        yield TextDelta("Hi")
        yield UsageReported(self.call.usage)
        self.clock.go_on(seconds=self.call.seconds)
        if self.call.fails:
            raise ModelBusy
        yield Finished()


def write_price_table() -> None:
    for price in PRICE_TABLE:
        Price.objects.create(**{"valid_from": datetime(2026, 1, 1, tzinfo=UTC)} | price)


async def make_calls(books: Books, clock: Clock) -> None:
    for call in CALLS:
        clock.now = datetime.fromisoformat(f"{call.at}+00:00")
        meter = Meter(
            admission=admitted(books, call.who),
            why_stopped=lambda: Outcome.KILLED,
            spent=lambda usage: None,
            purpose=call.purpose,
        )
        await listen(Metered(_Vendor(call, clock), meter))


@dataclass(frozen=True)
class Item:
    """One line of whatever lists what was charged."""

    counts_in: Mapping[str, Iterable[str]]
    """By part of `INVOICE`, under which names."""
    micro_dollars: int


def item(micro_dollars: int, *, groups: Iterable[str], **values: str) -> Item:
    counts_in = {name: [value or NONE] for name, value in values.items()}
    return Item({"total": ["March"], "group": groups, **counts_in}, micro_dollars)


def added_up(items: Iterable[Item]) -> Mapping[str, Sums]:
    """As `INVOICE` is."""
    sums: dict[str, dict[str, int]] = {by: defaultdict(int) for by in INVOICE}
    for one in items:
        for by, names in one.counts_in.items():
            for name in names:
                sums[by][name] += one.micro_dollars
    return sums


def micro(usd: Any) -> int:
    """Of dollars, exactly."""
    cost = Decimal(str(usd)).scaleb(6)
    assert cost == int(cost), usd
    return int(cost)
