"""Users and API keys in the admin."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin
from django.http import HttpRequest

from accounts.models import ApiKey, User

admin.site.register(User, UserAdmin)


@admin.register(ApiKey)
class ApiKeyAdmin(admin.ModelAdmin[ApiKey]):
    """Keys can be made, renamed, given an expiry and revoked. The key itself is shown once, when it is made."""

    list_display = ("name", "owner", "account_id", "active", "expires_at", "created_at")
    list_filter = ("active",)
    search_fields = ("name", "owner__username", "account_id", "api_owner_id")
    list_select_related = ("owner",)
    readonly_fields = ("api_owner_id", "created_at")
    autocomplete_fields = ("owner",)

    def save_model(self, request: HttpRequest, obj: ApiKey, form: Any, change: bool) -> None:
        if change:
            super().save_model(request, obj, form, change)
            return
        fields = {name: getattr(obj, name) for name in ("name", "account_id", "access_types", "active", "expires_at")}
        row, key = ApiKey.issue(owner=obj.owner, **fields)
        obj.pk, obj.api_owner_id, obj.key_hash = row.pk, row.api_owner_id, row.key_hash
        self.message_user(request, f"Copy this key now, it is not shown again: {key}", messages.WARNING)
