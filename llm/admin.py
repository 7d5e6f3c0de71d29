"""The catalogue of models in the admin: what each can do, who may use it, which is the default; and how the endpoints
behind them fare."""

import os
import socket
from collections.abc import Iterable
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path

from audit.audited import AuditedAdmin
from llm.models import DefaultModel, EndpointState, ModelEntry
from llm.pool import Pool, pools

_FIELDS: dict[str | None, tuple[str, ...]] = {
    None: ("model_id", "name", "description", "provider", "vendor_id"),
    "Who may use it": ("enabled", "groups", "fallback", "position"),
    "What it can do": (
        *("context_window", "output_limit", "images", "image_urls", "tools", "sampling"),
        *("thinking", "efforts", "structured_output", "system_prompts"),
    ),
    "What it is told": ("system_prompt", "extra", "updated_at"),
}


NO_MODELS = (
    "There are no models in this table yet; those that answer go by the facts that come with the service. To edit "
    "these here, run `manage.py load_models`, or add a model by hand."
)


@admin.register(ModelEntry)
class ModelEntryAdmin(AuditedAdmin[ModelEntry]):
    """What is changed here holds for new requests at once in this process, and in others within seconds."""

    list_display = (
        *("model_id", "name", "provider", "enabled", "reserved_for", "context_window", "output_limit"),
        *("images", "tools", "thinking", "fallback_id", "updated_at"),
    )
    list_filter = ("enabled", "provider", "thinking", "images", "tools")
    search_fields = ("model_id", "name", "vendor_id", "description")
    autocomplete_fields = ("fallback",)
    actions = ("enable", "disable")
    fieldsets: ClassVar = [(title, {"fields": names}) for title, names in _FIELDS.items()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if request.method == "GET" and not ModelEntry.objects.exists():
            self.message_user(request, NO_MODELS, messages.INFO)
        return super().changelist_view(request, extra_context)

    def get_readonly_fields(self, request: HttpRequest, obj: ModelEntry | None = None) -> Any:
        # Callers, fallbacks and defaults know the model by its id: another id is another model.
        return ("updated_at",) if obj is None else ("model_id", "updated_at")

    @admin.display(description="Reserved for")
    def reserved_for(self, entry: ModelEntry) -> str:
        return ", ".join(entry.groups) or "everybody"

    @admin.action(description="Enable selected models", permissions=["change"])
    def enable(self, request: HttpRequest, chosen: QuerySet[ModelEntry]) -> None:
        self._switch(request, chosen.filter(enabled=False), on=True)

    @admin.action(description="Disable selected models", permissions=["change"])
    def disable(self, request: HttpRequest, chosen: QuerySet[ModelEntry]) -> None:
        self._switch(request, chosen.filter(enabled=True), on=False)
        for default in DefaultModel.objects.filter(model__enabled=False):
            self.message_user(
                request,
                f"{default.model_id} is disabled but was the {default.get_role_display()} model: "
                "choose another one under Default models.",
                messages.WARNING,
            )

    def _switch(self, request: HttpRequest, entries: QuerySet[ModelEntry], *, on: bool) -> None:
        switched = list(entries)
        for entry in switched:
            entry.enabled = on
            entry.save(update_fields=["enabled", "updated_at"])  # one by one: each save tells who remembers the table
            self.log_change(request, entry, "Enabled." if on else "Disabled.")
        self.message_user(request, f"{len(switched)} model(s) {'enabled' if on else 'disabled'}.", messages.SUCCESS)


@admin.register(DefaultModel)
class DefaultModelAdmin(AuditedAdmin[DefaultModel]):
    """Which model answers when nobody names one."""

    list_display = ("role", "model_id")
    list_display_links = ("role",)
    autocomplete_fields = ("model",)


@admin.register(EndpointState)
class EndpointStateAdmin(admin.ModelAdmin[EndpointState]):
    """One page, read-only, of this process's memory: no row is read, so there is nothing to list, open or change."""

    def get_urls(self) -> list[URLPattern]:
        page = self.admin_site.admin_view(self.changelist_view)
        return [path("", page, name="llm_endpointstate_changelist")]

    def has_view_permission(self, request: HttpRequest, obj: EndpointState | None = None) -> bool:
        return self.admin_site.get_model_admin(ModelEntry).has_view_permission(request)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: EndpointState | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: EndpointState | None = None) -> bool:
        return False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if request.method not in ("GET", "HEAD") or not self.has_view_permission(request):
            raise PermissionDenied
        context = {
            **self.admin_site.each_context(request),
            "title": "Endpoints",
            "opts": self.opts,
            "pools": sorted(_distinct(_every_pool()), key=lambda pool: pool.card.id),
            "process": os.getpid(),
            "host": socket.gethostname(),
        }
        return TemplateResponse(request, "llm/endpoints.html", context)


def _distinct(found: Iterable[Pool]) -> Iterable[Pool]:
    """A pool that was made anew has the former one's members, which may still be answering."""
    return {(pool.card.id, *map(id, pool.members)): pool for pool in found}.values()


def _every_pool() -> list[Pool]:
    """The page is made in a thread: while it looks, the loop may add a pool, and Python then refuses to go on."""
    while True:
        try:
            return list(pools)
        except RuntimeError:
            continue
