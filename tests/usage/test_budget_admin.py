"""Budgets in the admin: entered in dollars, shown with what is gone, and changed with a trace."""

from datetime import UTC, datetime

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from accounts.models import User
from audit.models import Entry
from tests.usage.conftest import reservation
from usage.models import Budget
from usage.reservations import keep
from usage.testing import Clock

pytestmark = pytest.mark.django_db
URL = "/admin/usage/budget/"


@pytest.fixture
def admin(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("root"))
    return client


def add(admin: Client, **fields: str) -> int:
    form = {
        "applies_to": "user",
        "subject": "ann",
        "period": "Total",
        "dollars": "12.345678",
        "active": "on",
        "note": "",
    }
    return admin.post(f"{URL}add/", form | fields).status_code


def test_a_budget_is_entered_in_dollars(admin: Client) -> None:
    assert add(admin) == 302
    budget = Budget.objects.get()
    assert (budget.micro_dollars, budget.created_by) == (12_345_678, "root")
    assert "12.345678" in admin.get(f"{URL}{budget.pk}/change/").content.decode()
    assert Entry.objects.filter(action="created").count() == 1


@pytest.mark.parametrize("wrong", [{"subject": ""}, {"applies_to": "all"}, {"dollars": "-1"}, {"period": "Weekly"}])
def test_what_cannot_be_is_said_on_the_page(admin: Client, wrong: dict[str, str]) -> None:
    assert add(admin, **wrong) == 200 and not Budget.objects.exists()


def test_the_list_shows_what_is_gone(admin: Client, django_assert_max_num_queries: DjangoAssertNumQueries) -> None:
    clock = Clock(datetime.now(UTC))
    held = reservation(clock, 2_500_000, worker="w", expires_at=clock())
    keep([held])
    for number in range(20):
        Budget.objects.create(applies_to="user", subject=f"u{number}", period="Monthly", micro_dollars=1)
    Budget.objects.create(applies_to="user", subject="ann", period="Total", micro_dollars=10_000_000)
    Budget.objects.create(applies_to="each_user", period="Daily", micro_dollars=10_000_000)
    with django_assert_max_num_queries(12):
        page = admin.get(URL).content.decode()
    assert "$2.50" in page and "$0.00 (0 %)" in page and "by each" in page and "never" in page
    # As the review colours it, by the same style sheet.
    assert "usage/review.css" in page and page.count('class="review-fine"') == 21
    with django_assert_max_num_queries(12):
        Budget.objects.create(applies_to="all", period="Total", micro_dollars=2_600_000, warn_at_percent=95)
        assert 'class="review-near">$0.00 (0 %)' in admin.get(URL).content.decode()
