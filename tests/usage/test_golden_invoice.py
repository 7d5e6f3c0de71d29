"""The golden invoice: one month, worked out by hand (`golden_month`), is the same money through every door.

The ledger, the sums, the admin's pages, the exports, REST and the cost operations are asked what March has cost, and
each must say what stands in `INVOICE`, to the micro-dollar where it shows them.
"""

import json
import re
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache
from django.core.management import call_command
from django.test import Client

from accounts.models import User
from accounts.principal import Principal
from accounts.stores import Group, KeyRecord, Role
from accounts.stores.backends import get_stores
from tests.usage.conftest import TestBooks, at_once
from tests.usage.doors import ask
from tests.usage.golden_month import (
    ADMIN,
    AMOUNTS,
    ANN,
    APRIL,
    BOB,
    CALLS,
    CID,
    INVOICE,
    KEY,
    MARCH,
    Sums,
    added_up,
    item,
    make_calls,
    micro,
    write_price_table,
)  # fmt: skip
from tests.usage.test_exports import MANDATORY, cells, lines, read_all
from usage.group_sets import groups_of
from usage.models import UsageRecord
from usage.prices import PriceBook
from usage.review.asked import NONE
from usage.testing import Clock

pytestmark = pytest.mark.django_db

LAST_MOMENT = APRIL - timedelta(microseconds=1)
USERS = (ANN, BOB, CID)
PAYERS = {"total", "user", "account", "key"}
"""The parts of the invoice that the cost operations know of."""


@pytest.fixture(autouse=True)
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[datetime], None]:
    """Sets the moment at which the doors are asked; noon on the first of April, if nobody does."""

    def set_to(moment: datetime) -> None:
        monkeypatch.setattr("django.utils.timezone.now", lambda: moment)
        cache.clear()  # of who has asked how often in this minute

    set_to(APRIL + timedelta(hours=12))
    return set_to


