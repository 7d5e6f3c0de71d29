"""A large ledger to try the admin on: `python -m bench.ledger --rows 1000000 --database sqlite:////tmp/big.sqlite3`.

Migrates the database and books invented calls through the ledger's own writer, so the sums per day are there too.
The calls are those of a university: most by one general account, a few busy people, one service that never sleeps.
"""

import argparse
import os
import random
import sys
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice, repeat
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from usage.models import UsageRecord

BATCH = 10_000
DAYS = 120
SERVICE = "svc-library-search"
MODELS = {
    # id: (provider, weight, micro-dollars per input token, per output token)
    "gpt-4o-mini": ("openai", 50, 0.15, 0.6),
    "gpt-4o": ("openai", 20, 2.5, 10.0),
    "claude-sonnet-4": ("anthropic", 15, 3.0, 15.0),
    "claude-opus-4": ("anthropic", 2, 15.0, 75.0),
    "qwen-small": ("embedded", 10, 0.0, 0.0),
    "house-model-7b": ("compatible", 3, None, None),
}
OUTCOMES = {"finished": 940, "failed": 25, "killed": 15, "abandoned": 12, "timed_out": 7, "shut_down": 1}


class Campus:
    """Who calls what, drawn from a seeded source."""

    def __init__(self, seed: int, people: int = 5_000, departments: int = 60) -> None:
        self._random = random.Random(seed)
        self._people = [f"user{number:05d}@campus.example" for number in range(people)]
        self._departments = [f"dept-{number:02d}" for number in range(departments)]
        self._models, self._model_weights = list(MODELS), [model[1] for model in MODELS.values()]
        self._outcomes, self._outcome_weights = list(OUTCOMES), list(OUTCOMES.values())

    def calls(self, number: int, *, until: datetime) -> Iterator[dict[str, Any]]:
        """The fields of `number` calls, oldest first, spread over the last DAYS days."""
        step = timedelta(days=DAYS) / max(number, 1)
        for left, who in zip(range(number, 0, -1), self._sittings(), strict=False):
            yield self._call(*who, ended_at=until - step * left)

    def _sittings(self) -> Iterator[tuple[str, str, str]]:
        """User, account and model of one call after the other: a person stays for a few calls."""
        while True:
            model_id = self._random.choices(self._models, self._model_weights)[0]
            yield from repeat((*self._who(), model_id), self._random.randint(1, 12))

    def _call(self, user_id: str, account_id: str, model_id: str, *, ended_at: datetime) -> dict[str, Any]:
        rand = self._random
        outcome = rand.choices(self._outcomes, self._outcome_weights)[0]
        first_token_ms = None if outcome == "failed" else rand.randint(120, 2_500)
        duration_ms = (first_token_ms or 200) + rand.randint(50, 30_000)
        return {
            "run_id": f"run_{rand.getrandbits(128):032x}",
            "user_id": user_id,
            "account_id": account_id,
            "model_id": model_id,
            "outcome": outcome,
            "error_code": "upstream_error" if outcome == "failed" else "",
            "first_token_ms": first_token_ms,
            "duration_ms": duration_ms,
            "started_at": ended_at - timedelta(milliseconds=duration_ms),
            "ended_at": ended_at,
            "estimated": outcome in ("killed", "abandoned"),
            **self._tokens(model_id),
        }

    def _who(self) -> tuple[str, str]:
        if self._random.random() < 0.1:
            return SERVICE, "dept-00"
        # Skewed: the first hundredth of the people make a good tenth of the calls.
        person = int(len(self._people) * self._random.random() ** 2)
        general = self._random.random() < 0.6
        return self._people[person], "general_account" if general else self._departments[person % 60]

    def _tokens(self, model_id: str) -> dict[str, Any]:
        provider, _, per_input, per_output = MODELS[model_id]
        fresh, cached, output = (self._random.randint(*span) for span in ((20, 4_000), (0, 8_000), (5, 1_200)))
        cost = (
            0
            if per_input is None or per_output is None
            else round(fresh * per_input + cached * per_input / 10 + output * per_output)
        )
        return {
            "provider": provider,
            "input_tokens": fresh,
            "cache_read_tokens": cached,
            "output_tokens": output,
            "micro_dollars": cost,
            "price_version": "" if per_input is None else "invented",
            "raw_usage": {"prompt_tokens": fresh + cached, "completion_tokens": output},
        }


def fill(rows: int, *, seed: int = 1, until: datetime | None = None) -> None:
    """Book `rows` calls in the configured database."""
    from usage.ledger import write  # noqa: PLC0415 - Django is set up by now
    from usage.models import UsageRecord  # noqa: PLC0415

    calls = Campus(seed).calls(rows, until=until or datetime.now(UTC))
    started, done = time.monotonic(), 0
    for batch in _batches((UsageRecord(**fields) for fields in calls), BATCH):
        write(batch)
        done += len(batch)
        sys.stderr.write(f"\r{done:,} rows, {done / (time.monotonic() - started):,.0f} a second")
    sys.stderr.write("\n")


def _batches(records: Iterable["UsageRecord"], size: int) -> Iterator[list["UsageRecord"]]:
    rest = iter(records)
    while batch := list(islice(rest, size)):
        yield batch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--database", required=True, help="sqlite:////absolute/path or postgres://…")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    os.environ["DATABASE_URL"] = arguments.database
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "amplify_chat.settings")

    import django  # noqa: PLC0415 - reads the environment
    from django.core.management import call_command  # noqa: PLC0415

    django.setup()
    call_command("migrate", verbosity=0)
    fill(arguments.rows, seed=arguments.seed)


if __name__ == "__main__":
    main()
