"""Processes that deliver to the platform's books from one database: `python -m tests.usage.deliverers …`.

write <calls>              so many calls of one user, all at the same time
race                       say `ready`, wait for a line, then deliver until nothing waits, whatever others have claimed
crash <trials> <seed>      a child is killed in the middle of delivering, again and again
audit                      deliver the rest, then print where the platform's books and the ledger differ
"""

import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn
from unittest.mock import patch

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "amplify_chat.settings")
django.setup()

from django.db import connections  # noqa: E402

from core.dynamodb import Table  # noqa: E402
from tests.usage.conftest import reservation, row_of  # noqa: E402
from usage.ledger import write  # noqa: E402
from usage.models import Delivery, UsageRecord  # noqa: E402
from usage.platform import delivery, outbox  # noqa: E402
from usage.platform.delivery import Deliverer  # noqa: E402
from usage.platform.rows import account_info, day_key, micro_dollars, month_key  # noqa: E402
from usage.platform.tables import PlatformTables, platform_tables  # noqa: E402
from usage.roll_ups import differences  # noqa: E402
from usage.testing import Clock  # noqa: E402

# Every trial is a lease later than the one before; a thousand fit into this day.
START = datetime(2026, 3, 4, 2, 0, tzinfo=UTC)
USERS = ("ann", "ben", "cem")
# Today, yesterday, and the month before: all three places where a call may count.
DAYS_AGO = (0, 0, 0, 1, 20)


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def tables() -> PlatformTables:
    found = platform_tables()
    assert found is not None
    return found


def add_call(user_id: str, moment: datetime, cost: int) -> None:
    write([row_of(reservation(Clock(moment), cost), user_id=user_id)])


def write_calls(number: int) -> None:
    for _ in range(number):
        add_call("ann", START, 1_000)


def race() -> None:
    deliverer = Deliverer(tables())
    say("ready")
    sys.stdin.readline()
    # A lease that is over at once: everything that another has claimed is taken, too.
    now = START + timedelta(minutes=10)
    with patch.object(outbox, "LEASE", timedelta(0)):
        while Delivery.objects.exists():
            deliverer.deliver_some(now, 50)
            now += timedelta(seconds=1)  # what had to be tried again is due again
            assert now < START + timedelta(hours=1), list(Delivery.objects.values_list("error", flat=True))


def crash(trials: int, seed: int) -> None:
    rand = random.Random(seed)
    left = []
    for number in range(trials):
        now = START + number * (outbox.LEASE + timedelta(seconds=1))
        for _ in range(rand.randrange(1, 6)):
            ago = timedelta(days=rand.choice(DAYS_AGO))
            add_call(rand.choice(USERS), now - ago, rand.choice((0, 1, 1_000, 123_456)))
        connections.close_all()  # a child must not inherit one
        _kill_one(now, steps=rand.randrange(20), then=rand.choice((0.0, rand.uniform(0.0, 0.01))))
        left.append(Delivery.objects.count())
    say(json.dumps({"left": left, "told": sum(1 for _ in tables().usage.scan())}))


def _kill_one(now: datetime, *, steps: int, then: float) -> None:
    """Fork a victim and kill it when it has done so many steps, or all of them; and a few milliseconds later."""
    progress, tell = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(progress)
            _deliver_until_killed(now, tell)
        finally:
            os._exit(1)
    os.close(tell)
    for _ in range(steps):
        step = os.read(progress, 1)
        assert step, "the victim did not live until it was killed"
        if step == b"!":
            break
    time.sleep(then)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    os.close(progress)
    assert os.WIFSIGNALED(status), "the victim did not live until it was killed"


def _deliver_until_killed(now: datetime, progress: int) -> NoReturn:
    def steps(function: Callable[..., Any]) -> Callable[..., Any]:
        """Before it and after it."""

        def stepped(*args: Any, **kwargs: Any) -> Any:
            os.write(progress, b".")
            result = function(*args, **kwargs)
            os.write(progress, b".")
            return result

        return stepped

    for owner, name in ((outbox, "claim"), (outbox, "delivered"), (delivery, "write_together"), (Table, "update")):
        setattr(owner, name, steps(getattr(owner, name)))
    Deliverer(tables()).deliver_some(now, 200)
    os.write(progress, b"!")
    signal.pause()
    raise AssertionError


def audit() -> None:
    now, deliverer = START.replace(hour=22), Deliverer(tables())
    # One round ends when its time is over, and gives back what it has not tried.
    while Delivery.objects.exists() and now < START.replace(hour=23):
        deliverer.deliver_some(now, 10_000)
        now += timedelta(minutes=1)
    say(json.dumps({"rows": UsageRecord.objects.count(), "waiting": Delivery.objects.count(), "wrong": _wrong()}))


def _wrong() -> list[str]:
    """Everything in which the platform's books are not what the ledger says."""
    told = Counter(row["id"] for row in tables().usage.scan())
    booked = Counter(str(call_id) for call_id in UsageRecord.objects.values_list("call_id", flat=True))
    due, found = _sums_of_ledger(), _sums_of_platform()
    return [
        *(f"call {call} is told {told[call]} times" for call in booked | told if told[call] != booked[call]),
        *(f"{place}: {found[place]} and not {due[place]}" for place in due | found if found[place] != due[place]),
        *(f"roll-ups: {difference}" for difference in differences()),
    ]


def _sums_of_ledger() -> Counter[str]:
    sums: Counter[str] = Counter()
    for one in UsageRecord.objects.iterator():
        info, moment = account_info(one.account_id, one.api_key_id), one.started_at.astimezone(UTC)
        if moment.date() == START.date():
            places = [f"{one.user_id} {info} today", f"{one.user_id} {info} hour {moment.hour}"]
        elif moment.month == START.month:
            places = [f"{one.user_id} {info} month", f"{day_key(one.user_id, moment.date())} {info}"]
        else:
            places = [f"{make(one.user_id, moment.date())} {info}" for make in (day_key, month_key)]
        for place in places:
            sums[place] += one.micro_dollars
    return +sums


def _sums_of_platform() -> Counter[str]:
    sums: Counter[str] = Counter()
    for row in tables().costs.scan():
        name = f"{row['id']} {row['accountInfo']}"
        sums[f"{name} today"] = micro_dollars(row["dailyCost"])
        sums[f"{name} month"] = micro_dollars(row.get("monthlyCost", 0))
        for hour, cost in enumerate(row["hourlyCost"]):
            sums[f"{name} hour {hour}"] = micro_dollars(cost)
    for row in tables().history.scan():
        (cost,) = [row[name] for name in ("dailyCost", "monthlyCost") if name in row]
        sums[f"{row['userDate']} {row['accountInfo']}"] = micro_dollars(cost)
    return +sums


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["write", number]:
            write_calls(int(number))
        case ["race"]:
            race()
        case ["crash", trials, seed]:
            crash(int(trials), int(seed))
        case ["audit"]:
            audit()
        case _:
            sys.exit(__doc__)
