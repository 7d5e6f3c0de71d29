"""Is it up, and should it get requests? Four addresses, two questions.

`/health` and `/ready` keep the shapes that today's deployment reads; `/livez` and `/readyz` are for whoever starts
anew. `/livez` depends on nothing, `/readyz` on the database and on not being about to go.
"""

import asyncio
import resource
import sys
import time
from datetime import UTC, datetime
from typing import Any

from django.db import DatabaseError, connection

from chat.consumer import HttpConsumer, Rest
from chat.service import ChatService
from core.aio import run_blocking

_STARTED = time.monotonic()
DATABASE_SECONDS = 2.0


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Health(HttpConsumer):
    """`/health`: 200 while the process can answer, draining included: a container that drains is healthy."""

    methods = ("GET", "HEAD")
    traced = False

    async def respond(self, body: bytes) -> Rest:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        await self.reply_json(
            200,
            {
                "status": "healthy",
                "timestamp": _now(),
                "uptime": round(time.monotonic() - _STARTED, 3),
                "memory": {"rss": resident_bytes() or peak, "peak": peak},
            },
        )
        return None


class Live(HttpConsumer):
    """`/livez`."""

    methods = ("GET", "HEAD")
    traced = False

    async def respond(self, body: bytes) -> Rest:
        await self.reply_json(200, {"status": "live"})
        return None


class Ready(HttpConsumer):
    """`/ready` and `/readyz`: 503 while draining and while the database does not answer."""

    methods = ("GET", "HEAD")
    traced = False

    async def respond(self, body: bytes) -> Rest:
        error = await _why_not_ready(self.service)
        content: dict[str, Any] = {"status": "not_ready" if error else "ready", "timestamp": _now()}
        await self.reply_json(503 if error else 200, content | ({"error": error} if error else {}))
        return None


async def _why_not_ready(service: ChatService) -> str | None:
    if service.runs.draining:
        return "draining"
    try:
        async with asyncio.timeout(DATABASE_SECONDS):
            await run_blocking(_ask_database)
    except (DatabaseError, TimeoutError):
        return "the database does not answer"
    return None


def _ask_database() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def resident_bytes() -> int | None:
    """Resident memory now, where the system says (Linux); the peak is known everywhere."""
    try:
        with open("/proc/self/statm") as statm:  # noqa: PTH123 - a kernel file
            return int(statm.read().split()[1]) * resource.getpagesize()
    except OSError:
        return None
