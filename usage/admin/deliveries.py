"""What the platform's books have still to hear of, for operators; nothing here where there is no platform."""

from typing import Any, ClassVar

from django.contrib import admin, messages
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from audit.audited import AuditedAdmin
from usage.models import Delivery, UsageRecord
from usage.platform.tables import platform_tables


@admin.register(Delivery)
class DeliveryAdmin(AuditedAdmin[Delivery]):
    """Read-only, but for sending again what was set aside."""

    list_display = ("call", "started_at", "due_at", "tries", "error", "set_aside")
    list_display_links = None
    list_filter = ("set_aside",)
    sortable_by: ClassVar = ()
    list_per_page = 100
    show_full_result_count = False
    actions = ("try_again",)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return platform_tables() is not None and super().has_module_permission(request)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Delivery | None = None) -> bool:
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: Delivery | None = None) -> Any:
        return [field.name for field in Delivery._meta.fields]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Delivery]:
        record = UsageRecord.objects.filter(call_id=OuterRef("call_id")).values("pk")
        return super().get_queryset(request).annotate(record_id=Subquery(record))

    @admin.display(description="Call")
    def call(self, row: Delivery) -> SafeString:
        address = reverse("admin:usage_usagerecord_change", args=[row.record_id])  # type: ignore[attr-defined]
        return format_html('<a href="{}">{}</a>', address, row.call_id)

    @admin.action(description="Try selected deliveries again", permissions=["change"])
    def try_again(self, request: HttpRequest, queryset: QuerySet[Delivery]) -> None:
        count = 0
        for row in queryset:
            # One that has been delivered meanwhile is gone.
            if Delivery.objects.filter(pk=row.pk).update(set_aside=False, due_at=timezone.now(), error=""):
                self.log_change(request, row, "To be tried again.")
                count += 1
        self.message_user(request, f"{count} deliveries will be tried again.", messages.SUCCESS)
