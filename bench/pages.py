"""How long the pages of the usage review take on a large ledger: `python -m bench.pages --database postgres://…`.

Make the ledger with `bench.books`. Every page is asked for in this process, signed in as finance: once without
counting, so that the database has warmed what it keeps, then once for the figures. What is asked for is a grid of
periods and filters of few, many and most calls; none is left out because it is slow.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import product
from typing import Any
from urllib.parse import urlencode

OVERVIEW, CALLS = "/admin/usage/overview/", "/admin/usage/usagerecord/"
FILTERS: Sequence[dict[str, str]] = (
    {},
    {"model": "gpt-4o-mini"},  # half of all calls
    {"model": "claude-opus-4"},
    {"user": "svc-library-search"},  # a tenth
    {"user": "user00017@campus.example"},
    {"group": "students"},
    {"group": "faculty-3"},
    {"account": "general_account"},
    {"account": "dept-7"},
    {"key": "svc-library-search/systemKey/1"},
    {"assistant": "librarian"},
    {"purpose": "title"},
    {"model": "gpt-4o-mini", "account": "general_account", "purpose": "answer"},
    {"group": "staff", "model": "gpt-4o"},
    {"assistant": "tutor", "account": "dept-7"},
)
OF_CALLS: Sequence[dict[str, str]] = (
    *FILTERS,
    {"outcome": "failed"},
    {"outcome": "failed", "purpose": "retrieval"},  # no call is both, of very many that are one
    {"group": "students", "outcome": "killed"},
    {"q": "user000"},
    {"q": "gpt", "day": "30-days"},
)


@dataclass(frozen=True, slots=True)
class Visit:
    address: str
    first_ms: float
    ms: float
    queries: int


def addresses() -> Iterator[str]:
    from usage.review.periods import ONE_DAY, utc_today  # noqa: PLC0415 - Django is set up by now

    today = utc_today()
    odd = f"{today - 83 * ONE_DAY}..{today - 13 * ONE_DAY}"  # begins and ends within a month
    for period, chosen in product(("today", "week", "30-days", "month", "last-month", "year", odd), FILTERS):
        yield f"{OVERVIEW}?{urlencode({'day': period, **chosen})}"
    for period, chosen in product(("", "week", "month", odd), OF_CALLS):
        yield f"{CALLS}?{urlencode({'day': period, **chosen})}"
    yield from (f"{OVERVIEW}budgets/", f"{OVERVIEW}export/", "/admin/usage/price/")


def visits() -> Iterator[Visit]:
    from django.contrib.auth.models import Group  # noqa: PLC0415
    from django.db import connection  # noqa: PLC0415
    from django.test import Client  # noqa: PLC0415
    from django.test.utils import CaptureQueriesContext  # noqa: PLC0415

    from accounts.models import User  # noqa: PLC0415

    clerk, _ = User.objects.get_or_create(username="bench-finance", defaults={"is_staff": True})
    clerk.groups.add(Group.objects.get(name="Finance"))
    client = Client(headers={"host": "localhost"})
    client.force_login(clerk)

    def taken(address: str) -> float:
        began = time.perf_counter()
        response: Any = client.get(address)
        elapsed = time.perf_counter() - began
        if response.status_code != 200:
            raise SystemExit(f"{address} answers {response.status_code}")
        return elapsed * 1000

    for address in addresses():
        first = taken(address)
        with CaptureQueriesContext(connection) as queries:
            again = taken(address)
        yield Visit(address, first, again, len(queries))


def _line(name: str, found: Sequence[Visit]) -> str:
    times = sorted(visit.ms for visit in found)
    firsts = sorted(visit.first_ms for visit in found)
    p95 = max(0, -(-len(times) * 95 // 100) - 1)
    return (
        f"| {name} | {len(found)} | {max(visit.queries for visit in found)} | {statistics.median(times):,.0f} ms "
        f"| {times[p95]:,.0f} ms | {times[-1]:,.0f} ms | {firsts[p95]:,.0f} ms |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", required=True, help="sqlite:////absolute/path or postgres://…, of bench.books")
    parser.add_argument("--slowest", type=int, default=15, help="how many pages to name")
    arguments = parser.parse_args()
    os.environ |= {"DATABASE_URL": arguments.database, "DEBUG": "true", "ALLOWED_HOSTS": "localhost"}
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "amplify_chat.settings")

    import django  # noqa: PLC0415 - reads the environment

    django.setup()
    began = time.monotonic()
    found = []
    for visit in visits():
        found.append(visit)
        sys.stderr.write(f"{visit.first_ms:9,.0f} {visit.ms:7,.0f} ms {visit.queries:3} {visit.address}\n")
    overviews = [visit for visit in found if visit.address.startswith(f"{OVERVIEW}?")]
    calls = [visit for visit in found if visit.address.startswith(CALLS)]
    print("| pages | addresses | queries ≤ | p50 | p95 | slowest | p95 at first |\n|---|---|---|---|---|---|---|")
    print("\n".join((_line("all", found), _line("overview", overviews), _line("list of calls", calls))))
    print(f"\nThe slowest, of {timedelta(seconds=round(time.monotonic() - began))} in all:\n")
    for visit in sorted(found, key=lambda one: -one.ms)[: arguments.slowest]:
        print(f"* {visit.ms:,.0f} ms, {visit.queries} queries: {visit.address}")


if __name__ == "__main__":
    main()
