"""The usage overview: pages of the admin that show sums, budgets and exports. Nothing here changes anything."""

from collections.abc import Mapping
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest, HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone

from audit.entries import By, record
from audit.models import Door
from core.ids import request_id
from usage.exports import EXPORTS, export
from usage.models import Overview, Purpose
from usage.review.asked import DAY, FILTERS, FROM, TO, Asked, periods
from usage.review.page import FURTHER, overview
from usage.review.standings import standings

NEAREST_SHOWN = 5
_LABELS = {
    "user": "User", "group": "Group", "account": "Account", "key": "API key", "model": "Model",
    "assistant": "Assistant", "purpose": "Purpose",
}  # fmt: skip


@admin.register(Overview)
class OverviewAdmin(admin.ModelAdmin[Overview]):
    """Pages in place of a list: there is nothing to add, change or delete."""

    def get_urls(self) -> list[URLPattern]:
        def page(view: Any) -> Any:
            return self.admin_site.admin_view(view)

        return [
            path("", page(self.overview_view), name="usage_overview_changelist"),
            path("budgets/", page(self.budgets_view), name="usage_overview_budgets"),
            path("export/", page(self.exports_view), name="usage_overview_exports"),
            path("export/<slug:name>/", page(self.export_view), name="usage_overview_export"),
        ]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Overview | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Overview | None = None) -> bool:
        return False

    def has_export_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("usage.export_usage")

    def overview_view(self, request: HttpRequest) -> HttpResponse:
        self._check(request)
        asked, error = self._asked(request)
        further = request.GET.get("further", "")
        context = overview(asked, further if further in FURTHER else next(iter(FURTHER)))
        nearest = standings(each=False)[:NEAREST_SHOWN]
        return self._page(
            request, "overview", "Usage overview", asked, error=error, nearest=nearest, furthers=FURTHER, **context
        )

    def budgets_view(self, request: HttpRequest) -> HttpResponse:
        self._check(request)
        return self._page(request, "budgets", "Budgets by how near the edge", None, standings=standings())

    def exports_view(self, request: HttpRequest) -> HttpResponse:
        self._check(request, export=True)
        asked, error = self._asked(request)
        return self._page(request, "exports", "Export usage", asked, error=error, exports=EXPORTS.values())

    def export_view(self, request: HttpRequest, name: str) -> HttpResponseBase:
        self._check(request, export=True)
        if name not in EXPORTS:
            return HttpResponseBadRequest("There is no such export.")
        try:
            asked = Asked.read(_params(request))
        except ValueError as error:
            return HttpResponseBadRequest(str(error))
        by = By(
            actor=request.user.get_username(),
            door=Door.ADMIN,
            request_id=request_id(request.headers.get("X-Request-ID")),
        )
        # Who has taken what out of the house.
        record(by, "exported", "usage", name, {"selection": [None, asked.query()]})
        return export(EXPORTS[name], asked)

    def _check(self, request: HttpRequest, *, export: bool = False) -> None:
        if request.method not in ("GET", "HEAD") or not self.has_view_permission(request):
            raise PermissionDenied
        if export and not self.has_export_permission(request):
            raise PermissionDenied

    def _asked(self, request: HttpRequest) -> tuple[Asked, str]:
        """What is asked for; for what cannot be, the default and what is wrong."""
        try:
            return Asked.read(_params(request)), ""
        except ValueError as error:
            return Asked.read({}), str(error)

    def _page(self, request: HttpRequest, name: str, title: str, asked: Asked | None, **more: Any) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": title,
            "opts": self.opts,
            "page": name,
            "as_of": timezone.now(),
            "may_export": self.has_export_permission(request),
            "form": None if asked is None else _form(asked),
            "asked": asked,
            **more,
        }
        return TemplateResponse(request, f"usage/review/{name}.html", context)


def _params(request: HttpRequest) -> Mapping[str, str]:
    return {name: value for name, value in request.GET.items() if isinstance(value, str)}


def _form(asked: Asked) -> dict[str, Any]:
    """What the fields of the form hold."""
    named = dict(periods())
    return {
        "periods": named.items(),
        "period": asked.period,
        "own": "" if asked.period in named else asked.period,
        "first": "" if asked.period in named else asked.first.isoformat(),
        "last": "" if asked.period in named else asked.last.isoformat(),
        "names": {"day": DAY, "from": FROM, "to": TO},
        "filters": [(name, _LABELS[name], asked.chosen.get(name, "")) for name in FILTERS if name != "purpose"],
        "purposes": [(value, label, asked.chosen.get("purpose") == value) for value, label in Purpose.choices],
        "chosen": [(name, _LABELS[name], value, asked.query(**{name: ""})) for name, value in asked.chosen.items()],
    }
