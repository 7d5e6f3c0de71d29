"""`manage.py create_api_key --user NAME`: make an API key and print it, and nothing else."""

from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime

from accounts.actions import one_change
from accounts.actions.keys import key_facts
from accounts.keys import ACCESS_TYPES, key_id, new_key
from accounts.limits import Period, SpendLimit, limit_of_rate
from accounts.models import User
from accounts.principal import GENERAL_ACCOUNT, KeyKind
from accounts.stores import KeyRecord
from accounts.stores.backends import get_stores
from audit.entries import by_command, differences
from audit.entries import record as audit
from core.errors import AmplifyError


class Command(BaseCommand):
    help = "Make an API key and print it. It is not kept and cannot be shown again. A user who is new is created."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--user", required=True, help="whose key it is (user id): who manages it")
        acts_as = parser.add_mutually_exclusive_group()
        acts_as.add_argument("--delegate", metavar="USER", help="the key acts as this user instead")
        acts_as.add_argument("--system", metavar="ID", help="the key acts as this system, e.g. Scheduling-app-482113")
        parser.add_argument("--name", default="", help="what the key is for")
        parser.add_argument("--account", default=GENERAL_ACCOUNT, help="the account that pays")
        parser.add_argument("--access", action="append", choices=ACCESS_TYPES, help="may be repeated (default: chat)")
        parser.add_argument("--expires", type=_moment, help="last moment, e.g. 2027-01-31 or 2027-01-31T12:00:00Z")
        parser.add_argument("--limit-period", choices=[period.value for period in Period], help="what the limit is for")
        parser.add_argument("--limit-rate", metavar="DOLLARS", help="how much may be spent in such a period")

    def handle(self, *args: Any, **options: Any) -> None:
        limit = _limit(options["limit_period"], options["limit_rate"])
        key = new_key()
        if settings.STATE_BACKEND == "database":
            _ensure_user(options["user"])
        record = _record(options, limit)
        try:
            with one_change():
                get_stores().keys.add(record, key)
                audit(by_command(), "created", "API key", record.id, differences({}, key_facts(record)))
        except AmplifyError as error:
            raise CommandError(error.message) from error
        self.stdout.write(key)


def _ensure_user(user_id: str) -> None:
    most = User._meta.get_field("username").max_length or 0
    if len(user_id) > most:
        raise CommandError(f"--user: a user id has at most {most} characters here, this one has {len(user_id)}.")
    if not User.objects.filter(username=user_id).exists():
        User.objects.create_user(user_id)


def _record(options: dict[str, Any], limit: SpendLimit | None) -> KeyRecord:
    kind: KeyKind = "delegate" if options["delegate"] else "system" if options["system"] else "owner"
    return KeyRecord(
        id=key_id(options["user"], kind),
        owner=options["user"],
        delegate=options["delegate"],
        system_id=options["system"],
        name=options["name"],
        account_id=options["account"],
        access_types=frozenset(options["access"] or ["chat"]),
        expires_at=options["expires"],
        created_at=datetime.now(UTC),
        limit=limit,
    )


def _limit(period: str | None, rate: str | None) -> SpendLimit | None:
    if (period is None) != (rate is None):
        raise CommandError("--limit-period and --limit-rate go together: give both or neither.")
    try:
        return limit_of_rate(period and {"period": period, "rate": rate})
    except ValueError as error:
        raise CommandError(f"--limit-rate: {error}") from error


def _moment(text: str) -> datetime:
    """A date means its first moment in UTC."""
    day = parse_date(text)
    moment = datetime(day.year, day.month, day.day) if day else parse_datetime(text)
    if moment is None:
        raise CommandError(f"--expires: {text!r} is not a date like 2027-01-31.")
    return moment if timezone.is_aware(moment) else timezone.make_aware(moment, timezone.get_default_timezone())
