"""Rows that are written once: the model refuses to change them, and triggers in the database refuse everybody else."""

from typing import Any, ClassVar, NoReturn, TypeVar

from django.db import models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

Row = TypeVar("Row", bound=models.Model)

_REASON = "The ledger is append-only: what was booked is never changed."


class AppendOnlyQuerySet(models.QuerySet[Row]):
    def update(self, **_: Any) -> NoReturn:
        raise TypeError(_REASON)

    def delete(self) -> NoReturn:
        raise TypeError(_REASON)

    def bulk_update(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError(_REASON)


class AppendOnly(models.Model):
    """A row that can be added and read. Raises TypeError for everything else."""

    objects: ClassVar[models.Manager[Any]] = AppendOnlyQuerySet.as_manager()

    class Meta:
        abstract = True

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise TypeError(_REASON)
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError(_REASON)


def protect(schema_editor: BaseDatabaseSchemaEditor, table: str) -> None:
    """Make the database refuse UPDATE and DELETE of rows of a table. For migrations; may be called again.

    On SQLite a migration that changes a column makes the table anew, without its triggers: end it with a call of this.
    """
    match schema_editor.connection.vendor:
        case "sqlite":
            for verb in ("UPDATE", "DELETE"):
                schema_editor.execute(
                    f"CREATE TRIGGER IF NOT EXISTS {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
                    f"BEGIN SELECT RAISE(ABORT, '{_REASON}'); END"
                )
        case "postgresql":
            schema_editor.execute(
                f"CREATE OR REPLACE FUNCTION {table}_refuse() RETURNS trigger LANGUAGE plpgsql AS "
                f"$$ BEGIN RAISE EXCEPTION '{_REASON}'; END $$"
            )
            schema_editor.execute(
                f"CREATE OR REPLACE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table} "
                f"FOR EACH ROW EXECUTE FUNCTION {table}_refuse()"
            )


def unprotect(schema_editor: BaseDatabaseSchemaEditor, table: str) -> None:
    """Take back `protect`, for the way back of a migration."""
    match schema_editor.connection.vendor:
        case "sqlite":
            for verb in ("update", "delete"):
                schema_editor.execute(f"DROP TRIGGER IF EXISTS {table}_no_{verb}")
        case "postgresql":
            schema_editor.execute(f"DROP TRIGGER IF EXISTS {table}_append_only ON {table}")
            schema_editor.execute(f"DROP FUNCTION IF EXISTS {table}_refuse()")
