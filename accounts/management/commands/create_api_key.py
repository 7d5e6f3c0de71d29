"""`manage.py create_api_key --user NAME`: make an API key and print it, and nothing else."""

from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime

from accounts.models import ApiKey, User
from accounts.principal import GENERAL_ACCOUNT


class Command(BaseCommand):
    help = "Make an API key and print it. It is not kept and cannot be shown again. A user who is new is created."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--user", required=True, help="whose key it is (user name)")
        parser.add_argument("--name", default="", help="what the key is for")
        parser.add_argument("--account", default=GENERAL_ACCOUNT, help="the account that pays")
        parser.add_argument("--expires", type=_moment, help="last moment, e.g. 2027-01-31 or 2027-01-31T12:00:00Z")

    def handle(self, *args: Any, **options: Any) -> None:
        name = options["user"]
        owner = User.objects.filter(username=name).first() or User.objects.create_user(name)
        try:
            _, key = ApiKey.issue(
                owner=owner, name=options["name"], account_id=options["account"], expires_at=options["expires"]
            )
        except ValidationError as error:
            raise CommandError("; ".join(error.messages)) from error
        self.stdout.write(key)


def _moment(text: str) -> datetime:
    """A date means its first moment in UTC."""
    day = parse_date(text)
    moment = datetime(day.year, day.month, day.day) if day else parse_datetime(text)
    if moment is None:
        raise CommandError(f"--expires: {text!r} is not a date like 2027-01-31.")
    return moment if timezone.is_aware(moment) else timezone.make_aware(moment, timezone.get_default_timezone())
