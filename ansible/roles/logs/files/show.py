"""Show a log group's lines, oldest first, and new ones as they come.

show.py --region R --group G [--minutes 15] [--lines 500] [--filter PATTERN] [--follow SECONDS]
"""

# ruff: noqa: T201 - what it prints is shown by run_shown, or read by the task

import argparse
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import boto3
from botocore.exceptions import ClientError

EVERY = 2.0  # seconds between two looks
LATE_MS = 10_000  # an event may arrive this much later than its time says


def events(logs: Any, group: str, since: int, pattern: str) -> Iterator[dict[str, Any]]:
    pages = logs.get_paginator("filter_log_events").paginate(
        logGroupName=group, startTime=since, **({"filterPattern": pattern} if pattern else {})
    )
    for page in pages:
        yield from page["events"]


def line(event: dict[str, Any]) -> str:
    moment = datetime.fromtimestamp(event["timestamp"] / 1000, UTC)
    task = event["logStreamName"].rsplit("/", 1)[-1][:8]
    return f"{moment:%Y-%m-%d %H:%M:%S} {task} {event['message'].rstrip()}"


def main() -> int:
    parser = argparse.ArgumentParser(description="Show a log group's lines.")
    parser.add_argument("--region", required=True)
    parser.add_argument("--group", required=True)
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--lines", type=int, default=500)
    parser.add_argument("--filter", default="")
    parser.add_argument("--follow", type=float, default=0)
    given = parser.parse_args()
    logs = boto3.client("logs", region_name=given.region)
    since, end, seen, shown = int((time.time() - given.minutes * 60) * 1000), time.monotonic() + given.follow, set(), 0
    while True:
        try:
            new = [e for e in events(logs, given.group, since, given.filter) if e["eventId"] not in seen]
        except ClientError as error:
            raise SystemExit(
                f"The log group {given.group} cannot be read: {error.response['Error']['Message']}"
            ) from None
        new.sort(key=lambda event: event["timestamp"])
        for event in new[: given.lines - shown]:
            print(line(event), flush=True)
        shown += len(new)
        if new:
            since = max(since, new[-1]["timestamp"] - LATE_MS)
        seen = {e["eventId"] for e in new} | seen
        if shown > given.lines:
            print(
                f"More than {given.lines} lines: narrow it (logs_minutes, logs_run, logs_filter) or raise logs_lines."
            )
            return 0
        if time.monotonic() >= end:
            break
        time.sleep(EVERY)
    if not shown:
        print(f"No line in {given.group} in the last {given.minutes:.0f} minutes" + (" fits." if given.filter else "."))
    return 0


if __name__ == "__main__":
    sys.exit(main())
