"""What the OpenAPI document says of usage and budgets, with examples."""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema

from core.openapi import PAGE_PARAMETERS, page_of
from usage.api import serializers
from usage.api.usage import BY, BY_OF_A_GROUP, MAX_DAYS

_PERIOD = OpenApiParameter(
    "period",
    OpenApiTypes.STR,
    description="`today`, `yesterday`, `week`, `30-days`, `month` (if left out), `last-month`, `year`, a date "
    f"YYYY-MM-DD, or two with `..` between; days are UTC, at most {MAX_DAYS} of them.",
)
_REPORT = page_of(serializers.UsageBody, **serializers.report_fields())
_GROUP_ID = OpenApiParameter("group_id", OpenApiTypes.STR, OpenApiParameter.PATH)
_AMOUNTS = {
    "calls": 12,
    "failedCalls": 0,
    "inputTokens": 18420,
    "cacheReadTokens": 1024,
    "cacheWriteTokens": 0,
    "outputTokens": 3110,
    "microDollars": 84213,
}
_PAGE = {
    "count": 1,
    "next": None,
    "previous": None,
    "results": [{**_AMOUNTS, "value": "2026-11-25"}],
    "first": "2026-11-01",
    "last": "2026-11-25",
    "of": {"user": "alice"},
    "by": "day",
    "total": _AMOUNTS,
}
_MONTH = {
    "first": "2026-11-01",
    "of": {"user": "alice"},
    "microDollars": 84213,
    "todayMicroDollars": 4213,
    "expectedMicroDollars": 101000,
    "weekdayMicroDollars": 4000,
    "weekendMicroDollars": 0,
    "days": 24,
}
_STANDING = {
    "name": "each user: Monthly",
    "setBy": "admin",
    "counts": "user",
    "of": "alice",
    "limit": {"period": "Monthly", "rate": 50.0},
    "limitMicroDollars": 50_000_000,
    "spentMicroDollars": 84213,
    "reservedMicroDollars": 0,
    "leftMicroDollars": 49_915_787,
    "percent": 0,
    "resetsAt": "2026-12-01T00:00:00Z",
}


def _by(known: tuple[str, ...]) -> OpenApiParameter:
    return OpenApiParameter("by", OpenApiTypes.STR, enum=known, description=f"`{known[0]}` if left out.")


def _answered(value: Any) -> list[OpenApiExample]:
    return [OpenApiExample("answered", value=value, response_only=True)]


my_usage = extend_schema(
    operation_id="read_usage",
    tags=["usage"],
    summary="What you have spent",
    description="Of your calls to this service; those that cost most first, days from the newest on. An API key is "
    "shown what it has spent itself, unless it is an owner key with the access type `full_access`.",
    parameters=[_PERIOD, _by(BY), *PAGE_PARAMETERS],
    responses=_REPORT,
    examples=_answered(_PAGE),
)
my_month = extend_schema(
    operation_id="read_month",
    tags=["usage"],
    summary="The month to date, and what it will have cost",
    responses=serializers.MonthBody,
    examples=_answered(_MONTH),
)
my_budgets = extend_schema(
    operation_id="list_budgets",
    tags=["usage"],
    summary="What is left of the limits that apply to you",
    description="All of them, as they are asked before each of your calls; nearest the edge first.",
    parameters=PAGE_PARAMETERS,
    responses=page_of(serializers.StandingBody),
    examples=_answered({"count": 1, "next": None, "previous": None, "results": [_STANDING]}),
)
group_usage = extend_schema(
    operation_id="read_group_usage",
    tags=["usage"],
    summary="What a group has spent",
    description="What its members have spent while they were in it. For the admins of an assistant group, and for "
    "administrators. Needs the access type `assistants`.",
    parameters=[_GROUP_ID, _PERIOD, _by(BY_OF_A_GROUP), *PAGE_PARAMETERS],
    responses=_REPORT,
    examples=_answered(
        _PAGE | {"results": [{**_AMOUNTS, "value": "bob"}], "by": "user", "of": {"group": "Chem-101_7b1c0a5e"}}
    ),
)
