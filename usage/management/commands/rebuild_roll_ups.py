"""`manage.py rebuild_roll_ups`: make the sums per hour, day and month anew from the ledger."""

from typing import Any

from django.core.management.base import BaseCommand

from usage.roll_ups import rebuild


class Command(BaseCommand):
    help = "Make the sums per hour, day and month anew from the ledger. Calls that end meanwhile wait."

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(f"{rebuild():,} sums made from the ledger.")
