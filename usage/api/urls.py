"""What is below `/api/` of usage and budgets."""

from django.urls import path

from usage.api import views

urlpatterns = [
    path("usage/", views.UsageView.as_view()),
    path("usage/month/", views.MonthView.as_view()),
    path("budgets/", views.BudgetsView.as_view()),
    path("groups/<str:group_id>/usage/", views.GroupUsageView.as_view()),
]
