"""How many streams run at once, how many tasks carry them, and what a month costs.

Prices and measurements are in capacity.toml beside this file. Money is Decimal; nothing here does I/O but `read_table`.
"""

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

TABLE = Path(__file__).with_name("capacity.toml")
CENT = Decimal("0.01")
KB_PER_GB = Decimal(1_000_000)
CPU_UNITS_PER_CORE = 1024
MB_PER_GB = 1024

Table = Mapping[str, Mapping[str, Any]]


class CapacityError(ValueError):
    """The table or the demand cannot be counted with; the message says what to change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What people ask for. `requests` are a person's in a day, `seconds` an answer's, `hours` the day's busy ones."""

    daily_users: int
    requests: Decimal
    seconds: Decimal
    hours: Decimal

    def __post_init__(self) -> None:
        if self.daily_users <= 0 or min(self.requests, self.seconds, self.hours) <= 0:
            raise CapacityError("Users, requests, seconds and hours must be above 0.")
        if self.hours > 24:  # noqa: PLR2004
            raise CapacityError("A day has 24 hours; give at most that.")

    @property
    def requests_a_day(self) -> Decimal:
        return self.daily_users * self.requests

    @property
    def streams_on_average(self) -> Decimal:
        """Little's law: arrivals a second times seconds each, in the day's busy hours."""
        return self.requests_a_day * self.seconds / (self.hours * 3600)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What the operator decides: the fewest tasks, the share of the rest on Spot, where state is and how often."""

    min_tasks: int = 2
    spot_percent: int = 0
    own_state: bool = True
    two_zones: bool = False

    def __post_init__(self) -> None:
        if self.min_tasks < 1:
            raise CapacityError("At least one task must run.")
        if not 0 <= self.spot_percent <= 100:  # noqa: PLR2004
            raise CapacityError("The Spot share is 0 to 100 percent.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """A Fargate size and how many streams one task of it is filled with."""

    cpu: int
    memory_mb: int
    streams: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    part: str
    month: Decimal
    how: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """The answer: load, tasks, and a month's costs, serving apart from state and network."""

    demand: Demand
    choices: Choices
    streams_on_average: Decimal
    streams_at_peak: int
    size: Size
    tasks_at_peak: int
    task_hours: Decimal
    serving: tuple[Cost, ...]
    around: tuple[Cost, ...]
    as_lambda: tuple[Cost, ...]

    @property
    def month(self) -> Decimal:
        return total(self.serving + self.around)


def read_table(path: Path = TABLE) -> Table:
    """Prices and measurements from a TOML file of capacity.toml's shape. Raises CapacityError."""
    try:
        given: Table = tomllib.loads(path.read_text(), parse_float=Decimal)
        usual: Table = tomllib.loads(TABLE.read_text(), parse_float=Decimal)
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise CapacityError(f"{path} cannot be read as TOML: {error}") from error
    missing = [f"[{part}] {name}" for part in usual for name in usual[part] if name not in given.get(part, {})]
    if missing:
        raise CapacityError(f"{path} lacks {', '.join(missing)}. Start from a copy of {TABLE.name}.")
    wrong = [
        f"[{part}] {name}"
        for part in usual
        for name in usual[part]
        if not isinstance(given[part][name], list if isinstance(usual[part][name], list) else int | Decimal)
    ]
    if wrong:
        raise CapacityError(f"{path}: {', '.join(wrong)} must be as in {TABLE.name}: numbers without quotes.")
    return given


def total(costs: tuple[Cost, ...]) -> Decimal:
    return sum((cost.month for cost in costs), Decimal(0))


