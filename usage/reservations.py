"""Admit calls against their limits, and look after what is reserved. Everything here blocks.

There are no counters that could go wrong: what a limit has spent is a roll-up, and what is reserved is the sum of the
reservations themselves. Admissions are decided one after the other, whichever process they come from: SQLite has one
writer, and on PostgreSQL they take a lock that lasts to the end of their transaction.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import structlog
from django.db import connection, transaction

from accounts.limits import Period
from usage import group_sets
from usage.insert import insert
from usage.limits import Balance, Line, Pot, Refusal, first_refusal
from usage.models import Dimension, GroupSetMember, Outcome, Reservation, RollUp, Span, UsageRecord

# Any number that nothing else uses: the lock that admissions share on PostgreSQL.
_ADMISSIONS = 0x616D_706C_6966_79

log = structlog.get_logger(__name__)

# Pots that have been warned of; forgotten all together before they are too many.
_MAX_WARNED = 10_000
_warned: set[Pot] = set()

_CALLS_A_STATEMENT = 10_000  # SQLite takes 32,766 values in one

_HELD = Reservation._meta.db_table
_SUMS = RollUp._meta.db_table
_MEMBERS = GroupSetMember._meta.db_table
_HELD_COLUMNS: Mapping[str, str] = {
    Dimension.USER: "user_id",
    Dimension.ACCOUNT: "account_id",
    Dimension.KEY: "api_key_id",
    Dimension.GROUP: "group_id",
}


class Claim(NamedTuple):
    """A call that wants to begin, and the limits that apply to it."""

    reservation: Reservation
    lines: Sequence[Line] = ()


def admit(claims: Sequence[Claim]) -> list[Refusal | None]:
    """Reserve for each claim in turn, or say which limit has no room for it. Inside a transaction."""
    pots = {line.pot(claim.reservation.reserved_at) for claim in claims for line in claim.lines}
    balances = balances_of(pots, for_admission=True)
    answers: list[Refusal | None] = []
    admitted: list[Reservation] = []
    for held, lines in claims:
        refusal = first_refusal(lines, held.micro_dollars, held.reserved_at, balances)
        answers.append(refusal)
        if refusal is None:
            admitted.append(held)
            _count_in(held, balances)
            _warn_of(lines, held.reserved_at, balances)
    keep(admitted)
    return answers


def keep(reservations: Sequence[Reservation]) -> None:
    """Write reservations down; one that is there already stays. Inside a transaction."""
    group_sets.save(held.group_set for held in reservations)
    insert(reservations, ignore_conflicts=True)


def _count_in(held: Reservation, balances: Mapping[Pot, Balance]) -> None:
    """An admitted call is under way for whoever is decided after it."""
    groups = group_sets.groups_of([held.group_set]).get(held.group_set, frozenset()) if held.group_set else frozenset()
    own = {
        (Dimension.USER.value, held.user_id),
        (Dimension.ACCOUNT.value, held.account_id),
        (Dimension.KEY.value, held.api_key_id),
        (Dimension.ALL.value, ""),
        *((Dimension.GROUP.value, group) for group in groups),
    }
    for pot, balance in balances.items():
        if (pot.dimension, pot.value) in own and held.reserved_at >= pot.start:
            balance.reserved += held.micro_dollars


def _warn_of(lines: Iterable[Line], moment: datetime, balances: Mapping[Pot, Balance]) -> None:
    """Say in the log that a budget is nearly used up; once in each of its windows and each process."""
    for line in lines:
        percent, pot, balance = line.warn_at_percent, line.pot(moment), line.balance(moment, balances)
        if percent is None or pot in _warned or balance.gone * 100 < line.limit.micro_dollars * percent:
            continue
        if len(_warned) >= _MAX_WARNED:
            _warned.clear()
        _warned.add(pot)
        log.warning(
            "budget_nearly_used",
            budget=line.name,
            counts=pot.dimension,
            of=pot.value,
            micro_dollars=balance.gone,
            limit=line.limit.micro_dollars,
        )


def balances_of(pots: Collection[Pot], *, for_admission: bool = False) -> Mapping[Pot, Balance]:
    """What is spent and reserved of each pot, by one statement: of two, the second would already see a call settled
    that the first has seen under way. `for_admission`: nobody else is admitted before this transaction ends."""
    if not pots:
        return {}
    kinds: dict[tuple[str, Period, datetime], list[str]] = defaultdict(list)
    for pot in sorted(pots):
        kinds[pot.dimension, pot.period, pot.start].append(pot.value)
    parts, values = [], []
    for number, ((dimension, period, start), subjects) in enumerate(kinds.items()):
        for sql, parameters in (_spent(dimension, period, start, subjects), _reserved(dimension, start, subjects)):
            parts.append(sql)
            values += [number, *parameters]
    balances = {pot: Balance() for pot in pots}
    asked = list(kinds)
    with connection.cursor() as cursor:
        if for_admission and connection.vendor == "postgresql":
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_ADMISSIONS])
        cursor.execute(" UNION ALL ".join(parts), values)
        for number, value, spent, reserved in cursor.fetchall():
            dimension, period, start = asked[int(number)]
            balance = balances[Pot(dimension, value, period, start)]
            balance.spent += int(spent or 0)
            balance.reserved += int(reserved or 0)
    return balances


def _spent(dimension: str, period: Period, start: datetime, subjects: Sequence[str]) -> tuple[str, list[Any]]:
    span = Span.HOUR if period is Period.HOURLY else Span.DAY
    return (
        f"SELECT %s, value, SUM(micro_dollars), 0 FROM {_SUMS} WHERE dimension = %s AND value IN ({_marks(subjects)}) "  # noqa: S608 - names come from this module
        "AND span = %s AND starts_at >= %s GROUP BY value",
        [dimension, *subjects, span.value, _adapted(start)],
    )


def _reserved(dimension: str, start: datetime, subjects: Sequence[str]) -> tuple[str, list[Any]]:
    if dimension == Dimension.ALL:
        return f"SELECT %s, '', 0, SUM(micro_dollars) FROM {_HELD} WHERE reserved_at >= %s", [_adapted(start)]  # noqa: S608
    column = _HELD_COLUMNS[dimension]
    joined = f" JOIN {_MEMBERS} ON {_MEMBERS}.group_set = {_HELD}.group_set" if dimension == Dimension.GROUP else ""
    return (
        f"SELECT %s, {column}, 0, SUM(micro_dollars) FROM {_HELD}{joined} "  # noqa: S608 - names come from this module
        f"WHERE {column} IN ({_marks(subjects)}) AND reserved_at >= %s GROUP BY {column}",
        [*subjects, _adapted(start)],
    )


def _marks(values: Sequence[str]) -> str:
    return ", ".join(["%s"] * len(values))


def _adapted(moment: datetime) -> Any:
    return connection.ops.adapt_datetimefield_value(moment)


def release(call_ids: Collection[UUID]) -> int:
    """Take reservations back; those that are gone already may be among them. Returns how many there were."""
    key, left = Reservation._meta.pk, list(call_ids)
    found = 0
    with connection.cursor() as cursor:
        for start in range(0, len(left), _CALLS_A_STATEMENT):
            some = [key.get_db_prep_value(one, connection) for one in left[start : start + _CALLS_A_STATEMENT]]
            cursor.execute(f"DELETE FROM {_HELD} WHERE call_id IN ({_marks(some)})", some)  # noqa: S608 - see above
            found += cursor.rowcount
    return found


def renew(worker: str, *, until: datetime, alive: Collection[UUID], before: datetime) -> None:
    """Say that a process lives, and so do the calls of its own that it knows; drop what it reserved before `before` and
    knows nothing of, as after an answer from the database that came too late."""
    with transaction.atomic():
        own = Reservation.objects.filter(worker=worker)
        stray = set(own.filter(reserved_at__lt=before).values_list("call_id", flat=True)) - set(alive)
        if stray:
            release(stray)
        own.update(expires_at=until)


def expired(now: datetime, *, limit: int = 500) -> list[Reservation]:
    """Reservations that nobody renews any more, locked against another sweeper. Inside a transaction."""
    found = Reservation.objects.filter(expires_at__lt=now).order_by("expires_at")
    if connection.features.has_select_for_update_skip_locked:
        found = found.select_for_update(skip_locked=True)
    return list(found[:limit])


def as_crashed(reservations: Iterable[Reservation], now: datetime) -> Iterator[UsageRecord]:
    """The ledger rows of calls whose process died: what was estimated, since nobody knows better."""
    for held in reservations:
        ended = max(now, held.reserved_at)
        yield UsageRecord(
            call_id=held.call_id,
            run_id=held.run_id,
            request_id=held.request_id,
            user_id=held.user_id,
            account_id=held.account_id,
            api_key_id=held.api_key_id,
            group_set=held.group_set,
            purpose=held.purpose,
            model_id=held.model_id,
            provider=held.provider,
            input_tokens=held.input_tokens,
            output_tokens=held.output_tokens,
            estimated=True,
            micro_dollars=held.micro_dollars,
            price_version=held.price_version,
            outcome=Outcome.CRASHED,
            duration_ms=min((ended - held.reserved_at) // timedelta(milliseconds=1), 2**31 - 1),
            started_at=held.reserved_at,
            ended_at=ended,
        )
