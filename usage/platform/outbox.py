"""The ledger rows that the platform's books have still to hear of. Everything here blocks."""

import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Count, F, Min, Q, Sum

from accounts.limits import Period
from usage.insert import insert
from usage.models import Delivery, UsageRecord
from usage.platform.tables import platform_tables

# Who has taken deliveries and has not come back by then is dead: others take them.
LEASE = timedelta(seconds=60)
LONGEST_PAUSE = timedelta(minutes=5)
# From midnight (UTC) on the platform moves yesterday's counters into its history, one after the other. A call of today
# that came before its counter's turn would count as yesterday's, so none is delivered in the first minutes; one of
# yesterday that came amid it might be lost or count twice, so it waits for longer.
NIGHT = timedelta(minutes=10)
LONG_NIGHT = timedelta(hours=1)


class Waiting(NamedTuple):
    calls: int
    oldest: datetime | None
    """When the first of them was admitted."""
    set_aside: int


def put(records: Sequence[UsageRecord]) -> None:
    """In the transaction that writes the rows; nothing where there is no platform."""
    if records and platform_tables() is not None:
        insert([Delivery(call_id=one.call_id, started_at=one.started_at, due_at=one.ended_at) for one in records])


def claim(now: datetime, limit: int) -> list[UsageRecord]:
    """Rows to deliver now, oldest first; nobody else takes them for a while. None so late in a day that the lease, in
    which they are delivered or given back, might end in the next one: its counters have begun anew."""
    due = Delivery.objects.filter(due_at__lte=now, set_aside=False).order_by("due_at")
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    if now - midnight < NIGHT or midnight + timedelta(days=1) - now <= LEASE:
        return []
    if now - midnight < LONG_NIGHT:
        due = due.filter(started_at__gte=midnight)
    with transaction.atomic():
        if connection.features.has_select_for_update_skip_locked:
            due = due.select_for_update(skip_locked=True)
        calls = list(due.values_list("call_id", flat=True)[:limit])
        Delivery.objects.filter(call_id__in=calls).update(due_at=now + LEASE)
    return list(UsageRecord.objects.filter(call_id__in=calls).order_by("started_at", "id"))


def delivered(calls: Collection[UUID]) -> None:
    Delivery.objects.filter(call_id__in=calls).delete()


def give_back(calls: Collection[UUID], now: datetime) -> None:
    """They were not tried; whoever comes next may take them."""
    Delivery.objects.filter(call_id__in=calls).update(due_at=now)


def failed(calls: Collection[UUID], reason: str, now: datetime, *, for_good: bool = False) -> None:
    """Try them again, later each time; or set them aside until somebody has looked at them."""
    for tries, some in _by_tries(calls):
        pause = min(timedelta(seconds=2 ** min(tries, 10)), LONGEST_PAUSE)
        pause *= random.uniform(0.5, 1.0)  # noqa: S311 - parts processes that met at one counter
        Delivery.objects.filter(call_id__in=some).update(
            due_at=now + pause, tries=F("tries") + 1, error=reason[:100], set_aside=for_good
        )


def _by_tries(calls: Collection[UUID]) -> Iterator[tuple[int, list[UUID]]]:
    found: dict[int, list[UUID]] = {}
    for call_id, tries in Delivery.objects.filter(call_id__in=calls).values_list("call_id", "tries"):
        found.setdefault(tries, []).append(call_id)
    yield from found.items()


def waiting() -> Waiting:
    open_ones, aside = Q(set_aside=False), Q(set_aside=True)
    found = Delivery.objects.aggregate(
        calls=Count("call_id", filter=open_ones),
        oldest=Min("started_at", filter=open_ones),
        set_aside=Count("call_id", filter=aside),
    )
    return Waiting(**found)


def undelivered(calls: Q, since: Mapping[Period, datetime]) -> Mapping[Period, int]:
    """Micro-dollars of these calls, from each of those moments on, that the platform's counters do not hold yet."""
    waiting = UsageRecord.objects.filter(calls, call_id__in=Delivery.objects.values("call_id"))
    sums = {
        period.name: Sum("micro_dollars", filter=Q(started_at__gte=start), default=0) for period, start in since.items()
    }
    found = waiting.aggregate(**sums)
    return {period: int(found[period.name]) for period in since}