def plan(demand: Demand, choices: Choices, table: Table) -> Capacity:
    """Size a deployment for `demand`. Raises CapacityError."""
    peak = streams_at_peak(demand, table)
    size = _size(peak, choices, table)
    tasks = max(choices.min_tasks, -(-peak // size.streams))
    hours = _task_hours(tasks, demand, choices, table)
    return Capacity(
        demand=demand,
        choices=choices,
        streams_on_average=demand.streams_on_average,
        streams_at_peak=peak,
        size=size,
        tasks_at_peak=tasks,
        task_hours=hours["ordinary"] + hours["spot"],
        serving=_serving(demand, size, hours, peak, table),
        around=_around(demand, choices, table),
        as_lambda=_lambda(demand, table),
    )


def streams_at_peak(demand: Demand, table: Table) -> int:
    """The 99.9 % point of a Poisson distribution around the busiest hour's load; the rule is in capacity.toml."""
    day = table["day"]
    load = float(demand.streams_on_average * day["busy_factor"])
    z = float(day["z"])
    return math.ceil(load + z * math.sqrt(load) + (z * z - 1) / 6)


def _size(peak: int, choices: Choices, table: Table) -> Size:
    """The smallest size with which the fewest tasks carry the peak; else the largest, and more tasks."""
    sizes = [_filled(cpu, memory, table) for cpu, memory in table["task"]["sizes"]]
    enough = (size for size in sizes if size.streams * choices.min_tasks >= peak)
    size = next(enough, sizes[-1])
    if size.streams < 1:
        raise CapacityError("A task of these sizes carries no stream; check [task] and [measured] in the table.")
    return size


def _filled(cpu: int, memory_mb: int, table: Table) -> Size:
    task, measured = table["task"], table["measured"]
    cores = min(Decimal(cpu) / CPU_UNITS_PER_CORE, task["cores_used"])
    by_cpu = cores * measured["streams_per_core"]
    by_memory = max(0, memory_mb - task["base_mb"]) * 1000 / Decimal(measured["kb_per_stream"])
    return Size(cpu=cpu, memory_mb=memory_mb, streams=int(min(by_cpu, by_memory) * task["headroom"]))


def _task_hours(tasks: int, demand: Demand, choices: Choices, table: Table) -> dict[str, Decimal]:
    """The fewest tasks run all month; the others in the day's busy hours, some of them on Spot."""
    day = table["day"]
    above = (tasks - choices.min_tasks) * demand.hours * day["days_a_month"]
    spot = above * choices.spot_percent / 100
    return {"ordinary": choices.min_tasks * Decimal(day["hours_a_month"]) + above - spot, "spot": spot}


def _serving(demand: Demand, size: Size, hours: Mapping[str, Decimal], peak: int, table: Table) -> tuple[Cost, ...]:
    fargate, balancer, month = table["fargate"], table["load_balancer"], table["day"]["hours_a_month"]
    paid = hours["ordinary"] + hours["spot"] * fargate["spot_share_of_price"]
    cores, gb = Decimal(size.cpu) / CPU_UNITS_PER_CORE, Decimal(size.memory_mb) / MB_PER_GB
    spot = f", {hours['spot']:,.0f} of them on Spot" if hours["spot"] else ""
    all_hours = hours["ordinary"] + hours["spot"]
    units = _balancer_units(demand, peak, table)
    return (
        _cost("Fargate vCPU", paid * cores * fargate["vcpu_hour"], f"{all_hours:,.0f} task hours x {cores} vCPU{spot}"),
        _cost("Fargate memory", paid * gb * fargate["gb_hour"], f"{all_hours:,.0f} task hours x {gb} GB{spot}"),
        _cost("Load balancer", balancer["hour"] * month, f"{month} hours"),
        _cost("Load balancer, use", units * balancer["unit_hour"] * month, f"{units:.2f} units on average"),
    )


def _balancer_units(demand: Demand, peak: int, table: Table) -> Decimal:
    """Average capacity units, counted high: the peak's connections, but spread traffic."""
    balancer = table["load_balancer"]
    seconds = Decimal(table["day"]["hours_a_month"]) * 3600
    requests = demand.requests_a_day * table["day"]["days_a_month"]
    gb_an_hour = requests * table["measured"]["kb_per_answer"] / KB_PER_GB / table["day"]["hours_a_month"]
    largest: Decimal = max(
        Decimal(peak) / balancer["unit_connections"],
        requests / seconds / balancer["unit_new_a_second"],
        gb_an_hour / balancer["unit_gb_an_hour"],
    )
    return largest


def _around(demand: Demand, choices: Choices, table: Table) -> tuple[Cost, ...]:
    """Database, cache and network: made with the service unless they are there already."""
    network, logs, small = table["network"], table["logs"], table["small"]
    month, requests = table["day"]["hours_a_month"], demand.requests_a_day * table["day"]["days_a_month"]
    gb = requests * table["measured"]["kb_per_answer"] / KB_PER_GB
    log_gb = requests * logs["kb_a_request"] / KB_PER_GB
    zones = network["zones"] if choices.two_zones else 1
    nat = zones if choices.two_zones else network["nat_gateways"]
    addresses = network["zones"] + (nat if choices.own_state else 0)
    costs = [
        _cost("Public addresses", addresses * network["address_hour"] * month, f"{addresses} IPv4"),
        _cost("Logs", log_gb * logs["gb"], f"{log_gb:.2f} GB"),
        _cost("Secrets, key", small["secrets"] * small["secret_month"] + small["key_month"], "a month each"),
    ]
    if choices.own_state:
        database, nodes = table["database"], table["cache"]["nodes"] * zones
        stored = database["gb"] * database["gb_month"]
        where = " in each of two zones" if choices.two_zones else ""
        out = nat * network["nat_hour"] * month + gb * network["nat_gb"]
        costs += [
            _cost("NAT", out, f"{_counted(nat, 'gateway')}, {gb:.1f} GB"),
            _cost("PostgreSQL", zones * (database["hour"] * month + stored), f"{database['gb']} GB{where}"),
            _cost("Valkey", nodes * table["cache"]["hour"] * month, _counted(nodes, "node")),
        ]
    return tuple(costs)


def _lambda(demand: Demand, table: Table) -> tuple[Cost, ...]:
    """The same answers from Lambda: a function is held, and paid, for as long as each answer streams."""
    prices = table["lambda"]
    requests = demand.requests_a_day * table["day"]["days_a_month"]
    gb_seconds = requests * demand.seconds * prices["memory_gb"]
    return (
        _cost("Lambda time", gb_seconds * prices["gb_second"], f"{gb_seconds:,.0f} GB-seconds"),
        _cost("Lambda requests", requests / 1_000_000 * prices["million_requests"], f"{requests:,.0f}"),
    )


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _cost(part: str, month: Decimal, how: str) -> Cost:
    return Cost(part=part, month=Decimal(month).quantize(CENT, ROUND_HALF_UP), how=how)


def even_at_users(demand: Demand, choices: Choices, table: Table, *, most: int = 10_000_000) -> int | None:
    """From how many daily users on serving here costs no more than Lambda; None if not up to `most`."""

    def dearer(users: int) -> bool:
        asked = Demand(daily_users=users, requests=demand.requests, seconds=demand.seconds, hours=demand.hours)
        found = plan(asked, choices, table)
        return total(found.serving) > total(found.as_lambda)

    low, high = 1, 1
    while dearer(high):
        low, high = high, high * 2
        if high > most:
            return None
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if dearer(middle) else (low, middle)
    return high
