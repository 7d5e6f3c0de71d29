"""How a model call is shown: money, tokens, times and the outcome, each as one cell."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from django.contrib import admin
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.http import urlencode
from django.utils.safestring import SafeString

from usage.admin.selection import DAY
from usage.models import UsageRecord

_SHORT_RUN = 6
_BREAKS = re.compile(r"(?<=[@_/])(?=.)")
_NOTHING = "\u2013"


def dollars(micro_dollars: int) -> str:
    """Exact to the micro-dollar: $1,234.056789."""
    return f"${micro_dollars // 10**6:,}.{micro_dollars % 10**6:06d}"


def duration(milliseconds: int | None) -> str:
    if milliseconds is None:
        return _NOTHING
    if milliseconds < 1_000:  # noqa: PLR2004 - a second
        return f"{milliseconds} ms"
    if milliseconds < 60_000:  # noqa: PLR2004 - a minute
        return f"{milliseconds / 1000:.2f} s"
    minutes, seconds = divmod(round(milliseconds / 1000), 60)
    return f"{minutes} min {seconds:02d} s"


def moment(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def tag(kind: str, text: str, why: str = "") -> SafeString:
    return format_html('<span class="ledger-tag ledger-{}" title="{}">{}</span>', kind, why, text)


def outcome_badge(row: UsageRecord) -> SafeString:
    return format_html(
        '<span class="ledger-outcome ledger-{}" title="{}">{}</span>',
        row.outcome,
        row.error_code,
        row.get_outcome_display(),
    )


def cost_cell(row: UsageRecord) -> SafeString:
    if not row.price_version:
        return tag("unpriced", "no price", "No price was known for this model: booked at $0.")
    return format_html("{}{}", dollars(row.micro_dollars), _estimate(row))


def _estimate(row: UsageRecord) -> SafeString | str:
    if not row.estimated:
        return ""
    return format_html(" {}", tag("estimated", "est.", "The vendor did not say; we counted."))


class Columns:
    """The cells of the list; made once per page, because their links keep what the page already selects."""

    def __init__(self, params: Mapping[str, str]) -> None:
        self._params = params

    def all(self) -> list[Callable[[UsageRecord], Any]]:
        return [
            self.started, self.user, self.account, self.model, self.tokens_in, self.tokens_cached, self.tokens_out,
            self.cost, self.first_token, self.duration, self.outcome, self.run,
        ]  # fmt: skip

    def _link(self, text: str, **changed: str) -> SafeString:
        query = urlencode({**self._params, **changed})
        # Long names may break after these.
        parts = format_html_join("", "{}<wbr>", ((part,) for part in _BREAKS.split(text)))
        return format_html('<a href="?{}" title="Only {}">{}</a>', query, text, parts)

    @admin.display(description="Started (UTC)")
    def started(self, row: UsageRecord) -> SafeString:
        at = row.started_at.astimezone(UTC)
        detail = reverse("admin:usage_usagerecord_change", args=(row.pk,))
        day = f"{at:%Y-%m-%d}"
        return format_html(
            '{} <a href="{}" title="All about this call">{}</a>',
            self._link(day, **{DAY: day}),
            detail,
            f"{at:%H:%M:%S}",
        )

    @admin.display(description="User")
    def user(self, row: UsageRecord) -> SafeString:
        return self._link(row.user_id, user=row.user_id)

    @admin.display(description="Account")
    def account(self, row: UsageRecord) -> SafeString:
        return self._link(row.account_id, account=row.account_id)

    @admin.display(description="Model")
    def model(self, row: UsageRecord) -> SafeString:
        return self._link(row.model_id, model=row.model_id)

    @admin.display(description="In")
    def tokens_in(self, row: UsageRecord) -> str:
        return f"{row.input_tokens:,}"

    @admin.display(description="Cached")
    def tokens_cached(self, row: UsageRecord) -> SafeString | str:
        if not row.cache_write_tokens:
            return f"{row.cache_read_tokens:,}"
        written = tag("written", f"+{row.cache_write_tokens:,}", "Written to the vendor's cache.")
        return format_html("{} {}", f"{row.cache_read_tokens:,}", written)

    @admin.display(description="Out")
    def tokens_out(self, row: UsageRecord) -> str:
        return f"{row.output_tokens:,}"

    @admin.display(description="Cost")
    def cost(self, row: UsageRecord) -> SafeString:
        return cost_cell(row)

    @admin.display(description="First")
    def first_token(self, row: UsageRecord) -> str:
        return duration(row.first_token_ms)

    @admin.display(description="Took")
    def duration(self, row: UsageRecord) -> str:
        return duration(row.duration_ms)

    @admin.display(description="Outcome")
    def outcome(self, row: UsageRecord) -> SafeString:
        return outcome_badge(row)

    @admin.display(description="Run")
    def run(self, row: UsageRecord) -> SafeString:
        bare = row.run_id.removeprefix("run_")
        short = bare if len(bare) <= _SHORT_RUN else f"{bare[:_SHORT_RUN]}…"
        return format_html(
            '<a href="?{}" title="{}">{}</a>', urlencode({"q": row.run_id}), f"All calls of {row.run_id}", short
        )
