"""Rows that are written once: the model refuses to change them, and so do triggers in the database, whoever asks."""

from typing import Any, ClassVar, NoReturn, TypeVar

from django.db import models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

Row = TypeVar("Row", bound=models.Model)

REASON = "This table is append-only: what was written is never changed or deleted."


class AppendOnlyQuerySet(models.QuerySet[Row]):
    def update(self, **_: Any) -> NoReturn:
        raise TypeError(REASON)

    def bulk_update(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError(REASON)

    def delete(self) -> NoReturn:
        raise TypeError(REASON)


class AppendOnly(models.Model):
    """A row that can be added and read. Raises TypeError for everything else. Its table wants `protect`."""

    objects: ClassVar[models.Manager[Any]] = AppendOnlyQuerySet.as_manager()

    class Meta:
        abstract = True

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise TypeError(REASON)
        super().save(*args, **kwargs)

    def delete(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError(REASON)


def protect(schema_editor: BaseDatabaseSchemaEditor, table: str) -> None:
    """Make the database refuse UPDATE and DELETE of a table's rows. For migrations; may be called again.

    On SQLite a migration that changes a column makes the table anew, without its triggers: end it with a call of this.
    """
    for statement in _PROTECT[schema_editor.connection.vendor]:
        schema_editor.execute(statement.format(table=table, reason=REASON))


def unprotect(schema_editor: BaseDatabaseSchemaEditor, table: str) -> None:
    """Take back `protect`, for the way back of a migration."""
    for statement in _UNPROTECT[schema_editor.connection.vendor]:
        schema_editor.execute(statement.format(table=table))


_PROTECT = {
    "sqlite": [
        f"CREATE TRIGGER IF NOT EXISTS {{table}}_no_{verb.lower()} BEFORE {verb} ON {{table}} "
        "BEGIN SELECT RAISE(ABORT, '{reason}'); END"
        for verb in ("UPDATE", "DELETE")
    ],
    "postgresql": [
        "CREATE OR REPLACE FUNCTION {table}_refuse() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION '{reason}'; END $$",
        "CREATE OR REPLACE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table} "
        "FOR EACH ROW EXECUTE FUNCTION {table}_refuse()",
    ],
}
_UNPROTECT = {
    "sqlite": [f"DROP TRIGGER IF EXISTS {{table}}_no_{verb}" for verb in ("update", "delete")],
    "postgresql": [
        "DROP TRIGGER IF EXISTS {table}_append_only ON {table}",
        "DROP FUNCTION IF EXISTS {table}_refuse()",
    ],
}
