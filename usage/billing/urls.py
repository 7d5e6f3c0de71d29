"""What is below `/billing/`. The door adds the slash at the end, which today's clients leave out."""

from django.urls import path

from usage.billing import views

urlpatterns = [
    path("mtd-cost/", views.MtdCost.as_view()),
    path("api-key-user-cost/", views.ApiKeyUserCost.as_view()),
    path("list-all-user-mtd-costs/", views.AllUserMtdCosts.as_view()),
    path("list-user-mtd-costs/", views.UserMtdCosts.as_view()),
    path("billing-groups-costs/", views.BillingGroupsCosts.as_view()),
    path("user-cost-history/", views.UserCostHistory.as_view()),
]
