"""`manage.py roll_platform_costs`: begin a new day in the platform's counters."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from core.dynamodb import DynamoFailed
from usage.limits import dollars
from usage.platform.nightly import roll
from usage.platform.tables import platform_tables


class Command(BaseCommand):
    help = (
        "Begin a new day in the platform's counters: today's sums go into the month and into the history. Run it at "
        "00:00 UTC every night, instead of the platform's own job; a second run on the same day changes nothing."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        tables = platform_tables()
        if tables is None:
            raise CommandError(
                "There is no platform here. Set STATE_BACKEND=dynamodb and the tables' names: CHAT_USAGE_DYNAMO_TABLE, "
                "COST_CALCULATIONS_DYNAMO_TABLE, HISTORY_COST_CALCULATIONS_DYNAMO_TABLE."
            )
        try:
            report = roll(tables, timezone.now())
        except DynamoFailed as error:
            raise CommandError(f"{error}. What was done by then is done; run it again.") from error
        self.stdout.write(
            f"{report.rolled:,} counters begin a new day, {report.already:,} had begun it; "
            f"${dollars(report.micro_dollars)} moved."
        )
        if report.failed:
            reasons = ", ".join(f"{count} ({reason})" for reason, count in sorted(report.failed.items()))
            raise CommandError(f"Counters that were left: {reasons}. Run it again; see counter_not_rolled in the log.")
