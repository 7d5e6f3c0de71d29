"""The group `Finance`: looks at everything about usage, takes it along, and changes nothing."""

from typing import Any

from django.db import migrations

GROUP = "Finance"
MAY = {
    "budget": ("view_budget", "Can view budget"),
    "price": ("view_price", "Can view price"),
    "usagerecord": ("view_usagerecord", "Can view model call"),
}
OVERVIEW_MAY = {"view_overview": "Can view usage overview", "export_usage": "Can export usage"}


def create_group(apps: Any, schema_editor: Any) -> None:
    """Django makes permissions only after all migrations; those that it finds by then, it leaves alone."""
    kinds = apps.get_model("contenttypes", "ContentType").objects
    permissions = apps.get_model("auth", "Permission").objects
    group, _ = apps.get_model("auth", "Group").objects.get_or_create(name=GROUP)
    wanted = [(model, *permission) for model, permission in MAY.items()]
    wanted += [("overview", codename, name) for codename, name in OVERVIEW_MAY.items()]
    for model, codename, name in wanted:
        kind, _ = kinds.get_or_create(app_label="usage", model=model)
        permission, _ = permissions.get_or_create(content_type=kind, codename=codename, defaults={"name": name})
        group.permissions.add(permission)


def remove_group(apps: Any, schema_editor: Any) -> None:
    apps.get_model("auth", "Group").objects.filter(name=GROUP).delete()


class Migration(migrations.Migration):
    dependencies = [
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
        ("usage", "0004_review"),
    ]

    operations = [migrations.RunPython(create_group, remove_group)]
