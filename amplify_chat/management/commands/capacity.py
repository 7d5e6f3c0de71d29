"""`manage.py capacity`: how many tasks, of what size, for how much; asks what it is not told."""

import json
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from amplify_chat.capacity import (
    TABLE,
    Capacity,
    CapacityError,
    Choices,
    Cost,
    Demand,
    Table,
    even_at_users,
    plan,
    read_table,
    total,
)

QUESTIONS = {
    "daily_users": ("People who use it on a busy day", "1000"),
    "requests": ("Questions each of them asks that day", "5"),
    "seconds": ("Seconds an answer streams", "30"),
    "hours": ("Hours in which most of the day's questions come", "8"),
}


class Command(BaseCommand):
    help = "Size the service and count its monthly cost, beside Lambda's. Called bare, it asks."
    requires_system_checks: list[str] = []  # noqa: RUF012 - Django's form; this reads no settings

    def add_arguments(self, parser: CommandParser) -> None:
        for name, (question, usual) in QUESTIONS.items():
            parser.add_argument(f"--{name.replace('_', '-')}", type=number, help=f"{question.lower()}, say {usual}")
        parser.add_argument("--min-tasks", type=int, default=2, help="tasks that always run (default: %(default)s)")
        parser.add_argument("--spot-percent", type=int, default=0, help="share of the other tasks on Fargate Spot")
        parser.add_argument("--given-state", action="store_true", help="database, cache and NAT are there already")
        parser.add_argument("--two-zones", action="store_true", help="database, cache and NAT twice, as in prod")
        parser.add_argument("--table", type=Path, default=TABLE, help="prices and measurements (default: %(default)s)")
        parser.add_argument("--json", action="store_true", help="print JSON instead of a table")

    def handle(self, *args: Any, **options: Any) -> None:
        asked = {name: options[name] for name in QUESTIONS}
        if all(value is None for value in asked.values()):
            asked = {name: self._ask(*question) for name, question in QUESTIONS.items()}
        if missing := [f"--{name.replace('_', '-')}" for name, value in asked.items() if value is None]:
            raise CommandError(f"Give {', '.join(missing)} too, or no number at all and be asked.")
        try:
            table = read_table(options["table"])
            demand = Demand(**{**asked, "daily_users": int(asked["daily_users"])})
            choices = Choices(
                min_tasks=options["min_tasks"],
                spot_percent=options["spot_percent"],
                own_state=not options["given_state"],
                two_zones=options["two_zones"],
            )
            found = plan(demand, choices, table)
        except CapacityError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(_as_json(found) if options["json"] else _as_text(found, table))

    def _ask(self, question: str, usual: str) -> Decimal:
        while True:
            try:
                return number(input(f"{question} [{usual}]: ").strip() or usual)
            except ValueError:
                self.stdout.write("A number, please.")
            except EOFError:
                raise CommandError("Nobody answers; give --daily-users, --requests, --seconds and --hours.") from None


def number(text: str) -> Decimal:
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise ValueError(text) from None
    if not value.is_finite():
        raise ValueError(text)
    return value


def _as_text(found: Capacity, table: Table) -> str:
    demand, size, task = found.demand, found.size, table["task"]
    even = even_at_users(demand, found.choices, table)
    here, there = total(found.serving), total(found.as_lambda)
    return "\n".join(
        [
            f"{demand.requests_a_day:,.0f} answers of {demand.seconds} s in {demand.hours} hours:",
            f"  streams at once     {found.streams_on_average:.1f} on average, {found.streams_at_peak} at the peak",
            f"                      (busiest hour x {table['day']['busy_factor']}, 99.9 % point of a Poisson load)",
            f"  tasks               {found.tasks_at_peak} of {size.cpu} CPU units and {size.memory_mb} MB at the peak,"
            f" {found.choices.min_tasks} otherwise",
            f"                      (cpu: {size.cpu}, memory: {size.memory_mb},"
            f" streams_target_per_task: {size.streams})",
            f"  streams a task      {size.streams}: {table['measured']['streams_per_core']} stall-free ones a core"
            f" (make bench), filled to {task['headroom'] * 100:.0f} %",
            "",
            "US dollars a month",
            *_lines("Serving", found.serving),
            *_lines("Around it", found.around),
            f"  {'All':<22}{found.month:>10,.2f}",
            "",
            *_lines("The same on Lambda", found.as_lambda),
            f"  Serving costs {here:,.2f} here and {there:,.2f} on Lambda;"
            + (f" from {even:,} daily users on it is cheaper here." if even else " Lambda stays cheaper."),
            "",
            "Models are not in it: their vendors' bill is usually the larger one. Prices: amplify_chat/capacity.toml.",
        ]
    )


def _lines(title: str, costs: tuple[Cost, ...]) -> list[str]:
    rows = [f"    {cost.part:<20}{cost.month:>10,.2f}   {cost.how}" for cost in costs]
    return [f"  {title:<22}{total(costs):>10,.2f}", *rows]


def _as_json(found: Capacity) -> str:
    def costs(parts: tuple[Cost, ...]) -> dict[str, str]:
        return {cost.part: str(cost.month) for cost in parts}

    return json.dumps(
        {
            "streams_on_average": f"{found.streams_on_average:.2f}",
            "streams_at_peak": found.streams_at_peak,
            "tasks_at_peak": found.tasks_at_peak,
            "cpu": found.size.cpu,
            "memory_mb": found.size.memory_mb,
            "streams_a_task": found.size.streams,
            "month": str(found.month),
            "serving": costs(found.serving),
            "around": costs(found.around),
            "lambda": costs(found.as_lambda),
        },
        indent=2,
    )
