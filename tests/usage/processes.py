"""Processes of their own on one database, for what no single process can show: `python -m tests.usage.processes …`.

race <number> <limit> <estimate>     so many calls at once against one limit; prints how many got in
crash <trials> <seed> <folder>       a child is killed in the middle of its calls, again and again; prints what is left
"""

import asyncio
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "amplify_chat.settings")
django.setup()

from django.db import OperationalError, connection, connections  # noqa: E402

from accounts.limits import Period, SpendLimit  # noqa: E402
from accounts.principal import Principal  # noqa: E402
from core.errors import BudgetExceeded  # noqa: E402
from llm.events import Event, Finished, TextDelta, Usage, UsageReported  # noqa: E402
from llm.messages import Message, ModelRequest  # noqa: E402
from llm.model import ModelCard  # noqa: E402
from tests.usage.conftest import reservation  # noqa: E402
from usage.admission import Admission, Admissions  # noqa: E402
from usage.bookings import adopt, sweep  # noqa: E402
from usage.books import Books, utc_now  # noqa: E402
from usage.budgets import BudgetBook  # noqa: E402
from usage.database import Database  # noqa: E402
from usage.journal import Journal  # noqa: E402
from usage.limits import Line  # noqa: E402
from usage.metered import Meter, Metered  # noqa: E402
from usage.models import Dimension, Outcome, Reservation, UsageRecord  # noqa: E402
from usage.price_list import read_price_list  # noqa: E402
from usage.rate_limits import RateLimiter  # noqa: E402
from usage.roll_ups import differences  # noqa: E402

CARD = ModelCard(id="gpt-4o", name="GPT-4o", provider="openai")
QUESTION = ModelRequest(messages=(Message.of("user", "hello"),), max_output_tokens=100)
CALLS_AT_ONCE = 4


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def race(number: int, limit: int, estimate: int) -> None:
    """Say `ready`, wait for a line, then ask for all at once."""
    line = Line(
        dimension=Dimension.USER,
        value="ann",
        limit=SpendLimit(period=Period.TOTAL, micro_dollars=limit),
        source="user",
    )

    async def ask() -> list[Any]:
        books = Books(partial(Journal, Path("/nowhere")), database=Database(answer_within=60.0))
        asked = [books.reserve(reservation(utc_now, estimate), [line]) for _ in range(number)]  # type: ignore[arg-type]
        say("ready")
        sys.stdin.readline()
        return await asyncio.gather(*asked, return_exceptions=True)

    answers = asyncio.run(ask())
    say(json.dumps(Counter("in" if one is None else type(one).__name__ for one in answers)))
    assert all(one is None or isinstance(one, BudgetExceeded) for one in answers), answers


class Vendor:
    """Notes that it was called, in a file that outlives the process; then answers in a few words."""

    card = CARD

    def __init__(self, note: Callable[[], None], rand: random.Random) -> None:
        self._note = note
        self._rand = rand

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Event, None]:
        self._note()
        for _ in range(self._rand.randrange(4)):
            await asyncio.sleep(0)
            yield TextDelta("word ")
        yield UsageReported(Usage(input=self._rand.randrange(1_000), output=self._rand.randrange(1_000)))
        yield Finished()


