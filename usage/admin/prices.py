"""Our own prices in the admin: they can be added and read, never changed."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.db.models import Case, Exists, OuterRef, Q, QuerySet, When
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse
from django.utils.http import urlencode

from audit.audited import AuditedAdmin
from usage.models import Price

_AMOUNTS = ("input", "cache_read", "cache_write", "output")


@admin.register(Price)
class PriceAdmin(AuditedAdmin[Price]):
    """The list is the history: every version stays, and `in force` tells which one is used now."""

    list_display = (
        *("model_id", "provider_shown", "in_force", "valid_from", "input", "cache_read", "cache_write", "output"),
        *("version", "note", "created_by"),
    )
    list_filter = ("provider",)
    search_fields = ("model_id", "note", "created_by")
    fields = ("model_id", "provider", "input", "cache_read", "cache_write", "output", "valid_from", "note")
    actions = None
    show_full_result_count = False

    def has_change_permission(self, request: HttpRequest, obj: Price | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Price | None = None) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Price]:
        later = Q(valid_from__gt=OuterRef("valid_from")) | Q(valid_from=OuterRef("valid_from"), pk__gt=OuterRef("pk"))
        same = Price.objects.filter(model_id=OuterRef("model_id"), provider=OuterRef("provider"))
        superseded = Exists(same.filter(later, valid_from__lte=Now()))
        in_force = Case(When(Q(valid_from__lte=Now()) & ~superseded, then=True), default=False)
        return super().get_queryset(request).annotate(used=in_force)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """With a link to change this price, which is to add one that goes before it."""
        price = self.get_object(request, unquote(object_id))
        told = {name: getattr(price, name, None) for name in ("model_id", "provider", *_AMOUNTS)}
        filled = urlencode({name: value for name, value in told.items() if value not in (None, "")})
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), "next_version": filled})

    def save_model(self, request: HttpRequest, obj: Price, form: Any, change: bool) -> None:
        obj.created_by = request.user.get_username()
        super().save_model(request, obj, form, change)

    @admin.display(description="In force", boolean=True)
    def in_force(self, price: Price) -> bool:
        return bool(getattr(price, "used", False))

    @admin.display(description="Provider", ordering="provider")
    def provider_shown(self, price: Price) -> str:
        return price.get_provider_display() or "any"
