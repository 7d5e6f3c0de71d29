"""Add rows of sums up over the pieces of a period, by several columns. Everything here blocks.

Each piece is a range of an index, and the pieces are joined by UNION ALL: of conditions joined by OR both databases
make a walk through all rows. PostgreSQL reads the pieces once for all columns; SQLite, which has no grouping sets,
once for each.
"""

from collections.abc import Sequence
from typing import Any

from django.db import connections
from django.db.models import F, QuerySet

from usage.review.cover import Piece

Summed = tuple[str, Any, tuple[int, ...]]
"""A column that was summed up by ("" for none), one of its values as the database gives it, and the sums."""


def summed(
    rows: QuerySet[Any],
    pieces: Sequence[Piece],
    names: Sequence[str],
    by: Sequence[str] = (),
    *,
    top: int | None = None,
) -> list[Summed]:
    """The sums of the columns `names` of those rows, for each value of each column of `by`; `top` lets the database
    leave out all but so many with the largest sums, where it costs nothing."""
    if len(by) > 1 and connections[rows.db].vendor != "postgresql":
        return [one for column in by for one in summed(rows, pieces, names, [column], top=top)]
    if not pieces:
        return [] if by else [("", None, (0,) * len(names))]
    legs = [_leg(rows, piece, names, by) for piece in pieces]
    grouped = [f"by_{place}" for place in range(len(by))]
    sums = [f"CAST(SUM(sum_{place}) AS bigint)" for place in range(len(names))]
    sets = ", ".join(f"({column})" for column in grouped)
    sql = f"SELECT {', '.join([*grouped, *sums])} FROM ({' UNION ALL '.join(sql for sql, _ in legs)}) AS piece"  # noqa: S608 - names of this module and Django's SQL
    if len(by) > 1:
        sql += f" GROUP BY GROUPING SETS ({sets})"
    elif by:
        sql += f" GROUP BY {sets}"
    if len(by) == 1 and top is not None:
        order = [*(f"{place} DESC" for place in range(2, len(names) + 2)), "1"]
        sql += f" ORDER BY {', '.join(order)} LIMIT {top:d}"
    with connections[rows.db].cursor() as cursor:
        cursor.execute(sql, [value for _, params in legs for value in params])
        found = cursor.fetchall()
    return [_read(row, by) for row in found]


def _leg(rows: QuerySet[Any], piece: Piece, names: Sequence[str], by: Sequence[str]) -> tuple[str, Sequence[Any]]:
    grouped = {f"by_{place}": F(column) for place, column in enumerate(by)}
    sums = {f"sum_{place}": F(name) if piece.sign > 0 else F(name) * piece.sign for place, name in enumerate(names)}
    return rows.filter(piece.condition).order_by().values(**grouped, **sums).query.sql_with_params()


def _read(row: Sequence[Any], by: Sequence[str]) -> Summed:
    """In a row of one set the columns of the others are NULL; of ours none ever is."""
    values, sums = row[: len(by)], tuple(int(value or 0) for value in row[len(by) :])
    place = next((place for place, value in enumerate(values) if value is not None), None)
    return ("", None, sums) if place is None else (by[place], values[place], sums)
