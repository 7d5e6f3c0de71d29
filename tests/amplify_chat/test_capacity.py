"""`manage.py capacity`: what it counts, what it counts with, and how it asks."""

import io
import json
import math
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from hypothesis import given
from hypothesis import strategies as st

from amplify_chat.capacity import (
    CapacityError,
    Choices,
    Demand,
    even_at_users,
    plan,
    read_table,
    streams_at_peak,
    total,
)
from tests.harness import ROOT

TABLE = read_table()


def demand(users: int = 1000, requests: str = "5", seconds: str = "30", hours: str = "8") -> Demand:
    return Demand(daily_users=users, requests=Decimal(requests), seconds=Decimal(seconds), hours=Decimal(hours))


def capacity(*arguments: str) -> str:
    out = io.StringIO()
    call_command("capacity", *arguments, stdout=out)
    return out.getvalue()


def test_the_usual_university_by_hand() -> None:
    found = plan(demand(), Choices(), TABLE)
    assert found.demand.streams_on_average.quantize(Decimal("0.001")) == Decimal("5.208")  # 5000 x 30 / 28800
    assert (found.streams_at_peak, found.tasks_at_peak) == (26, 2)
    costs = {cost.part: cost.month for cost in (*found.serving, *found.as_lambda)}
    assert costs["Fargate vCPU"] == Decimal("29.55")  # 2 x 730 h x 0.5 x 0.04048
    assert costs["Fargate memory"] == Decimal("6.49")  # 2 x 730 h x 1 GB x 0.004445
    assert costs["Load balancer"] == Decimal("16.43")  # 730 h x 0.0225
    assert costs["Lambda time"] == Decimal("75.00")  # 150,000 x 30 s x 1 GB x 0.0000166667


def tail(load: float, above: int) -> float:
    """P(N > above) of a Poisson distribution, summed."""
    term, below = math.exp(-load), 0.0
    for n in range(above + 1):
        below += term
        term *= load / (n + 1)
    return 1 - below


@pytest.mark.parametrize("users", [1, 20, 200, 1000, 5000, 30000])
def test_the_peak_is_exceeded_one_moment_in_a_thousand(users: int) -> None:
    asked = demand(users)
    load = float(asked.streams_on_average * TABLE["day"]["busy_factor"])
    assert tail(load, streams_at_peak(asked, TABLE)) <= 0.0012


@given(st.integers(1, 10**6), st.integers(1, 10**6))
def test_more_people_never_cost_less(one: int, other: int) -> None:
    few, many = (plan(demand(users), Choices(), TABLE) for users in sorted((one, other)))
    assert few.streams_at_peak <= many.streams_at_peak
    assert total(few.as_lambda) <= total(many.as_lambda)
    assert few.tasks_at_peak * few.size.streams >= few.streams_at_peak


def test_spot_and_given_state_are_cheaper() -> None:
    large = demand(200_000)
    usual = plan(large, Choices(), TABLE)
    spot = plan(large, Choices(spot_percent=100), TABLE)
    given_state = plan(large, Choices(own_state=False), TABLE)
    assert total(spot.serving) < total(usual.serving)
    assert spot.task_hours == usual.task_hours
    assert {cost.part for cost in usual.around} - {cost.part for cost in given_state.around} == {
        "NAT",
        "PostgreSQL",
        "Valkey",
    }


def test_a_second_zone_doubles_what_holds_state() -> None:
    one, two = (plan(demand(), Choices(two_zones=twice), TABLE) for twice in (False, True))
    once, twice = ({cost.part: cost.month for cost in found.around} for found in (one, two))
    for part in ("PostgreSQL", "Valkey"):
        assert abs(twice[part] - 2 * once[part]) <= Decimal("0.01")
    assert twice["NAT"] - once["NAT"] == 730 * TABLE["network"]["nat_hour"]
    assert one.serving == two.serving


def test_where_lambda_and_fargate_cost_the_same() -> None:
    users = even_at_users(demand(), Choices(), TABLE)
    assert users is not None
    for count, cheaper in ((users - 1, False), (users, True)):
        found = plan(demand(count), Choices(), TABLE)
        assert (total(found.serving) <= total(found.as_lambda)) is cheaper


