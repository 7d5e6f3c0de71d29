"""Django's change list with keyset pages in place of counted ones, and with totals."""

from typing import Any

from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest

from usage.admin.columns import dollars
from usage.admin.paging import NEWER, OLDER, Cursor, Page, read_page
from usage.admin.search import MAX_NAMES, find
from usage.admin.selection import Selection, asked
from usage.admin.totals import Totals, totals_of


class LedgerChangeList(ChangeList):
    """Reads one page and the totals; never counts, never sorts, never looks up what the address alone asks for."""

    selection: Selection
    cursor: Cursor | None
    page: Page
    totals: Totals
    max_names = MAX_NAMES

    def get_queryset(self, request: HttpRequest, exclude_parameters: list[str | None] | None = None) -> QuerySet[Any]:
        for name in (OLDER, NEWER):  # a changed filter starts at the newest again
            self.params.pop(name, None)
            self.filter_params.pop(name, None)
        self.filter_specs, self.has_filters, _, _, self.has_active_filters = self.get_filters(request)
        self.clear_all_filters_qs = self.get_query_string(remove=self.get_filters_params())
        self.selection = Selection.read(asked(request), find(self.query))
        return self.root_queryset  # narrowed in get_results, where the page is known

    def get_results(self, request: HttpRequest) -> None:
        self.cursor = Cursor.read(asked(request))
        self.page = read_page(self.selection, self.cursor, self.list_per_page)
        self.totals = totals_of(self.selection)
        self.result_list = self.page.rows
        # Equal, and of this page: so Django's own templates claim nothing about the whole.
        self.result_count = self.full_result_count = len(self.page.rows)
        self.show_full_result_count = self.show_admin_actions = False
        self.can_show_all = self.multi_page = False

    def cards(self) -> list[tuple[str, str]]:
        """The totals in words, money first."""
        totals = self.totals
        return [
            ("Cost", dollars(totals.micro_dollars)),
            ("Calls", f"{totals.calls:,}"),
            ("Tokens in, uncached", f"{totals.input_tokens:,}"),
            ("Tokens from cache", f"{totals.cache_read_tokens:,}"),
            ("Tokens into cache", f"{totals.cache_write_tokens:,}"),
            ("Tokens out", f"{totals.output_tokens:,}"),
        ]

    def newest_link(self) -> str:
        return self.get_query_string()

    def older_link(self) -> str:
        return self.get_query_string({OLDER: self.page.older})

    def newer_link(self) -> str:
        return self.get_query_string({NEWER: self.page.newer})
