"""A very large ledger, made inside the database: `python -m bench.books --rows 10000000 --database postgres://…`.

`bench.ledger` books its calls as the service does, at some thousands a second; this one writes the same kind of
campus by one statement and then makes the sums from it, at some hundred thousand. For measuring the review's pages.
The same rows on SQLite and PostgreSQL: what is drawn is arithmetic on the number of the row.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

PEOPLE, DEPARTMENTS, DAYS = 5_000, 60, 120
SITTING = 6
"""Calls that a person makes one after the other, with the same model."""
GROUPS = (
    *(frozenset({"students", f"year-{year}"}) for year in range(1, 6)),
    *(frozenset({"staff", f"faculty-{number}"}) for number in range(1, 8)),
    frozenset({"staff", "research", "hpc"}),
    frozenset(),
)


def _drawn(source: str, salt: int, most: int) -> str:
    """SQL for a number below `most` that looks drawn, from a number: two rounds of a congruential generator."""
    return f"((({source}) * 48271 + {salt} * 7919) % 2147483647 * 16807 % 2147483647 % {most})"


def _case(source: str, choices: Sequence[tuple[int, str]]) -> str:
    """SQL for a weighted choice: `source` is below the sum of the weights; what is chosen is SQL too."""
    whens, bound = [], 0
    for weight, chosen in choices:
        bound += weight
        whens.append(f"WHEN {source} < {bound} THEN {chosen}")
    return f"CASE {' '.join(whens)} END"


_SITTING = f"(n / {SITTING})"
_PERSON = f"({_drawn(_SITTING, 1, PEOPLE)} * {_drawn(_SITTING, 2, PEOPLE)} / {PEOPLE})"
_IS_SERVICE = f"{_drawn(_SITTING, 3, 10)} = 0"
_MODELS = (
    # weight, model, provider, micro-dollars per million input tokens and output tokens; None: no price
    (50, "gpt-4o-mini", "openai", 150_000, 600_000),
    (20, "gpt-4o", "openai", 2_500_000, 10_000_000),
    (15, "claude-sonnet-4", "anthropic", 3_000_000, 15_000_000),
    (2, "claude-opus-4", "anthropic", 15_000_000, 75_000_000),
    (10, "qwen-small", "embedded", 0, 0),
    (3, "house-model-7b", "compatible", None, None),
)
_OUTCOMES = (
    *((940, "'finished'"), (25, "'failed'"), (15, "'killed'"), (12, "'abandoned'"), (7, "'timed_out'")),
    (1, "'shut_down'"),
)


def _by_model(choices: Sequence[str]) -> str:
    return _case(_drawn(_SITTING, 4, 100), [(row[0], chosen) for row, chosen in zip(_MODELS, choices, strict=True)])


def _columns(vendor: str, group_sets: Sequence[str], first: datetime, step: timedelta) -> dict[str, str]:
    postgres = vendor == "postgresql"
    price_in, price_out = (_by_model([str(row[place] or 0) for row in _MODELS]) for place in (3, 4))
    person = f"'user' || {'lpad' if postgres else 'printf'}"
    person += f"(CAST({_PERSON} AS text), 5, '0')" if postgres else f"('%05d', {_PERSON})"
    user = f"CASE WHEN {_IS_SERVICE} THEN 'svc-library-search' ELSE {person} || '@campus.example' END"
    after = f"{first.timestamp()} + n * {step.total_seconds()}"

    def moment(seconds: str) -> str:
        if postgres:
            return f"to_timestamp({seconds})"
        return f"strftime('%Y-%m-%d %H:%M:%f', {seconds}, 'unixepoch') || '000'"

    duration = f"(400 + {_drawn('n', 11, 30_000)})"
    return {
        "call_id": "CAST(lpad(to_hex(n), 32, '0') AS uuid)" if postgres else "printf('%032x', n)",
        "run_id": "'run_' || n",
        "request_id": "''",
        "user_id": user,
        "account_id": f"CASE WHEN {_drawn(_SITTING, 5, 10)} < 6 AND NOT {_IS_SERVICE} THEN 'general_account' "
        f"ELSE 'dept-' || ({_PERSON} % {DEPARTMENTS}) END",
        "api_key_id": f"CASE WHEN {_IS_SERVICE} THEN 'svc-library-search/systemKey/1' "
        f"WHEN {_PERSON} % 20 = 0 THEN 'user-' || {_PERSON} || '/ownerKey/1' ELSE '' END",
        "group_set": _case(f"{_PERSON} % {len(group_sets)}", [(1, f"'{name}'") for name in group_sets]),
        "purpose": _case(_drawn("n", 6, 100), [(82, "'answer'"), (14, "'title'"), (4, "'retrieval'")]),
        "assistant": _case(_drawn(_SITTING, 7, 100), [(85, "'default'"), (10, "'tutor'"), (5, "'librarian'")]),
        "model_id": _by_model([f"'{row[1]}'" for row in _MODELS]),
        "provider": _by_model([f"'{row[2]}'" for row in _MODELS]),
        "input_tokens": _drawn("n", 8, 4_000),
        "cache_read_tokens": _drawn("n", 9, 8_000),
        "cache_write_tokens": "0",
        "output_tokens": _drawn("n", 10, 1_200),
        "reasoning_tokens": "0",
        "estimated": f"{_drawn('n', 12, 100)} < 3",
        "raw_usage": "'{}'",
        "micro_dollars": f"({_drawn('n', 8, 4_000)} * {price_in} + {_drawn('n', 10, 1_200)} * {price_out}) / 1000000",
        "price_version": _by_model(["''" if row[3] is None else "'invented'" for row in _MODELS]),
        "first_token_ms": f"CASE WHEN {_drawn('n', 13, 1000)} < 30 THEN NULL "
        f"ELSE 120 + {_drawn('n', 14, 2_000)} * {_drawn('n', 15, 2_000)} / 1000 END",
        "duration_ms": duration,
        "outcome": _case(_drawn("n", 13, 1000), [*_OUTCOMES[1:], _OUTCOMES[0]]),
        "error_code": f"CASE WHEN {_drawn('n', 13, 1000)} < 25 THEN 'upstream_error' ELSE '' END",
        "started_at": moment(after),
        "ended_at": moment(f"{after} + {duration} / 1000.0"),
    }


def fill(rows: int, *, until: datetime | None = None) -> None:
    """Add `rows` calls to an empty ledger in the configured database, and make the sums."""
    from django.db import connection  # noqa: PLC0415 - Django is set up by now

    from usage import group_sets, roll_ups  # noqa: PLC0415
    from usage.models import UsageRecord  # noqa: PLC0415

    names = [group_sets.name_of(groups) for groups in GROUPS]
    step = timedelta(days=DAYS) / max(rows, 1)
    columns = _columns(connection.vendor, names, (until or datetime.now(UTC)) - step * rows, step)
    series = (
        f"generate_series(0, {rows - 1}::bigint) AS n"
        if connection.vendor == "postgresql"
        else f"(WITH RECURSIVE counted(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM counted WHERE n < {rows - 1}) "
        "SELECT n FROM counted)"
    )
    table, indexes = UsageRecord._meta.db_table, UsageRecord._meta.indexes
    with connection.schema_editor() as editor, connection.cursor() as cursor:
        group_sets.save(names)
        for index in indexes:  # cheaper to make at the end
            editor.remove_index(UsageRecord, index)
        values = ", ".join(columns.values())
        cursor.execute(f"INSERT INTO {table} ({', '.join(columns)}) SELECT {values} FROM {series}")
        _say("rows")
        for index in indexes:
            editor.add_index(UsageRecord, index)
        _say("indexes")
    _say(f"{roll_ups.rebuild():,} sums")
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE" if connection.vendor == "postgresql" else "ANALYZE")
    _say("analysed")


_BEGAN = time.monotonic()


def _say(what: str) -> None:
    sys.stderr.write(f"{time.monotonic() - _BEGAN:7.1f} s  {what}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--database", required=True, help="sqlite:////absolute/path or postgres://…; empty")
    arguments = parser.parse_args()
    os.environ["DATABASE_URL"] = arguments.database
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "amplify_chat.settings")

    import django  # noqa: PLC0415 - reads the environment
    from django.core.management import call_command  # noqa: PLC0415

    django.setup()
    call_command("migrate", verbosity=0)
    fill(arguments.rows)


if __name__ == "__main__":
    main()
