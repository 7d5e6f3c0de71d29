"""What waits for the platform, in the admin."""

from typing import Any

import pytest
from django.test import Client

from accounts.models import User
from audit.models import Entry
from tests.usage.conftest import reservation, row_of
from usage.admin.deliveries import DeliveryAdmin
from usage.ledger import write
from usage.models import Delivery
from usage.testing import Clock

PAGE = "/admin/usage/delivery/"

pytestmark = pytest.mark.django_db


@pytest.fixture
def operator(client: Client, django_user_model: type[User]) -> Client:
    client.force_login(django_user_model.objects.create(username="op", is_staff=True, is_superuser=True))
    return client


def test_what_was_set_aside_is_seen_and_sent_again(operator: Client) -> None:
    record = row_of(reservation(Clock()))
    write([record])
    row = Delivery.objects.create(
        call_id=record.call_id, started_at=record.started_at, due_at=record.started_at, tries=3,
        error="ValidationException", set_aside=True,
    )  # fmt: skip
    page = operator.get(PAGE, {"set_aside__exact": "1"}).content.decode()
    assert "ValidationException" in page and f"/admin/usage/usagerecord/{record.pk or 1}/change/" in page

    posted = {"action": "try_again", "_selected_action": [str(row.pk)]}
    assert "1 deliveries will be tried again." in operator.post(PAGE, posted, follow=True).content.decode()
    row.refresh_from_db()
    assert (row.set_aside, row.error) == (False, "") and row.due_at > record.started_at
    assert Entry.objects.filter(resource="delivery").exists()


def test_what_is_delivered_meanwhile_is_left_alone(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    records = [row_of(reservation(Clock())) for _ in range(2)]
    write(records)
    for one in records:
        Delivery.objects.create(call_id=one.call_id, started_at=one.started_at, due_at=one.started_at, set_aside=True)
    # While the first is tried again, somebody delivers all of them.
    monkeypatch.setattr(DeliveryAdmin, "log_change", lambda *_: Delivery.objects.all().delete())
    posted = {"action": "try_again", "_selected_action": [str(one.call_id) for one in records]}
    assert "1 deliveries will be tried again." in operator.post(PAGE, posted, follow=True).content.decode()


def test_nobody_adds_or_removes_one(operator: Client) -> None:
    assert operator.get(f"{PAGE}add/").status_code == 403
    refused = operator.post(PAGE, {"action": "delete_selected", "_selected_action": ["1"]})
    assert refused.status_code != 200 or "Are you sure" not in refused.content.decode()


def test_without_a_platform_the_index_does_not_speak_of_it(operator: Client, settings: Any) -> None:
    assert "Deliveries" not in operator.get("/admin/").content.decode()
