"""FOCUS 1.2, the FinOps Open Cost and Usage Specification: https://focus.finops.org/focus-specification/v1-2/

A charge is what one combination of user, account, key, groups, model, provider, assistant, purpose and outcome has used
on one UTC day: a row of `Combination`. All mandatory columns are there, the conditional ones that apply, and our own as
`x_…`. Not those of SKUs and unit prices, which may not be empty where they are: a charge sums tokens of several classes
at several prices.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from django.db.models import Q

from usage.exports.rows import PAGE, Row, days_with_calls, usd
from usage.group_sets import groups_of
from usage.models import Combination, Span
from usage.review.asked import Asked
from usage.review.periods import ONE_DAY, midnight, month_of, next_month

VERSION = "1.2"
_TOKENS = ("input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens")
COLUMNS = (
    *("BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodEnd"),
    *("BillingPeriodStart", "ChargeCategory", "ChargeClass", "ChargeDescription", "ChargeFrequency"),
    *("ChargePeriodEnd", "ChargePeriodStart", "ConsumedQuantity", "ConsumedUnit", "ContractedCost"),
    *("EffectiveCost", "InvoiceIssuerName", "ListCost", "PricingCategory", "PricingQuantity", "PricingUnit"),
    *("ProviderName", "PublisherName", "ResourceId", "ResourceName", "ServiceCategory", "ServiceName"),
    *("ServiceSubcategory", "SubAccountId", "SubAccountName", "Tags", "x_Calls", "x_FailedCalls"),
    *("x_UnpricedCalls", "x_InputTokens", "x_CacheReadTokens", "x_CacheWriteTokens", "x_OutputTokens"),
    "x_FocusVersion",
)


class FocusRows:
    columns = COLUMNS

    def __init__(self, asked: Asked) -> None:
        self._asked = asked

    def pages(self) -> Iterator[Sequence[Row]]:
        for day in days_with_calls(self._asked):
            yield from self._pages_of(midnight(day))

    def _pages_of(self, day: datetime) -> Iterator[Sequence[Row]]:
        """The rows of a day are few enough to be ordered by their keys."""
        charges = Combination.objects.filter(self._asked.condition(), span=Span.DAY, starts_at=day).order_by("pk")
        beyond = Q()
        while page := list(charges.filter(beyond)[:PAGE]):
            sets = groups_of(charge.group_set for charge in page)
            yield [_row(charge, sets) for charge in page]
            beyond = Q(pk__gt=page[-1].pk)


def _row(charge: Combination, sets: Mapping[str, frozenset[str]]) -> Row:
    values = _charge(charge) | _period(charge.starts_at) | _what(charge) | _tags(charge, sets)
    return [values.get(name) for name in COLUMNS]


def _charge(charge: Combination) -> dict[str, Any]:
    cost, tokens = usd(charge.micro_dollars), sum(getattr(charge, name) for name in _TOKENS)
    return {
        **dict.fromkeys(("BilledCost", "EffectiveCost", "ListCost", "ContractedCost"), cost),
        "BillingCurrency": "USD",
        "BillingAccountId": charge.account_id or "none",
        "BillingAccountName": charge.account_id,
        "SubAccountId": charge.user_id,
        "SubAccountName": charge.user_id,
        "ChargeCategory": "Usage",
        "ChargeDescription": f"{charge.calls} calls of {charge.model_id} ({charge.purpose})",
        "ChargeFrequency": "Usage-Based",
        "ConsumedQuantity": tokens,
        "ConsumedUnit": "Tokens",
        "PricingCategory": "Standard",
        "PricingQuantity": tokens,
        "PricingUnit": "Tokens",
        "x_Calls": charge.calls,
        "x_FailedCalls": charge.failed_calls,
        "x_UnpricedCalls": charge.unpriced_calls,
        "x_InputTokens": charge.input_tokens,
        "x_CacheReadTokens": charge.cache_read_tokens,
        "x_CacheWriteTokens": charge.cache_write_tokens,
        "x_OutputTokens": charge.output_tokens,
        "x_FocusVersion": VERSION,
    }


def _period(start: datetime) -> dict[str, str]:
    """FOCUS dates: ISO 8601 in UTC; what ends, ends before the moment that is named."""
    day = start.date()
    month = month_of(day)
    bounds = {
        "ChargePeriodStart": day,
        "ChargePeriodEnd": day + ONE_DAY,
        "BillingPeriodStart": month,
        "BillingPeriodEnd": next_month(month),
    }
    return {name: f"{bound:%Y-%m-%d}T00:00:00Z" for name, bound in bounds.items()}


def _what(charge: Combination) -> dict[str, str]:
    return {
        "ProviderName": charge.provider,
        "PublisherName": charge.provider,
        "InvoiceIssuerName": charge.provider,
        "ServiceCategory": "AI and Machine Learning",
        "ServiceSubcategory": "Generative AI",
        "ServiceName": charge.provider,
        "ResourceId": charge.model_id,
        "ResourceName": charge.model_id,
    }


def _tags(charge: Combination, sets: Mapping[str, frozenset[str]]) -> dict[str, str]:
    tags = {
        "user": charge.user_id,
        "account": charge.account_id,
        "api_key": charge.api_key_id,
        "groups": " ".join(sorted(sets.get(charge.group_set, ()))),
        "assistant": charge.assistant,
        "purpose": charge.purpose,
    }
    return {"Tags": json.dumps({name: value for name, value in tags.items() if value}, ensure_ascii=False)}