@pytest.fixture(autouse=True)
async def month(books: TestBooks, clock: Clock, at: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is booked, by prices that this test alone knows; who is in a group is in it still."""
    prices = PriceBook()
    for module in ("prices", "admission"):
        monkeypatch.setattr(f"usage.{module}.PRICES", prices)
    monkeypatch.setattr("usage.estimates._rates", {})
    monkeypatch.setattr("usage.exports.run_blocking", at_once)
    write_price_table()
    await make_calls(books, clock)
    for group in INVOICE["group"]:
        members = {who.user_id: Role.READ for who in USERS if group in who.groups}
        get_stores().groups.put(Group(id=group, kind="amplify", members=members, is_billing_group=True))


@pytest.fixture
def finance(client: Client) -> Client:
    client.force_login(User.objects.create(username="clerk", is_staff=True, is_superuser=True))
    return client


def exported(finance: Client, name: str) -> bytes:
    return b"".join(read_all(finance.get(f"/admin/usage/overview/export/{name}/", {"day": MARCH})))


def workbook(finance: Client) -> list[dict[str, str]]:
    """Its only sheet."""
    header, *rows = cells(exported(finance, "calls-xlsx"))
    return [dict(zip(header, row, strict=True)) for row in rows]


def opened_by_libreoffice(finance: Client, folder: Path, *, as_shown: bool = False) -> list[dict[str, str]]:
    """The workbook, read and written again by somebody else's program; numbers as they are, or as people see them."""
    (folder / "calls.xlsx").write_bytes(exported(finance, "calls-xlsx"))
    profile = f"-env:UserInstallation=file://{folder}/profile"
    # Comma, quote, UTF-8.
    form = f"csv:Text - txt - csv (StarCalc):44,34,76,1,,0,false,{str(as_shown).lower()}"
    command = ["soffice", profile, "--headless", "--convert-to", form, "--outdir", str(folder), f"{folder}/calls.xlsx"]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    return lines((folder / "calls.csv").read_bytes())


def of_calls(found: Iterable[Mapping[str, str]]) -> Mapping[str, Sums]:
    """Of the lines of an export of calls."""
    return added_up(
        item(
            micro(line["cost_usd"]), groups=line["groups"].split(), day=line["started_at"][:10], user=line["user_id"],
            account=line["account_id"], key=line["api_key_id"], model=line["model_id"], purpose=line["purpose"],
        )
        for line in found
    )  # fmt: skip


# Each door says what March has cost.


def ledger(finance: Client) -> Mapping[str, Sums]:
    rows = UsageRecord.objects.filter(started_at__gte=datetime(2026, 3, 1, tzinfo=UTC), started_at__lt=APRIL)
    sets = groups_of(row.group_set for row in rows)
    return added_up(
        item(
            row.micro_dollars, groups=sets.get(row.group_set, ()), day=f"{row.started_at:%Y-%m-%d}", user=row.user_id,
            account=row.account_id, key=row.api_key_id, model=row.model_id, purpose=row.purpose,
        )
        for row in rows
    )  # fmt: skip


def overview(finance: Client) -> Mapping[str, Sums]:
    def asked(**query: str) -> Any:
        return finance.get("/admin/usage/overview/", {"day": MARCH} | query).context

    pages = [asked(further="key"), asked(further="purpose")]
    tables = [table for page in pages for table in page["tables"]]
    parts = {table.name: {row.name: row.part.micro_dollars for row in table.rows} for table in tables}
    whole = {day: asked(day=day)["whole"]["micro_dollars"] for day in INVOICE["day"]}
    return {"total": {"March": pages[0]["whole"]["micro_dollars"]}, "day": whole, **parts}


def list_of_calls(finance: Client) -> Mapping[str, Sums]:
    """Its line of totals, with a filter for each part."""

    def total(**query: str) -> int:
        html = finance.get("/admin/usage/usagerecord/", {"day": MARCH} | query).content.decode()
        (shown,) = re.findall(r"<dt>Cost</dt><dd>\$([\d.]+)</dd>", html)
        return micro(shown)

    filtered = {by: {name: total(**{by: name}) for name in INVOICE[by]} for by in INVOICE if by != "total"}
    return {"total": {"March": total()}, **filtered}


def csv_file(finance: Client) -> Mapping[str, Sums]:
    return of_calls(lines(exported(finance, "calls-csv")))


def xlsx_file(finance: Client) -> Mapping[str, Sums]:
    return of_calls(workbook(finance))


def focus_file(finance: Client) -> Mapping[str, Sums]:
    found = [(line, json.loads(line["Tags"])) for line in lines(exported(finance, "focus-csv"))]
    return added_up(
        item(
            micro(line["BilledCost"]), groups=tags.get("groups", "").split(), day=line["ChargePeriodStart"][:10],
            user=line["SubAccountId"], account=line["BillingAccountId"], key=tags.get("api_key", ""),
            model=line["ResourceId"], purpose=tags["purpose"],
        )
        for line, tags in found
    )  # fmt: skip


def rest(finance: Client) -> Mapping[str, Sums]:
    """What each user is told of themselves, put together; and what administrators are told of the groups."""

    def report(who: Principal, path: str) -> Any:
        reply = ask(who, "GET", f"/api/{path}")
        assert reply.status == 200, reply.json
        return reply.json

    found: dict[str, dict[str, int]] = {by: defaultdict(int) for by in INVOICE}
    for who in USERS:
        for by in ("day", "account", "key", "model", "purpose"):
            mine = report(who, f"usage/?period={MARCH}&by={by}")
            for part in mine["results"]:
                found[by][part["value"] or NONE] += part["microDollars"]
            found["user"][who.user_id] = mine["total"]["microDollars"]
    for group in INVOICE["group"]:
        found["group"][group] = report(ADMIN, f"groups/{group}/usage/?period=last-month")["total"]["microDollars"]
    return {**found, "total": {"March": sum(found["user"].values())}}


def billing(who: Principal, operation: str, **data: Any) -> Any:
    reply = ask(who, "POST", f"/billing/{operation}/", {"data": data})
    assert reply.status == 200, reply.json
    return reply.json


def history(finance: Client) -> Mapping[str, Sums]:
    """What the cost operations say of a month that is over: by user, and by who paid."""
    sums: dict[str, dict[str, int]] = {by: defaultdict(int) for by in PAYERS}
    for who in USERS:
        (march,) = [one for one in billing(who, "user-cost-history")["history"] if one["month"] == "2026-03"]
        sums["total"]["March"] += micro(march["monthlyCostSum"])
        sums["user"][who.user_id] = micro(march["totalCost"])
        for part in march["accounts"]:
            account, _, key = part["accountInfo"].partition("#")
            sums["account"][account] += micro(part["cost"])
            sums["key"][NONE if key == "NA" else key] += micro(part["cost"])
    return sums


DOORS = (ledger, overview, list_of_calls, csv_file, xlsx_file, focus_file, rest, history)


@pytest.mark.parametrize("door", DOORS)
def test_every_door_says_what_the_invoice_says(finance: Client, door: Callable[[Client], Mapping[str, Sums]]) -> None:
    found = door(finance)
    assert found == {by: INVOICE[by] for by in found}
    assert found.keys() == (PAYERS if door is history else INVOICE.keys())


@pytest.mark.skipif(not shutil.which("soffice"), reason="LibreOffice is not installed")
def test_a_spreadsheet_program_reads_the_same_from_the_workbook(finance: Client, tmp_path: Path) -> None:
    read = opened_by_libreoffice(finance, tmp_path)
    assert of_calls(read) == INVOICE
    assert [line["call_id"] for line in read] == [line["call_id"] for line in workbook(finance)]
    shown = [line["cost_usd"] for line in opened_by_libreoffice(finance, tmp_path, as_shown=True)]
    assert all(re.fullmatch(r"\d+\.\d{6}", cost) for cost in shown), "to the micro-dollar, not as 2.2E-05"


def test_each_call_costs_what_was_worked_out_and_the_sums_are_the_ledgers() -> None:
    booked = UsageRecord.objects.order_by("started_at").values_list("started_at", "micro_dollars")
    assert [(f"{at:%Y-%m-%d %H:%M:%S}", cost) for at, cost in booked] == [(one.at, one.micro_dollars) for one in CALLS]
    said = StringIO()
    call_command("check_books", stdout=said)
    assert "to the micro-dollar (14 calls)" in said.getvalue()


def test_calls_and_tokens_are_the_same_too(finance: Client) -> None:
    whole = finance.get("/admin/usage/overview/", {"day": MARCH}).context["whole"]
    listed = finance.get("/admin/usage/usagerecord/", {"day": MARCH}).context["cl"].totals
    reports = [ask(who, "GET", f"/api/usage/?period={MARCH}").json["total"] for who in USERS]
    in_csv, in_focus = lines(exported(finance, "calls-csv")), lines(exported(finance, "focus-csv"))

    def camel(name: str) -> str:
        first, *rest = name.split("_")
        return first + "".join(map(str.title, rest))

    assert {name: whole[name] for name in AMOUNTS} == AMOUNTS
    assert {name: getattr(listed, name) for name in AMOUNTS} == AMOUNTS
    assert {name: sum(one[camel(name)] for one in reports) for name in AMOUNTS} == AMOUNTS
    tokens = [name for name in AMOUNTS if name.endswith("_tokens")]
    for name in tokens:
        assert sum(int(line[name]) for line in in_csv) == AMOUNTS[name]
        assert sum(int(line[f"x_{name.title().replace('_', '')}"]) for line in in_focus) == AMOUNTS[name]
    assert sum(int(line["ConsumedQuantity"]) for line in in_focus) == sum(AMOUNTS[name] for name in tokens)
    assert len(in_csv) == sum(int(line["x_Calls"]) for line in in_focus) == AMOUNTS["calls"]
    assert sum(int(line["reasoning_tokens"]) for line in in_csv) == whole["reasoning_tokens"] == 10_240
    # What broke off, what nobody knows a price of; and what we counted, of which one broke off.
    assert [line["outcome"] for line in in_csv].count("failed") == whole["failed_calls"] == 1
    assert [line["price_version"] for line in in_csv].count("") == whole["unpriced_calls"] == 1
    assert [line["estimated"] for line in in_csv].count("True") == whole["estimated_calls"] == 2
    assert [sum(int(line[f"x_{name}Calls"]) for line in in_focus) for name in ("Failed", "Unpriced")] == [1, 1]


def test_the_overview_shows_people_the_same_in_cents(finance: Client) -> None:
    html = finance.get("/admin/usage/overview/", {"day": MARCH}).content.decode()
    for figure in ("<dt>Cost</dt><dd>$0.77</dd>", "1 calls without a price", "2 counted by us", "8.3 %"):
        assert figure in html
    shown = re.findall(r'">([^<]+)</a><svg.*?</th>\s*<td class="number">([^<]+)</td>', html)
    assert {name: cost for name, cost in shown if name in INVOICE["user"]} == {
        "ann": "$0.64", "bob": "$0.13", "cid": "&lt;$0.01",
    }  # fmt: skip
    days = dict(re.findall(r"<title>(\d+ Mar), spend: \$([^<]+)</title>", html))
    assert days == {
        "2 Mar": "0.201", "10 Mar": "0.212", "11 Mar": "0.00045", "15 Mar": "0.0013", "20 Mar": "0.00116",
        "31 Mar": "0.35",
    }  # fmt: skip


def test_focus_bills_whole_days_of_one_month(finance: Client) -> None:
    charges = lines(exported(finance, "focus-csv"))
    for line in charges:
        assert line.keys() >= MANDATORY and all(line[name] for name in MANDATORY - {"ChargeClass"})
        assert line["BilledCost"] == line["EffectiveCost"] == line["ListCost"] == line["ContractedCost"]
        assert (line["BillingCurrency"], line["ChargeCategory"]) == ("USD", "Usage")
        assert line["BillingPeriodStart"] == "2026-03-01T00:00:00Z"
        assert line["BillingPeriodEnd"] == "2026-04-01T00:00:00Z"
        begins, ends = (datetime.fromisoformat(line[f"ChargePeriod{end}"]) for end in ("Start", "End"))
        assert ends - begins == timedelta(days=1)
    # Two calls of Claude on one day differ in nothing but the time, so that they are one charge.
    assert len(charges) == 11


@pytest.mark.parametrize(
    ("moment", "month_to_date", "today"),
    [
        (LAST_MOMENT, {"ann": 638_684, "bob": 127_429, "cid": 450}, {"ann": 350_000, "bob": 31, "cid": 0}),
        (APRIL, {"ann": 7_000, "bob": 0, "cid": 0}, {"ann": 7_000, "bob": 0, "cid": 0}),
    ],
    ids=["the last moment of March", "the first of April"],
)
def test_the_month_to_date_begins_anew_at_midnight(
    at: Callable[[datetime], None], moment: datetime, month_to_date: Sums, today: Sums
) -> None:
    at(moment)
    for who in USERS:
        spent, of_today = month_to_date[who.user_id], today[who.user_id]
        told = ask(who, "GET", "/api/usage/month/").json
        assert (told["microDollars"], told["todayMicroDollars"]) == (spent, of_today)
        costs = billing(who, "mtd-cost")
        assert [micro(costs[name]) for name in ("MTD Cost", "dailyCost", "monthlyCost")] == [
            spent, of_today, spent - of_today,
        ]  # fmt: skip
        mine = billing(who, "list-user-mtd-costs")
        assert micro(mine["totalCost"]) == spent == sum(micro(part["totalCost"]) for part in mine["accounts"])
        assert sum(map(micro, mine["hourlyCost"])) == of_today
    everybody = billing(ADMIN, "list-all-user-mtd-costs")["users"]
    assert {one["email"]: micro(one["totalCost"]) for one in everybody} == {
        user: spent for user, spent in month_to_date.items() if spent
    }
    groups = billing(ADMIN, "billing-groups-costs")
    assert micro(groups["summary"]["totalCost"]) == month_to_date["ann"] + month_to_date["bob"]
    assert {group: micro(one["costs"]["total"]) for group, one in groups["billingGroups"].items()} == {
        "staff": month_to_date["ann"] + month_to_date["bob"], "choir": month_to_date["ann"],
    }  # fmt: skip


def test_what_a_key_has_cost_is_told_by_the_key() -> None:
    made = datetime(2026, 3, 1, tzinfo=UTC)
    get_stores().keys.add(KeyRecord(id=KEY, owner="ann", created_at=made), "amp-v1-anns")
    (found,) = billing(ANN, "api-key-user-cost", apiKeys=[KEY])["results"].values()
    assert micro(found["totalApiKeyCost"]) == micro(found["userApiKeyCost"]) == INVOICE["key"][KEY]
