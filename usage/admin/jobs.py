"""When the jobs of the night are due and how they went, for operators; nothing here where there is no platform."""

from typing import ClassVar

from django.contrib import admin
from django.http import HttpRequest

from usage.models import ScheduledJob
from usage.platform.tables import platform_tables


@admin.register(ScheduledJob)
class ScheduledJobAdmin(admin.ModelAdmin[ScheduledJob]):
    """Read-only: the environment says what is done, and the commands of the same names do it at once."""

    list_display = ("name", "due_at", "taken_until", "done_at", "report", "error")
    list_display_links = None
    sortable_by: ClassVar = ()

    def has_module_permission(self, request: HttpRequest) -> bool:
        return platform_tables() is not None and super().has_module_permission(request)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: ScheduledJob | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: ScheduledJob | None = None) -> bool:
        return False