class Flickering(Database):
    """Away now and then, for a few calls."""

    def __init__(self, rand: random.Random) -> None:
        super().__init__(retry_after=(0.0,), probe_every=0.002)
        self._rand = rand
        self._out_for = 0

    async def _ask_once(self, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        if not self._out_for and self._rand.random() < 0.05:
            self._out_for = self._rand.randrange(1, 6)
        if self._out_for:
            self._out_for -= 1
            raise OperationalError("flickers")
        return await super()._ask_once(function, *args, **kwargs)


class Victim:
    """Makes calls until it is killed."""

    def __init__(self, folder: Path, seed: int, progress: int) -> None:
        """`progress` is written a byte to for every call of the vendor and for every end."""
        self._rand = random.Random(seed)
        self._progress = progress
        self._called = os.open(folder / "called", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._told = os.open(folder / "told", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        # A process that was killed may have been one whose database flickers.
        database = Flickering(self._rand) if self._rand.random() < 0.5 else Database()
        self._books = Books(partial(Journal, folder / "journal"), lease=3600.0, database=database)
        self._admissions = Admissions(self._books, BudgetBook(), RateLimiter())

    async def live(self) -> NoReturn:
        async with asyncio.TaskGroup() as group:
            for _ in range(CALLS_AT_ONCE):
                group.create_task(self._call_for_ever())
        raise AssertionError

    def _note(self, file: int, line: bytes) -> None:
        os.write(file, line)
        os.write(self._progress, b".")

    async def _call_for_ever(self) -> None:
        ann = Principal(user_id="ann", groups=frozenset({"staff"}))
        while True:
            admission = await self._admissions.admit(ann, CARD, QUESTION, request_id="")
            await self._call(admission)
            admission.end()

    async def _call(self, admission: Admission) -> None:
        line = f"{admission.run_id}\n".encode()
        meter = Meter(admission=admission, why_stopped=lambda: Outcome.KILLED, spent=lambda usage: None)
        metered = Metered(Vendor(lambda: self._note(self._called, line), self._rand), meter)
        leave_early = self._rand.random() < 0.2
        async with aclosing(metered.stream(QUESTION)) as events:
            async for event in events:
                if isinstance(event, Finished):
                    self._note(self._told, line)
                elif leave_early:
                    return


def crash(trials: int, seed: int, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    read_price_list()
    rand, journals = random.Random(seed), 0
    for number in range(trials):
        # At a random point of its work, not of time: a slow machine must not make every trial the same.
        _kill_one(folder, seed * 1_000_003 + number, steps=rand.randrange(25), then=rand.uniform(0.0, 0.003))
        journals += any((folder / "journal").glob("*"))
    say(json.dumps(_audit(folder) | {"killed with a journal": journals}))


def _kill_one(folder: Path, seed: int, *, steps: int, then: float) -> None:
    """Fork a victim and kill it when it has done so many steps, and a few milliseconds later."""
    progress, tell = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(progress)
            asyncio.run(Victim(folder, seed, tell).live())
        finally:
            os._exit(1)
    os.close(tell)
    for _ in range(steps):
        assert os.read(progress, 1) == b".", "the victim did not live until it was killed"
    time.sleep(then)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    os.close(progress)
    assert os.WIFSIGNALED(status), "the victim did not live until it was killed"


def _wait_for_the_dead() -> None:
    """PostgreSQL goes on with what a dead client has asked for: until then its rows are locked, and the sweeper leaves
    them to its next round."""
    if connection.vendor != "postgresql":
        return
    others = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    with connection.cursor() as cursor:
        while cursor.execute(others).fetchone()[0]:
            time.sleep(0.01)


def _audit(folder: Path) -> dict[str, Any]:
    """Book what the dead have left, as the sweeper does, then compare the ledger with what the vendor saw."""
    _wait_for_the_dead()
    now = utc_now()
    adopted = adopt(Journal(folder / "journal", "the auditor"), now)
    swept = 0
    while count := sweep(now + timedelta(days=1)):
        swept += count
    called = (folder / "called").read_text().split()
    told = (folder / "told").read_text().split()
    rows = Counter(UsageRecord.objects.values_list("run_id", flat=True))
    finished = set(UsageRecord.objects.filter(outcome="finished").values_list("run_id", flat=True))
    result = {
        "called": len(called),
        "rows": sum(rows.values()),
        "adopted": adopted,
        "swept": swept,
        "lost": sum(run not in rows for run in called),
        "lost at": [(place, run) for place, run in enumerate(called) if run not in rows],
        "doubled": sum(count > 1 for count in rows.values()),
        "told but not finished": sum(run not in finished for run in told),
        "reservations": Reservation.objects.count(),
        "journals": len(list((folder / "journal").glob("*"))) if (folder / "journal").exists() else 0,
        "differences": len(differences()),
    }
    connections.close_all()
    return result


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["race", number, limit, estimate]:
            race(int(number), int(limit), int(estimate))
        case ["crash", trials, seed, folder]:
            crash(int(trials), int(seed), Path(folder))
        case _:
            sys.exit(__doc__)
