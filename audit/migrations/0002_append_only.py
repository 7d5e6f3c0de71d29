from typing import Any

from django.db import migrations

from core.append_only import protect, unprotect


def add(apps: Any, schema_editor: Any) -> None:
    protect(schema_editor, "audit_entry")


def remove(apps: Any, schema_editor: Any) -> None:
    unprotect(schema_editor, "audit_entry")


class Migration(migrations.Migration):
    dependencies = [("audit", "0001_initial")]

    operations = [migrations.RunPython(add, remove)]
