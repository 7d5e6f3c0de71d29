"""The audit log in the admin: read-only, and as fast with a million entries as with ten."""

import json
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from typing import Any, ClassVar

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.dateparse import parse_date
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString

from audit.models import Entry

# So far one can leaf; who looks for more narrows the list down.
MOST_LISTED = 10_000
_DAYS = {"today": 0, "yesterday": 1}


class _BoundedPaginator(Paginator[Any]):
    """Counts no further than one can leaf: the whole table is never counted."""

    @cached_property
    def count(self) -> int:
        listed = self.object_list
        return listed[:MOST_LISTED].count() if isinstance(listed, QuerySet) else len(listed)


class _LinkFilter(admin.SimpleListFilter):
    """Offers a few values; another one that the address names counts too and is shown."""

    offered: ClassVar[tuple[str, ...]] = ()

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        chosen = self.value()
        return [(value, value) for value in dict.fromkeys((*self.offered, *([chosen] if chosen else [])))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        chosen = self.value()
        return queryset.filter(self.condition(chosen)) if chosen else queryset

    def condition(self, chosen: str) -> Q:
        return Q((self.parameter_name, chosen))


class DayFilter(_LinkFilter):
    """Days in UTC; `?day=2027-01-31` is any day."""

    title = "day (UTC)"
    parameter_name = "day"
    offered = tuple(_DAYS)

    def condition(self, chosen: str) -> Q:
        start = _day(chosen)
        return Q(at__gte=start, at__lt=start + timedelta(days=1)) if start else Q(pk__in=())


class ActorFilter(_LinkFilter):
    """Set by the links in the list."""

    title = "actor"
    parameter_name = "actor"

    def has_output(self) -> bool:
        return bool(self.value())


class KindFilter(_LinkFilter):
    title = "kind"
    parameter_name = "resource"
    offered = (
        "API key",
        "group",
        "membership",
        "account",
        "user",
        "admin role",
        "model",
        "default model",
        "price",
        "budget",
        "usage",
    )


@admin.register(Entry)
class EntryAdmin(admin.ModelAdmin[Entry]):
    """Nothing here can be added, changed or deleted: the log is what happened."""

    list_display = ("moment", "who", "door", "action", "resource", "resource_id", "summary", "request_id")
    list_display_links = ("moment",)
    list_filter = (DayFilter, ActorFilter, KindFilter, "door")
    list_per_page = 100
    list_max_show_all = 0
    sortable_by: ClassVar = ()
    actions = None
    paginator = _BoundedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    # Their presence shows the search field; `get_search_results` does the search.
    search_fields: ClassVar = ("actor", "resource_id", "request_id")
    search_help_text = "A whole id: of a user, a key, a model, a group, or a request."
    fields: ClassVar = (
        *("moment", "actor", "api_key_id", "door", "action", "resource", "resource_id", "changed", "request_id"),
    )
    readonly_fields = fields

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Entry | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Entry | None = None) -> bool:
        return False

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Only what the sidebar sets: Django would let an address ask for any lookup, and some scan the table."""
        return lookup in ("day", "actor", "resource", "door__exact")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Entry], search_term: str
    ) -> tuple[QuerySet[Entry], bool]:
        term = search_term.strip().replace("\0", "")
        anywhere = Q(actor=term) | Q(resource_id=term) | Q(request_id=term)
        return (queryset.filter(anywhere) if term else queryset), False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if request.method not in ("GET", "HEAD"):
            raise PermissionDenied
        return super().changelist_view(request, {"title": "Audit log", **(extra_context or {})})

    @admin.display(description="When")
    def moment(self, entry: Entry) -> str:
        return f"{entry.at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"

    @admin.display(description="Who")
    def who(self, entry: Entry) -> SafeString:
        return format_html('<a href="{}">{}</a>', "?" + urlencode({"actor": entry.actor}), entry.actor)

    @admin.display(description="Changes")
    def summary(self, entry: Entry) -> str:
        return ", ".join(entry.changes)

    @admin.display(description="Changes")
    def changed(self, entry: Entry) -> SafeString:
        return format_html("<pre>{}</pre>", json.dumps(entry.changes, indent=2, ensure_ascii=False))


def _day(name: str) -> datetime | None:
    """The first moment of a day; None for what is no day."""
    if name in _DAYS:
        return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=_DAYS[name])
    try:
        day = parse_date(name)
    except ValueError:
        return None
    # The last day of all has no end that could be written down.
    return datetime(day.year, day.month, day.day, tzinfo=UTC) if day and day < date.max else None
