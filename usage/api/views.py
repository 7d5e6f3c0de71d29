"""The addresses of usage and budgets below `/api/`."""

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.views import ApiView, checked
from usage.api import described, serializers
from usage.api.usage import Report, group_usage, my_budgets, my_month, my_usage


class _ReportView(ApiView):
    def shown(self, request: Request, report: Report) -> Response:
        page = self.page(request, report.parts, serializers.UsageBody)
        page.data |= {
            "first": report.first,
            "last": report.last,
            "of": dict(report.of),
            "by": report.by,
            "total": serializers.TotalBody(report.total).data,
        }
        return page


class UsageView(_ReportView):
    @described.my_usage
    def get(self, request: Request) -> Response:
        return self.shown(request, my_usage(by=self.by(), params=_params(request)))


class MonthView(ApiView):
    @described.my_month
    def get(self, request: Request) -> Response:
        return Response(serializers.MonthBody(my_month(by=self.by())).data)


class BudgetsView(ApiView):
    @described.my_budgets
    def get(self, request: Request) -> Response:
        return self.page(request, my_budgets(by=self.by()), serializers.StandingBody)


class GroupUsageView(_ReportView):
    @described.group_usage
    def get(self, request: Request, group_id: str) -> Response:
        report = group_usage(by=self.by(), group_id=checked(group_id), params=_params(request))
        return self.shown(request, report)


def _params(request: Request) -> dict[str, Any]:
    return {name: str(value) for name, value in request.query_params.items()}
