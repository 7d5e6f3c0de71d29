"""The usage ledger in the admin: every model call, read-only, and fast at any number of them."""

import json
from functools import partial
from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.views.main import SEARCH_VAR
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from usage.admin.budgets import BudgetAdmin
from usage.admin.changelist import LedgerChangeList
from usage.admin.columns import Columns, cost_cell, duration, moment, outcome_badge
from usage.admin.deliveries import DeliveryAdmin
from usage.admin.filters import DayFilter, OutcomeFilter, ValueFilter
from usage.admin.jobs import ScheduledJobAdmin
from usage.admin.overview import OverviewAdmin
from usage.admin.prices import PriceAdmin
from usage.admin.selection import COLUMNS, DAY, GROUP, Selection, asked
from usage.admin.totals import recent_days, top_values
from usage.group_sets import groups_of
from usage.models import UsageRecord
from usage.review.asked import FILTERS

__all__ = ["BudgetAdmin", "DeliveryAdmin", "OverviewAdmin", "PriceAdmin", "ScheduledJobAdmin", "UsageRecordAdmin"]

# With a link to the overview before all else, for who comes for that.
admin.site.index_template = "usage/index.html"

_PARAMETERS = frozenset({DAY, GROUP, *COLUMNS})
_PAGE_SIZE = 100
_DETAILS: dict[str | None, tuple[str, ...]] = {
    None: ("started", "outcome_shown", "error_code", "user_id", "account_id", "model_id", "provider"),
    "Money and tokens": (
        *("cost", "price_version", "input_tokens", "cache_read_tokens", "cache_write_tokens"),
        *("output_tokens", "reasoning_tokens", "counted_by"),
    ),
    "Time": ("ended", "first_token", "took"),
    "Whence": ("run_id", "request_id", "call_id", "api_key_id", "groups", "assistant", "purpose"),
    "The vendor's own words": ("vendor_said",),
}


@admin.register(UsageRecord)
class UsageRecordAdmin(admin.ModelAdmin[UsageRecord]):
    """Nothing here can be added, changed or deleted: the ledger is what happened."""

    list_per_page = _PAGE_SIZE
    list_display_links = None
    sortable_by: ClassVar = ()
    actions = None
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    # Their presence shows the search field; `usage.admin.search` does the search.
    search_fields: ClassVar = ("run_id", "user_id", "model_id")
    search_help_text = "A whole run id, or how the name of a user or a model starts (upper and lower case differ)."
    fieldsets: ClassVar = [(title, {"fields": names}) for title, names in _DETAILS.items()]
    readonly_fields: ClassVar = [name for names in _DETAILS.values() for name in names]

    class Media:
        css: ClassVar = {"all": ("usage/ledger.css",)}

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: UsageRecord | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: UsageRecord | None = None) -> bool:
        return False

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Only what the sidebar sets: Django would let an address ask for any lookup, and some scan the ledger."""
        return lookup in _PARAMETERS

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[LedgerChangeList]:
        return LedgerChangeList

    def get_list_display(self, request: HttpRequest) -> Any:
        kept = {name: value for name, value in asked(request).items() if name in (*_PARAMETERS, SEARCH_VAR)}
        return Columns(kept).all()

    def get_list_filter(self, request: HttpRequest) -> Any:
        """The choices are what cost most in the last week of the chosen days."""
        days = recent_days(Selection.read(asked(request)).days)
        by_cost = [
            partial(ValueFilter, name=name, values=top_values(FILTERS[name], days))
            for name in ("model", "user", "account")
        ]
        # Set by the usage overview; of these there is nothing to offer.
        params = asked(request)
        set_elsewhere = [
            partial(ValueFilter, name=name, values=[params[name]])
            for name in ("group", "key", "assistant", "purpose")
            if params.get(name)
        ]
        return [DayFilter, *by_cost, *set_elsewhere, OutcomeFilter]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if request.method not in ("GET", "HEAD"):
            raise PermissionDenied
        return super().changelist_view(request, {"title": "Model calls", **(extra_context or {})})

    @admin.display(description="Ended")
    def ended(self, row: UsageRecord) -> str:
        return moment(row.ended_at)

    @admin.display(description="Started")
    def started(self, row: UsageRecord) -> str:
        return moment(row.started_at)

    @admin.display(description="Outcome")
    def outcome_shown(self, row: UsageRecord) -> SafeString:
        return outcome_badge(row)

    @admin.display(description="Cost")
    def cost(self, row: UsageRecord) -> SafeString:
        return cost_cell(row)

    @admin.display(description="Tokens according to")
    def counted_by(self, row: UsageRecord) -> str:
        return "our own estimate" if row.estimated else "the vendor"

    @admin.display(description="Time to first token")
    def first_token(self, row: UsageRecord) -> str:
        return duration(row.first_token_ms)

    @admin.display(description="Groups")
    def groups(self, row: UsageRecord) -> str:
        """Those that the caller was in at that time."""
        return ", ".join(sorted(groups_of([row.group_set]).get(row.group_set, ())))

    @admin.display(description="Duration")
    def took(self, row: UsageRecord) -> str:
        return duration(row.duration_ms)

    @admin.display(description="Raw usage")
    def vendor_said(self, row: UsageRecord) -> SafeString:
        return format_html('<pre class="ledger-json">{}</pre>', json.dumps(row.raw_usage, indent=2, ensure_ascii=False))