def test_measurements_are_those_of_the_performance_page() -> None:
    """Doubled on purpose: a new `make bench` must reach the sums, and not by a guess."""
    page = (ROOT / "docs" / "performance.md").read_text()

    def servers(measure: str) -> list[Decimal]:
        row = next(line for line in page.splitlines() if line.startswith(f"| {measure}"))
        cells = row.split("|")[5:7]
        return [Decimal(re.findall(r"[\d,.]+", cell)[0].replace(",", "")) for cell in cells]

    measured = TABLE["measured"]
    assert measured["streams_per_core"] == min(servers("stall-free streams"))
    assert measured["kb_per_stream"] == round(max(servers("memory per idle open stream")))
    assert measured["kb_per_answer"] >= max(servers("bytes of a 50-token answer")) * 10 / 1000 * Decimal("0.9")


def test_terraform_scales_at_what_a_task_is_filled_with() -> None:
    text = (ROOT / "terraform" / "variables-service.tf").read_text()
    found = re.search(r'"streams_target_per_task" \{.*?default\s+= (\d+)', text, re.DOTALL)
    assert found
    measured, task = TABLE["measured"], TABLE["task"]
    assert int(found[1]) == measured["streams_per_core"] * task["headroom"]


def test_every_price_names_its_page() -> None:
    text = (ROOT / "amplify_chat" / "capacity.toml").read_text()
    for part in ("fargate", "load_balancer", "lambda", "network", "database", "cache", "logs", "small"):
        assert re.search(rf"^\[{part}\] # https://aws.amazon.com/", text, re.MULTILINE), part


def test_the_command_prints_every_part() -> None:
    text = capacity("--daily-users", "1000", "--requests", "5", "--seconds", "30", "--hours", "8")
    for words in ("26 at the peak", "2 of 512 CPU units", "Load balancer", "The same on Lambda", "700 daily users"):
        assert words in text, text


def test_json_has_the_same_figures() -> None:
    answer = json.loads(capacity("--daily-users=9", "--requests=5", "--seconds=30", "--hours=8", "--json"))
    assert answer["tasks_at_peak"] == 2
    assert Decimal(answer["month"]) == sum(
        Decimal(month) for part in ("serving", "around") for month in answer[part].values()
    )


def test_called_bare_it_asks_and_takes_the_usual(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: Iterator[str] = iter(["lots", "", "", "", ""])
    monkeypatch.setattr("builtins.input", lambda _: next(answers))
    text = capacity()
    assert "A number, please." in text
    assert "5,000 answers of 30 s in 8 hours" in text


def test_called_bare_by_nobody_it_says_what_to_give(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(_: str) -> str:
        raise EOFError

    monkeypatch.setattr("builtins.input", nobody)
    with pytest.raises(CommandError, match="--daily-users"):
        capacity()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--daily-users", "5"], "Give --requests, --seconds, --hours too"),
        (["--daily-users", "x"], "invalid"),
        (["--daily-users=0", "--requests=1", "--seconds=1", "--hours=8"], "above 0"),
        (["--daily-users=5", "--requests=1", "--seconds=1", "--hours=25"], "24 hours"),
        (["--daily-users=5", "--requests=1", "--seconds=1", "--hours=8", "--spot-percent=101"], "0 to 100"),
        (["--daily-users=5", "--requests=1", "--seconds=1", "--hours=8", "--min-tasks=0"], "At least one task"),
        (["--daily-users=5", "--requests=1", "--seconds=1", "--hours=8", "--table=/nowhere"], "cannot be read"),
    ],
)
def test_a_wrong_number_is_named(arguments: list[str], message: str) -> None:
    with pytest.raises(CommandError, match=message):
        capacity(*arguments)


def test_an_edited_table_counts(tmp_path: Path) -> None:
    table = tmp_path / "ours.toml"
    table.write_text((ROOT / "amplify_chat" / "capacity.toml").read_text().replace("0.04048", "0.08096"))
    usual = ["--daily-users=1000", "--requests=5", "--seconds=30", "--hours=8", "--json"]
    doubled = json.loads(capacity(*usual, f"--table={table}"))
    assert doubled["serving"]["Fargate vCPU"] == "59.10"


def test_a_price_that_is_no_number_is_named(tmp_path: Path) -> None:
    table = tmp_path / "ours.toml"
    table.write_text((ROOT / "amplify_chat" / "capacity.toml").read_text().replace("0.04048", '"0.04048"'))
    with pytest.raises(CapacityError, match=r"\[fargate\] vcpu_hour must be .* without quotes"):
        read_table(table)


def test_an_incomplete_table_names_what_it_lacks(tmp_path: Path) -> None:
    table = tmp_path / "ours.toml"
    table.write_text("[fargate]\nvcpu_hour = 0.04\n")
    with pytest.raises(CapacityError, match=r"\[fargate\] gb_hour.*Start from a copy"):
        read_table(table)
