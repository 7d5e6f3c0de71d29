"""`make run`: prepare this machine at the first start, say how to try it, and serve."""

import secrets
from io import StringIO
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand

from accounts.models import User

_USER = "demo"
_ADMIN = "admin"


class Command(BaseCommand):
    help = "Migrate the database; at the first start make a demo user, an API key and an admin; then serve."
    requires_system_checks: list[str] = []  # noqa: RUF012 - Django's form

    def handle(self, *args: Any, **options: Any) -> None:
        call_command("migrate", verbosity=0)
        self.stdout.write(self._first_start() if not User.objects.exists() else self._later_start())
        self.stdout.flush()
        call_command("serve")

    def _first_start(self) -> str:
        call_command("create_api_key", user=_USER, name="made by make run", stdout=(key := StringIO()))
        password = secrets.token_urlsafe(12)
        User.objects.create_superuser(_ADMIN, password=password)
        return (
            "\nFirst start. Shown now and never again:\n\n"
            f"  API key of user {_USER}:  {key.getvalue().strip()}\n"
            f"  Admin login:           {_ADMIN} / {password}\n\n"
            f"Ask something:\n\n{_curl(key.getvalue().strip())}\n\n"
            f"Chat in the browser:   {_url('/')}\nSee what it cost:      {_url('/admin/usage/usagerecord/')}\n"
        )

    def _later_start(self) -> str:
        return (
            "\nAsk something (the key was shown at the first start; for another one:\n"
            f"  .venv/bin/python manage.py create_api_key --user {_USER} ):\n\n{_curl('$KEY')}\n\n"
            f"Chat in the browser:   {_url('/')}\n"
            f"See what it cost:      {_url('/admin/usage/usagerecord/')}\n"
            f"  (forgot the password?  .venv/bin/python manage.py changepassword {_ADMIN})\n"
        )


def _url(path: str) -> str:
    host = settings.ENV.host
    return f"http://{'localhost' if host in ('127.0.0.1', '0.0.0.0') else host}:{settings.ENV.port}{path}"  # noqa: S104


def _curl(key: str) -> str:
    body = '{"messages":[{"role":"user","content":"Tell me a short story."}]}'
    return f"  curl -N {_url('/chat')} -H \"Authorization: Bearer {key}\" \\\n    -d '{body}'"
