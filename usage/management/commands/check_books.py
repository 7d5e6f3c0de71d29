"""`manage.py check_books`: compare the sums with the ledger, to the micro-dollar."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from usage.models import UsageRecord
from usage.roll_ups import differences


class Command(BaseCommand):
    help = "Compare the sums per hour, day and month with the ledger, to the micro-dollar. Reads the whole ledger."

    def handle(self, *args: Any, **options: Any) -> None:
        found = differences()
        for difference in found:
            self.stderr.write(f"only in the {difference.pop('only_in')}: {difference}")
        if found:
            raise CommandError("The sums differ from the ledger. `manage.py rebuild_roll_ups` makes them anew.")
        self.stdout.write(
            f"The sums are those of the ledger, to the micro-dollar ({UsageRecord.objects.count():,} calls)."
        )
