"""`manage.py import_platform_usage`: bring calls that the platform's other services have booked into the ledger."""

from argparse import ArgumentParser
from datetime import UTC, datetime
from typing import Any

from asgiref.sync import async_to_sync
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from amplify_chat.platform import platform_models
from amplify_chat.platform_jobs import importer
from core.dynamodb import DynamoFailed
from usage.platform.imports import Report
from usage.platform.tables import platform_tables
from usage.prices import PRICES


def _since(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


class Command(BaseCommand):
    help = (
        "Bring calls that the platform's other services have booked (chat-usage) into the ledger, each once. Begins "
        "where the last run ended; may be broken off and repeated. Run it every hour or every night."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--since", type=_since, help="From this day or moment on (UTC), like 2026-01-01.")
        parser.add_argument("--dry-run", action="store_true", help="Say how many calls are new, and write nothing.")

    def handle(self, *args: Any, **options: Any) -> None:
        tables = platform_tables()
        if tables is None:
            raise CommandError(
                "There is no platform to import from. Set STATE_BACKEND=dynamodb and the tables' names: "
                "CHAT_USAGE_DYNAMO_TABLE, COST_CALCULATIONS_DYNAMO_TABLE, HISTORY_COST_CALCULATIONS_DYNAMO_TABLE."
            )
        if (platform := platform_models(settings.ENV)) is not None:
            PRICES.take_rates(platform.rates)
        async_to_sync(PRICES.refresh)()
        try:
            report = importer(settings.ENV, tables).run(
                options["since"], dry_run=options["dry_run"], progress=self._progress
            )
        except DynamoFailed as error:
            raise CommandError(f"{error}. What was read by then is in the ledger; run it again.") from error
        for reason, count in sorted(report.unreadable.items()):
            self.stderr.write(f"{count:,} rows left out: {reason}.")
        verb = "would be brought in" if options["dry_run"] else "brought in"
        self.stdout.write(f"{report.read:,} rows read, {report.new:,} {verb}.")

    def _progress(self, report: Report) -> None:
        if self.stderr.isatty():
            self.stderr.write(f"{report.read:,} rows read ...", ending="\r")
