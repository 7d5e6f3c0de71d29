"""`python -m bench.sign_in [--reps N]`: requests a second with a key that is remembered, beside no sign-in at all.

Both services run at once on the subject's core and are asked in turns, so that what the machine does meanwhile is felt
by both.
"""

import argparse
import statistics
from dataclasses import replace

import uvloop

from bench import process
from bench.limits import raise_open_files
from bench.measures import SHORT, Settings, short_replies
from bench.subjects import LOAD_CORE, service
from bench.upstream.testing import running_upstream


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.sign_in", description=__doc__)
    parser.add_argument("--reps", type=int, default=5, help="turns that medians are taken over (default: %(default)s)")
    turns = parser.parse_args().reps
    settings = replace(Settings(), reps=1)
    raise_open_files()
    process.pin(0, LOAD_CORE)
    with (
        running_upstream() as upstream,
        service("daphne", upstream, [SHORT]) as locked,
        service("daphne", upstream, [SHORT], module="bench.unlocked") as unlocked,
    ):
        rates: dict[str, list[float]] = {"a remembered key": [], "no sign-in": []}
        for _ in range(turns):
            for (name, found), subject in zip(rates.items(), (locked, unlocked), strict=True):
                found.append(uvloop.run(short_replies(subject, settings))["requests"])
                print(f"{name}: {found[-1]:.0f} requests/s", flush=True)
    with_key, without = (statistics.median(found) for found in rates.values())
    print(f"Medians of {turns}: {with_key:.0f} with a key, {without:.0f} without: {with_key / without:.2f} of it.")


if __name__ == "__main__":
    main()
