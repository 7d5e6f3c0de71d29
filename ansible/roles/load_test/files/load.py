"""bench's load generator against a running service: clients that ask anew as soon as they are answered.

    LOAD_TEST_KEY=amp-… load.py --endpoint URL --streams N --seconds S

An ordinary model's text carries no numbers and stamps as the mock's does, so what is judged is each answer's end, its
time to first token, and its longest silence. Exit 1 when too many answers failed.
"""

# ruff: noqa: T201 - what it prints is shown by run_shown, or read by the task

import argparse
import asyncio
import os
import ssl
import sys
from dataclasses import replace
from urllib.parse import urlsplit

import uvloop

from bench.limits import raise_open_files
from bench.load import END_GRACE, Again, Client, Target
from bench.watch import STALL_SECONDS, LoadResult, Tally

RAMP_SECONDS = 2.0
SAY_EVERY = 5.0
REST_SECONDS = 1.0  # after a connection that could not be made: a refused one must not spin
CONNECT_SECONDS = 10.0


async def client(target: Target, tally: Tally, again: Again, tls: ssl.SSLContext | None, after: float) -> None:
    """One person: connections one after another."""
    await asyncio.sleep(after)
    loop = asyncio.get_running_loop()
    while again():
        person = Client(target, tally, again)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await loop.create_connection(lambda person=person: person, target.host, target.port, ssl=tls)
        except OSError:  # TimeoutError and ssl.SSLError are ones
            tally.failed += 1
            tally.answers += 1
            await asyncio.sleep(REST_SECONDS)
            continue
        try:
            await person.closed
        finally:
            person.abort()


async def load(given: argparse.Namespace) -> LoadResult:
    address = urlsplit(given.endpoint)
    tls = ssl.create_default_context() if address.scheme == "https" else None
    body = {
        "messages": [{"role": "user", "content": given.question}],
        "options": {"model": {"id": given.model}} if given.model else {},
    }
    target = Target.post(f"{given.endpoint.rstrip('/')}/chat", body, key=os.environ["LOAD_TEST_KEY"])
    if address.port is None and tls is not None:
        target = replace(target, port=443)
    loop, tally = asyncio.get_running_loop(), Tally()
    began = loop.time()
    end = began + RAMP_SECONDS + given.seconds
    starts = [RAMP_SECONDS * i / given.streams for i in range(given.streams)]
    tasks = [asyncio.create_task(client(target, tally, lambda: loop.time() < end, tls, after)) for after in starts]
    while loop.time() < end:
        await asyncio.sleep(min(SAY_EVERY, max(0.1, end - loop.time())))
        print(f"{loop.time() - began:4.0f} s  {tally.answers} answers, {tally.failed} failed", flush=True)
    await asyncio.wait(tasks, timeout=END_GRACE + given.drain)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return tally.result()


def report(result: LoadResult, given: argparse.Namespace) -> str:
    statuses = ", ".join(f"{count} x {status or 'none'}" for status, count in sorted(result.statuses.items()))
    ttft = result.ttft
    return "\n".join(
        [
            f"{result.answers} answers to {given.streams} clients in {given.seconds} s, "
            f"{result.failed} failed ({statuses})",
            f"error events          {result.error_events}",
            f"time to first token   p50 {ttft.p50:,.0f} ms, p99 {ttft.p99:,.0f} ms, worst {ttft.worst:,.0f} ms",
            f"longest silence       {result.worst_gap:,.0f} ms; {result.stalls} above {STALL_SECONDS * 1000:.0f} ms",
            f"bytes received        {result.bytes_in:,}",
        ]
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="Ask many questions at once and measure the answers.")
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--streams", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--drain", type=float, default=60, help="how long the last answers may take")
    parser.add_argument("--model", default="")
    parser.add_argument("--question", default="Count from one to fifty in words.")
    parser.add_argument("--failed-percent", type=float, default=1)
    given = parser.parse_args()
    raise_open_files()
    result = uvloop.run(load(given))
    print(report(result, given))
    wrong = result.failed + result.error_events
    if not result.answers:
        print("No answer came. Is the endpoint right, and does it answer (status.yml)?")
        return 1
    if wrong * 100 > given.failed_percent * result.answers:
        print(f"{wrong} of {result.answers} answers failed; {given.failed_percent} % are put up with. See logs.yml.")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
