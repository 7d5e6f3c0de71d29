"""Keep the roll-ups equal to the ledger: add to them with every row, make them anew, and say where they differ."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from django.db import connection, transaction

from usage.group_sets import Groups, groups_of
from usage.models import (
    Combination,
    Dimension,
    GroupSetMember,
    Outcome,
    PooledCombination,
    RollUp,
    Span,
    UsageRecord,
)

_Key = tuple[Any, ...]
"""The values of `KEY`, or of the beginning of a span and what is combined."""

KEY = ("dimension", "value", "span", "starts_at")
TOKENS = ("input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens")
# Calls by the time to their first token: up to how many milliseconds; None is all above.
FIRST_TOKEN: Mapping[str, int | None] = {
    "first_token_500ms": 500,
    "first_token_1s": 1_000,
    "first_token_2s": 2_000,
    "first_token_5s": 5_000,
    "first_token_later": None,
}
SUMS = ("calls", "failed_calls", "estimated_calls", "unpriced_calls", *TOKENS, "micro_dollars", *FIRST_TOKEN)
COMBINED = (
    *("user_id", "account_id", "model_id", "api_key_id", "group_set", "provider", "assistant", "purpose", "outcome"),
)
POOLED = ("model_id", "account_id", "group_set", "assistant", "purpose")
_COMBINATION_SPANS = (Span.DAY, Span.MONTH)

# PostgreSQL takes four times as long for as many statements of one row; SQLite takes 32,766 values at most.
ROWS_A_STATEMENT = 500

_TABLE = RollUp._meta.db_table
# By which columns of the ledger the calls of a day, or of a month, are told apart.
_COMBINATIONS: Mapping[str, tuple[str, ...]] = {
    Combination._meta.db_table: COMBINED,
    PooledCombination._meta.db_table: POOLED,
}
_LEDGER = UsageRecord._meta.db_table
_MEMBERS = GroupSetMember._meta.db_table
# The column of the ledger that each dimension sums by; groups come from their sets.
_COLUMNS: Mapping[Dimension, str] = {
    Dimension.USER: "user_id",
    Dimension.ACCOUNT: "account_id",
    Dimension.KEY: "api_key_id",
    Dimension.MODEL: "model_id",
    Dimension.ASSISTANT: "assistant",
    Dimension.PURPOSE: "purpose",
}


def beginning(moment: datetime, span: str) -> datetime:
    """Of the UTC hour, day or month that a moment lies in."""
    hour = moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    if span == Span.HOUR:
        return hour
    return hour.replace(hour=0) if span == Span.DAY else hour.replace(hour=0, day=1)


def add(records: Sequence[UsageRecord]) -> None:
    """Add rows to the sums, in the transaction that writes them. Blocks."""
    sets = groups_of(record.group_set for record in records)
    sums: dict[_Key, list[int]] = defaultdict(lambda: [0] * len(SUMS))
    combinations = {table: sums.copy() for table in _COMBINATIONS}
    for record in records:
        added = _amounts(record)
        for key in _keys(record, sets.get(record.group_set, frozenset())):
            sums[key] = list(map(int.__add__, sums[key], added))
        for span in _COMBINATION_SPANS:
            starts_at = beginning(record.started_at, span)
            for table, columns in _COMBINATIONS.items():
                key = (span.value, starts_at, *(str(getattr(record, name)) for name in columns))
                combinations[table][key] = list(map(int.__add__, combinations[table][key], added))
    _upsert(_TABLE, KEY, sums)
    for table, columns in _COMBINATIONS.items():
        _upsert(table, ("span", "starts_at", *columns), combinations[table])


def _upsert(table: str, names: Sequence[str], sums: Mapping[_Key, Sequence[int]]) -> None:
    adapt = connection.ops.adapt_datetimefield_value
    # In one order always, so that two writers cannot wait for each other.
    rows = [
        (*(adapt(part) if isinstance(part, datetime) else part for part in key), *sums[key]) for key in sorted(sums)
    ]
    row = f"({', '.join(['%s'] * (len(names) + len(SUMS)))})"
    with connection.cursor() as cursor:
        for start in range(0, len(rows), ROWS_A_STATEMENT):
            some = rows[start : start + ROWS_A_STATEMENT]
            cursor.execute(
                f"INSERT INTO {table} ({', '.join((*names, *SUMS))}) VALUES {', '.join([row] * len(some))} "  # noqa: S608 - names come from this module
                f"ON CONFLICT ({', '.join(names)}) DO UPDATE SET "
                + ", ".join(f"{name} = {table}.{name} + excluded.{name}" for name in SUMS),
                [value for row in some for value in row],
            )


def _keys(record: UsageRecord, groups: Groups) -> Iterator[_Key]:
    values = [(Dimension.ALL, ""), *((name, str(getattr(record, column))) for name, column in _COLUMNS.items())]
    values += [(Dimension.GROUP, group) for group in groups]
    for span in Span.values:
        starts_at = beginning(record.started_at, span)
        for dimension, value in values:
            yield dimension.value, value, span, starts_at


def _amounts(record: UsageRecord) -> tuple[int, ...]:
    return (
        1,
        int(record.outcome == Outcome.FAILED),
        int(record.estimated),
        int(not record.price_version),
        *(getattr(record, name) for name in TOKENS),
        record.micro_dollars,
        *_first_token(record.first_token_ms),
    )


def _first_token(milliseconds: int | None) -> Iterator[int]:
    """1 in the class that the time lies in."""
    open_yet = milliseconds is not None
    for most in FIRST_TOKEN.values():
        hit = open_yet and (most is None or (milliseconds or 0) <= most)
        open_yet = open_yet and not hit
        yield int(hit)


def rebuild() -> int:
    """Make all sums anew from the ledger, in one transaction; returns how many there are. Blocks, for minutes at
    millions of rows; calls that end meanwhile wait."""
    count = 0
    with transaction.atomic(), connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(f"LOCK TABLE {', '.join((_LEDGER, _TABLE, *_COMBINATIONS))} IN EXCLUSIVE MODE")
        for table, key, made in _made():
            cursor.execute(f"DELETE FROM {table}")  # noqa: S608 - names come from this module
            cursor.execute(f"INSERT INTO {table} ({', '.join((*key, *SUMS))}) {made}")
            cursor.execute(f"SELECT COUNT(*) FROM {table}")  # noqa: S608
            count += int(cursor.fetchone()[0])
    return count


def differences(limit: int = 20) -> list[dict[str, Any]]:
    """Where sums and ledger differ: `only_in` which of them, a key, its sums. Empty when the books are right."""
    found: list[dict[str, Any]] = []
    for table, key, source in _made():
        columns = ", ".join((*key, *SUMS))
        kept = f"SELECT {columns} FROM {table}"  # noqa: S608 - names come from this module
        made = f"SELECT {columns} FROM ({source}) AS made"  # noqa: S608
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT * FROM (SELECT 'ledger', a.* FROM ({made} EXCEPT {kept}) AS a "  # noqa: S608
                f"UNION ALL SELECT 'sums', b.* FROM ({kept} EXCEPT {made}) AS b) AS both_ways LIMIT %s",
                [limit],
            )
            names = ("only_in", *key, *SUMS)
            found += [dict(zip(names, map(str, row), strict=True)) for row in cursor.fetchall()]
    return found


def _made() -> Iterator[tuple[str, tuple[str, ...], str]]:
    """Each table of sums, its key, and a SELECT that makes it from the ledger."""
    yield _TABLE, KEY, _roll_ups_from_ledger()
    for table, columns in _COMBINATIONS.items():
        combined = ", ".join(columns)
        made = (
            f"SELECT '{span.value}' AS span, {_truncated(span)} AS starts_at, {combined}, {_SUMS_SQL} FROM {_LEDGER} "  # noqa: S608
            f"GROUP BY 2, {combined}"
            for span in _COMBINATION_SPANS
        )
        yield table, ("span", "starts_at", *columns), " UNION ALL ".join(made)


def _roll_ups_from_ledger() -> str:
    values = [("ALL", "''", _LEDGER), *((name.name, column, _LEDGER) for name, column in _COLUMNS.items())]
    values.append(("GROUP", "group_id", f"{_LEDGER} JOIN {_MEMBERS} ON {_MEMBERS}.group_set = {_LEDGER}.group_set"))
    return " UNION ALL ".join(
        f"SELECT '{Dimension[name].value}' AS dimension, {value} AS value, '{span}' AS span, "  # noqa: S608
        f"{_truncated(span)} AS starts_at, {_SUMS_SQL} FROM {source} GROUP BY 2, 4"
        for span in Span.values
        for name, value, source in values
    )


# As Django writes a moment: SQLite holds them as text in UTC.
_SQLITE_BEGINNINGS = {
    Span.HOUR: "substr(started_at, 1, 13) || ':00:00'",
    Span.DAY: "substr(started_at, 1, 10) || ' 00:00:00'",
    Span.MONTH: "substr(started_at, 1, 7) || '-01 00:00:00'",
}


def _truncated(span: str) -> str:
    if connection.vendor == "postgresql":
        return f"date_trunc('{span}', started_at, 'UTC')"
    return _SQLITE_BEGINNINGS[Span(span)]


def _counted(condition: str) -> str:
    return f"SUM(CASE WHEN {condition} THEN 1 ELSE 0 END)"


def _first_token_counted() -> Iterator[str]:
    least = -1
    for most in FIRST_TOKEN.values():
        yield _counted(f"first_token_ms > {least}" + ("" if most is None else f" AND first_token_ms <= {most}"))
        least = most or least


# PostgreSQL sums up to `numeric`; columns and comparisons want whole numbers.
_SUMS_SQL = ", ".join(
    f"CAST({expression} AS bigint) AS {name}"
    for name, expression in zip(
        SUMS,
        (
            "COUNT(*)",
            _counted(f"outcome = '{Outcome.FAILED.value}'"),
            _counted("estimated"),
            _counted("price_version = ''"),
            *(f"SUM({name})" for name in (*TOKENS, "micro_dollars")),
            *_first_token_counted(),
        ),
        strict=True,
    )
)
