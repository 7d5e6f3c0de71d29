"""Whom a token may not become here."""

from typing import Any

import pytest

from accounts.models import User
from accounts.namesakes import PASSWORDS, objection_to_name

PROVIDER = "accounts.login.ProviderBackend"

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("backends", [[PASSWORDS, PROVIDER], [PROVIDER]])
def test_nobody_becomes_an_administrator_with_a_password(settings: Any, backends: list[str]) -> None:
    settings.AUTHENTICATION_BACKENDS = backends
    user = User(username="admin", is_superuser=True)
    user.password = "md5$salt$0123456789abcdef0123456789abcdef"
    user.save()
    assert objection_to_name("admin")
    user.set_unusable_password()
    user.save()
    assert not objection_to_name("admin")


def test_passwords_that_do_not_count_keep_nobody_else_out(settings: Any) -> None:
    settings.AUTHENTICATION_BACKENDS = [PROVIDER]
    User.objects.create(username="ann", password="md5$salt$0123456789abcdef0123456789abcdef")
    assert not objection_to_name("ann") and not objection_to_name("nobody")
