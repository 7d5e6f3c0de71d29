"""Bring calls that the platform's other services have booked into the ledger, each once. Everything here blocks.

Their rows come in several forms (billing-and-state §2.1, §3.1 to 3.3, §3.10): the cached part of the input is inside
`inputTokens`; reasoning was added to an output that it was part of already; times of Python services name no zone.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

import structlog

from accounts.principal import GENERAL_ACCOUNT
from accounts.stores.rows import iso
from llm.events import Usage, token_count
from llm.model import ModelCard
from usage.ledger import write_whatever_goes
from usage.models import Outcome, PlatformImport, UsageRecord
from usage.platform.delivery import SOURCE
from usage.platform.rows import Row, micro_dollars
from usage.platform.tables import PlatformTables
from usage.prices import Cost

log = structlog.get_logger(__name__)

ASSISTANT = "(imported)"
"""Under which name imported calls stand among the assistants."""
# Rows may come late, and some clocks are local: a run looks back by so much behind where the last one ended.
OVERLAP = timedelta(days=2)
_ROWS_A_TRANSACTION = 500
# What the ledger's columns hold.
_WIDTHS = {"request_id": 128, "user_id": 255, "account_id": 255, "api_key_id": 600, "model_id": 255}

Priced = Callable[[str, Usage, datetime], tuple[ModelCard, Cost]]
"""The model of that id, and what such a call of it cost at that time."""


class NotReadable(ValueError):
    """The row lacks what a ledger row must have; the message says what, and repeats nothing."""


@dataclass(slots=True)
class Report:
    read: int = 0
    new: int = 0
    unreadable: dict[str, int] = field(default_factory=dict)
    """Why, and how many."""


class Importer:
    def __init__(self, tables: PlatformTables, priced: Priced) -> None:
        self._tables = tables
        self._priced = priced

    def run(
        self, since: datetime | None, *, dry_run: bool = False, progress: Callable[[Report], None] = lambda _: None
    ) -> Report:
        """Bring in the rows from `since` on; None for where the last run ended. Raises DynamoFailed; what was brought
        in by then stays, and the next run begins where this one did."""
        started, mark = datetime.now(UTC), PlatformImport.objects.first()
        if since is None:
            since = datetime(1970, 1, 1, tzinfo=UTC) if mark is None else mark.until - OVERLAP
        report = Report()
        # The whole table: no index is by time alone, and who has made only calls without a price has no counter.
        for page in self._tables.usage.pages_from("time", iso(since)[:10]):
            self._bring_in(page, report, dry_run=dry_run)
            progress(report)
        if not dry_run:
            self._remember(mark, since, started, report.new)
        return report

    def _remember(self, mark: PlatformImport | None, since: datetime, started: datetime, new: int) -> None:
        """The mark moves only if nothing lies between it and where this run began."""
        until = started if mark is None or since <= mark.until else mark.until
        rows = new + (0 if mark is None else mark.rows)
        PlatformImport.objects.update_or_create(pk=1, defaults={"until": until, "rows": rows})

    def _bring_in(self, page: Iterable[Row], report: Report, *, dry_run: bool) -> None:
        records: list[UsageRecord] = []
        for row in page:
            report.read += 1
            try:
                records.append(record_of(row, self._priced))
            except NotReadable as error:
                report.unreadable[str(error)] = report.unreadable.get(str(error), 0) + 1
        for start in range(0, len(records), _ROWS_A_TRANSACTION):
            some = records[start : start + _ROWS_A_TRANSACTION]
            if dry_run:
                known = UsageRecord.objects.filter(call_id__in=[one.call_id for one in some]).count()
                report.new += len(some) - known
            else:
                report.new += write_whatever_goes(some, deliver=False)


def record_of(row: Row, priced: Priced) -> UsageRecord:
    """The ledger's row for it. Raises NotReadable."""
    details = row.get("details")
    details = details if isinstance(details, Mapping) else {}
    texts = {
        "request_id": _text(row.get("requestId")),
        "user_id": _text(row.get("user")),
        "account_id": _text(row.get("accountId")) or GENERAL_ACCOUNT,
        "api_key_id": _text(details.get("api_key_id")),
        "model_id": _text(row.get("modelId")),
    }
    if missing := [name for name in ("user_id", "model_id") if not texts[name]]:
        raise NotReadable(f"no {missing[0]}")
    if too_long := [name for name, text in texts.items() if len(text) > _WIDTHS[name]]:
        raise NotReadable(f"{too_long[0]} is too long")
    started, usage = _moment(row.get("time")), _usage(row, details)
    card, cost = priced(texts["model_id"], usage, started)
    ours = details.get("source") == SOURCE
    return UsageRecord(
        **texts,
        call_id=_call_id(row.get("id")),
        run_id=texts["request_id"][:64] or str(_call_id(row.get("id"))),
        assistant=ASSISTANT,
        provider=card.provider,
        input_tokens=usage.input,
        cache_read_tokens=usage.cache_read,
        cache_write_tokens=usage.cache_write,
        output_tokens=usage.output,
        reasoning_tokens=usage.reasoning,
        raw_usage=_plain(details) | {name: _count(row, name) for name in ("inputTokens", "outputTokens")},
        micro_dollars=micro_dollars(details.get("cost")) if ours else cost.micro_dollars,
        price_version=cost.price_version,
        outcome=Outcome.FINISHED,
        started_at=started,
        ended_at=started,
    )


def _usage(row: Row, details: Row) -> Usage:
    """In disjoint classes."""
    prompt = details.get("prompt_tokens_details")
    read = _count(prompt, "cached_tokens") if isinstance(prompt, Mapping) else 0
    written = _count(details, "cache_write_tokens")
    whole, output = _count(row, "inputTokens"), _count(row, "outputTokens")
    reasoning = _count(details, "reasoning_tokens")
    if details.get("source") != SOURCE and output - reasoning >= reasoning:
        output -= reasoning  # it was added to an output of which it is a part
    return Usage(
        input=max(0, whole - read - written),
        cache_read=read,
        cache_write=written,
        output=output,
        reasoning=min(reasoning, output),
    )


def _count(row: Mapping[str, Any], name: str) -> int:
    try:
        return token_count(int(row.get(name) or 0))
    except (TypeError, ValueError, OverflowError):
        return 0


def _call_id(value: Any) -> UUID:
    """Most ids are UUIDs; others get one that is always the same."""
    if not (text := _text(value)):
        raise NotReadable("no id")
    try:
        return UUID(text)
    except ValueError:
        return uuid5(NAMESPACE_URL, f"chat-usage:{text}")


def _moment(value: Any) -> datetime:
    try:
        moment = datetime.fromisoformat(_text(value))
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):  # of the first or last day of all, in another zone
        raise NotReadable("no time that can be read") from None


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _plain(details: Row) -> dict[str, Any]:
    """Numbers as JSON has them."""
    return {
        str(name): _plain(value) if isinstance(value, Mapping) else value if isinstance(value, str) else _number(value)
        for name, value in details.items()
    }


def _number(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return str(value)
    return int(number) if number.is_integer() else number
