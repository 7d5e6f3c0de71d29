"""What REST answers of usage and budgets. Money is whole micro-dollars (10⁻⁶ USD) in fields that say so."""

from typing import Any

from drf_spectacular.utils import extend_schema_field, extend_schema_serializer
from rest_framework import serializers

from accounts.api.serializers import LimitBody
from usage.api.usage import Month, Standing
from usage.models import Dimension
from usage.review.sums import Part


class _Amounts(serializers.Serializer[Part]):
    calls = serializers.IntegerField(help_text="Calls of models.")
    failedCalls = serializers.IntegerField(source="failed_calls", help_text="Of them, those that failed.")
    inputTokens = serializers.IntegerField(source="input_tokens", help_text="Uncached.")
    cacheReadTokens = serializers.IntegerField(source="cache_read_tokens")
    cacheWriteTokens = serializers.IntegerField(source="cache_write_tokens")
    outputTokens = serializers.IntegerField(source="output_tokens", help_text="Reasoning included.")
    microDollars = serializers.IntegerField(source="micro_dollars", help_text="Millionths of a US dollar.")


@extend_schema_serializer(component_name="UsageTotal")
class TotalBody(_Amounts):
    """All parts together."""


@extend_schema_serializer(component_name="Usage")
class UsageBody(_Amounts):
    """One day, model, account, … of the period."""

    value = serializers.CharField(
        help_text="Which day (YYYY-MM-DD), model, account, key, purpose or user; empty: without a key."
    )


class Whose(serializers.Serializer[Any]):
    """Whose spending it is: one of these."""

    user = serializers.CharField(required=False)
    key = serializers.CharField(required=False, help_text="An API key that is shown what it has spent itself.")
    group = serializers.CharField(required=False)


class MonthBody(serializers.Serializer[Month]):
    """The present month, UTC."""

    first = serializers.DateField(help_text="Its first day.")
    of = Whose()
    microDollars = serializers.IntegerField(source="forecast.month_to_date", help_text="So far, today included.")
    todayMicroDollars = serializers.IntegerField(source="today")
    expectedMicroDollars = serializers.IntegerField(
        source="forecast.expected",
        help_text="Of the whole month: what is spent, and for each day that is left the mean of its kind.",
    )
    weekdayMicroDollars = serializers.IntegerField(
        source="forecast.weekday", help_text="A day from Monday to Friday, on average of the last 28 days."
    )
    weekendMicroDollars = serializers.IntegerField(source="forecast.weekend")
    days = serializers.IntegerField(source="forecast.days", help_text="Of how many days these means are.")


@extend_schema_serializer(component_name="BudgetStanding")
class StandingBody(serializers.Serializer[Standing]):
    """A limit that applies to your calls, and what is gone of it."""

    name = serializers.CharField(source="line.name", help_text="Of the budget, group or account; may be empty.")
    setBy = serializers.ChoiceField(
        source="line.source", choices=["admin", "user", "key", "group", "account"], help_text="Who has set it."
    )
    counts = serializers.ChoiceField(
        source="line.dimension", choices=[one.value for one in Dimension], help_text="Whose spending it counts."
    )
    of = serializers.CharField(source="line.value", help_text="Which user, key, group or account; empty: everybody's.")
    limit = LimitBody(source="line.limit")
    limitMicroDollars = serializers.IntegerField(source="line.limit.micro_dollars")
    spentMicroDollars = serializers.IntegerField(source="balance.spent")
    reservedMicroDollars = serializers.IntegerField(
        source="balance.reserved", help_text="Expected of calls that are under way."
    )
    leftMicroDollars = serializers.IntegerField(source="left")
    percent = serializers.IntegerField(source="per_cent", help_text="Gone of the limit; may pass 100.")
    resetsAt = serializers.SerializerMethodField(help_text="When it begins anew; null for never.")

    @extend_schema_field({"type": ["string", "null"], "format": "date-time"})
    def get_resetsAt(self, standing: Standing) -> str | None:
        return None if standing.resets_at is None else f"{standing.resets_at:%Y-%m-%dT%H:%M:%SZ}"


def report_fields() -> dict[str, Any]:
    """What stands beside the parts of a report."""
    return {
        "first": serializers.DateField(help_text="The period's first day, UTC."),
        "last": serializers.DateField(help_text="Its last day, included."),
        "of": Whose(),
        "by": serializers.CharField(help_text="By what the parts are told apart."),
        "total": TotalBody(),
    }
