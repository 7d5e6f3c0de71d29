"""Find what a search term stands for, by steps on the ledger's indexes instead of a scan."""

from django.db import connection

from usage.admin.selection import MAX_VALUE, Found
from usage.models import UsageRecord

MAX_NAMES = 10
_TABLE = UsageRecord._meta.db_table


def find(term: str) -> Found | None:
    """A run's whole id, else the first users and models whose names start with `term`, upper and lower case apart.

    None if there is no term. Each name costs one step on an index however many calls it has.
    """
    term = term.strip()
    if not term:
        return None
    if len(term) > MAX_VALUE:
        return Found()
    runs, users, models = _look_up(term)
    if runs:
        return Found(run_id=runs[0])
    more = len(users) > MAX_NAMES or len(models) > MAX_NAMES
    return Found(users=tuple(users[:MAX_NAMES]), models=tuple(models[:MAX_NAMES]), more=more)


def _look_up(term: str) -> tuple[list[str], list[str], list[str]]:
    low, high = term, _after_prefix(term)
    steps: list[str | int] = [low, high, high, MAX_NAMES + 1]
    with connection.cursor() as cursor:
        cursor.execute(_SQL, [*steps, *steps, term])
        rows: list[tuple[str, str]] = cursor.fetchall()
    runs = [value for kind, value in rows if kind == "run"]
    # A database that sorts by a language's rules may put other names between.
    users = sorted(value for kind, value in rows if kind == "user" and value.startswith(term))
    models = sorted(value for kind, value in rows if kind == "model" and value.startswith(term))
    return runs, users, models


def _after_prefix(prefix: str) -> str:
    """The least text that is greater than everything that starts with `prefix`; the greatest there is, if none."""
    for length in range(len(prefix), 0, -1):
        code = ord(prefix[length - 1]) + 1
        if code <= 0x10FFFF:  # noqa: PLR2004 - the last code point
            return prefix[: length - 1] + chr(0xE000 if 0xD800 <= code <= 0xDFFF else code)  # noqa: PLR2004 - surrogates
    return prefix * MAX_VALUE


def _names_sql(name: str, column: str) -> str:
    """A common table expression of the distinct values in [low, high): each found by one step past the last."""
    return (
        f"{name}(value, number) AS ("  # noqa: S608 - names come from this module, values are parameters
        f"SELECT MIN({column}), 1 FROM {_TABLE} WHERE {column} >= %s AND {column} < %s "
        f"UNION ALL SELECT (SELECT MIN({column}) FROM {_TABLE} WHERE {column} > value AND {column} < %s), number + 1 "
        f"FROM {name} WHERE value IS NOT NULL AND number < %s)"
    )


_SQL = (
    f"WITH RECURSIVE {_names_sql('users', 'user_id')}, {_names_sql('models', 'model_id')} "  # noqa: S608 - see above
    "SELECT 'user', value FROM users WHERE value IS NOT NULL "
    "UNION ALL SELECT 'model', value FROM models WHERE value IS NOT NULL "
    f"UNION ALL SELECT * FROM (SELECT 'run', run_id FROM {_TABLE} WHERE run_id = %s LIMIT 1) AS run"
)
