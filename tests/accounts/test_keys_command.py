"""`manage.py create_api_key`: what it prints opens what it was asked to open."""

from datetime import UTC, datetime
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from accounts.limits import Period, SpendLimit
from accounts.models import ApiKey, User
from accounts.stores import KeyRecord
from accounts.stores.database import database_stores

pytestmark = pytest.mark.django_db


def create(*arguments: str) -> KeyRecord:
    output = StringIO()
    call_command("create_api_key", *arguments, stdout=output)
    key = output.getvalue().removesuffix("\n")
    return database_stores().keys.find([key])[key]


def test_a_plain_key_for_somebody_new() -> None:
    made = create("--user", "ann")
    assert (made.kind, made.user_id, made.owner) == ("owner", "ann", "ann")
    assert (made.account_id, made.access_types) == ("general_account", {"chat"})
    assert (made.expires_at, made.limit, made.active) == (None, None, True)
    assert not User.objects.get(username="ann").has_usable_password()
    create("--user", "ann")
    assert (User.objects.count(), ApiKey.objects.count()) == (1, 2)


def test_every_option() -> None:
    made = create(
        *("--user", "ann", "--name", "Rooms", "--account", "lab", "--expires", "2031-02-03"),
        *("--access", "assistants", "--access", "share", "--limit-period", "Monthly", "--limit-rate", "12.5"),
    )
    assert (made.name, made.account_id, made.expires_at) == ("Rooms", "lab", datetime(2031, 2, 3, tzinfo=UTC))
    assert made.access_types == {"assistants", "share"}
    assert made.limit == SpendLimit(period=Period.MONTHLY, micro_dollars=12_500_000)


@pytest.mark.parametrize(("option", "kind"), [("--delegate", "delegate"), ("--system", "system")])
def test_whom_it_acts_as(option: str, kind: str) -> None:
    made = create("--user", "ann", option, "other")
    assert (made.kind, made.user_id, made.owner) == (kind, "other", "ann")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--limit-rate", "5"), "give both or neither"),
        (("--limit-period", "Daily", "--limit-rate", "much"), "US dollars"),
        (("--expires", "soon"), "is not a date like"),
        (("--access", "everything"), "invalid choice"),
        (("--delegate", "bob", "--system", "App-1"), "not allowed with"),
    ],
)
def test_mistakes_are_said_and_make_nothing(arguments: tuple[str, ...], words: str) -> None:
    with pytest.raises(CommandError, match=words):
        create("--user", "ann", *arguments)
    assert not ApiKey.objects.exists() and not User.objects.exists()


def test_a_user_id_that_is_too_long_is_said() -> None:
    with pytest.raises(CommandError, match="at most 150 characters"):
        create("--user", "x" * 151)
