"""Budgets in the admin: what may be spent, what is gone of it, and when it begins anew."""

from decimal import Decimal
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

from django import forms
from django.conf import settings
from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html

from accounts.limits import MICRO, Period
from audit.audited import AuditedAdmin
from usage.limits import Balance, dollars, window_end
from usage.models import Budget
from usage.reservations import balances_of
from usage.review.shown import money
from usage.review.standings import pot_of, state_of


class BudgetForm(forms.ModelForm[Budget]):
    """Takes dollars; the database keeps whole micro-dollars."""

    dollars = forms.DecimalField(label="Limit, $", min_value=0, max_digits=12, decimal_places=6)

    class Meta:
        model = Budget
        fields = ("applies_to", "subject", "period", "warn_at_percent", "active", "note")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk is not None:
            self.initial["dollars"] = Decimal(self.instance.micro_dollars) / MICRO

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean()
        # Before the model's constraints are checked.
        self.instance.micro_dollars = int(self.cleaned_data.get("dollars", Decimal(0)) * MICRO)
        return cleaned


class _Budgets(ChangeList):
    """The page's budgets with what is gone of each, by one statement for all."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.result_list = list(self.result_list)
        now = timezone.now()
        pots = {budget: pot for budget in self.result_list if (pot := pot_of(budget, now)) is not None}
        balances = balances_of(set(pots.values()))
        for budget, pot in pots.items():
            budget.balance = balances[pot]


@admin.register(Budget)
class BudgetAdmin(AuditedAdmin[Budget]):
    form = BudgetForm
    list_display = ("applies_to", "subject", "period", "spent", "limit", "under_way", "begins_anew", "active", "note")
    list_filter = ("applies_to", "period", "active")
    search_fields = ("subject", "note")
    fields = ("applies_to", "subject", "period", "dollars", "warn_at_percent", "active", "note")
    show_full_result_count = False

    class Media:
        css: ClassVar = {"all": ("usage/review.css",)}

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return _Budgets

    def save_model(self, request: HttpRequest, obj: Budget, form: Any, change: bool) -> None:
        if not change:
            obj.created_by = request.user.get_username()
        super().save_model(request, obj, form, change)

    @admin.display(description="Limit", ordering="micro_dollars")
    def limit(self, budget: Budget) -> str:
        return f"${dollars(budget.micro_dollars)}"

    @admin.display(description="Spent")
    def spent(self, budget: Budget) -> str:
        balance: Balance | None = getattr(budget, "balance", None)
        if balance is None:
            return "by each"
        if not budget.micro_dollars:
            return money(balance.spent)
        per_cent = balance.spent * 100 // budget.micro_dollars
        return format_html(
            '<span class="review-{}">{} ({} %)'
            ' <progress max="100" value="{}" aria-label="{} % spent"></progress></span>',
            state_of(budget, balance),
            money(balance.spent),
            f"{per_cent:,}",
            min(100, per_cent),
            per_cent,
        )

    @admin.display(description="Under way")
    def under_way(self, budget: Budget) -> str:
        balance: Balance | None = getattr(budget, "balance", None)
        return "" if balance is None else money(balance.reserved)

    @admin.display(description="Begins anew")
    def begins_anew(self, budget: Budget) -> str:
        """In the zone of the people who look at it; the window itself is one of UTC."""
        end = window_end(Period(budget.period), timezone.now())
        return "never" if end is None else f"{end.astimezone(ZoneInfo(settings.DISPLAY_TIME_ZONE)):%Y-%m-%d %H:%M %Z}"
