"""Exports, through the door: streamed, page by page, exactly what the overview counts, and safe to open."""

import asyncio
import csv
import io
import json
import zipfile
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from xml.etree import ElementTree

import pytest
from django.db import connections
from django.test import Client

from accounts.models import User
from audit.models import Entry
from tests.usage.conftest import at_once
from tests.usage.test_review import agrees, calls
from tests.usage.test_roll_ups import row
from usage.exports import EXPORTS, export
from usage.exports.sheets import CsvFile, XlsxFile, safe
from usage.ledger import write
from usage.review.asked import Asked

pytestmark = pytest.mark.django_db
URL = "/admin/usage/overview/export/"
QUARTER = {"day": "2025-12-01..2026-03-31"}
EVIL = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1"]
SHEET = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
MANDATORY = {
    "BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodEnd",
    "BillingPeriodStart", "ChargeCategory", "ChargeClass", "ChargeDescription", "ChargePeriodEnd",
    "ChargePeriodStart", "ContractedCost", "EffectiveCost", "InvoiceIssuerName", "ListCost", "PricingQuantity",
    "PricingUnit", "ProviderName", "PublisherName", "ServiceCategory", "ServiceName",
}  # fmt: skip
"""Columns that FOCUS 1.2 asks of everybody."""


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test's transaction is seen by its own thread only."""
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    monkeypatch.setattr("usage.exports.run_blocking", at_once)


@pytest.fixture
def clerk() -> User:
    return User.objects.create(username="clerk", is_staff=True, is_superuser=True)


def taken(name: str, clerk: User, **query: str) -> bytes:
    """The whole file."""
    return b"".join(parts(name, clerk, **query))


def parts(name: str, clerk: User, **query: str) -> list[bytes]:
    return read_all(export(EXPORTS[name], Asked.read(QUARTER | query)))


def read_all(response: Any) -> list[bytes]:
    """As an ASGI server does."""
    own = connections["default"]

    async def read() -> list[bytes]:
        connections["default"] = own  # on a loop there would be another, outside of the test's transaction
        return [part async for part in response.streaming_content]

    return asyncio.run(read())


def lines(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline="")))


def cells(data: bytes, sheet: int = 1) -> list[list[str]]:
    with zipfile.ZipFile(io.BytesIO(data)) as book:
        assert book.testzip() is None
        root = ElementTree.fromstring(book.read(f"xl/worksheets/sheet{sheet}.xml"))
    return [["".join(cell.itertext()) for cell in line] for line in root.iter(f"{SHEET}row")]


@pytest.mark.parametrize(
    "query", [{}, {"user": "ann"}, {"group": "staff", "model": "gpt-4o"}, {"key": "(none)"}], ids=str
)
@pytest.mark.parametrize("page", [1, 7, 1_000])
def test_the_calls_are_those_that_the_overview_counts(
    clerk: User, monkeypatch: pytest.MonkeyPatch, query: dict[str, str], page: int
) -> None:
    monkeypatch.setattr("usage.exports.rows.PAGE", page)
    monkeypatch.setattr("usage.exports.focus.PAGE", page)
    rows = calls(50)
    rows += [row(started_at=rows[0].started_at) for _ in range(5)]  # of one moment
    write(rows)
    asked = Asked.read(QUARTER | query)
    selected = [call for call in rows if agrees(call, asked)]
    cost = sum((Decimal(call.micro_dollars) for call in selected), Decimal(0)) / 10**6
    in_csv = lines(taken("calls-csv", clerk, **query))
    assert sorted(line["call_id"] for line in in_csv) == sorted(str(call.call_id) for call in selected)
    assert [line["started_at"] for line in in_csv] == sorted(line["started_at"] for line in in_csv)
    assert sum((Decimal(line["cost_usd"]) for line in in_csv), Decimal(0)) == cost
    in_xlsx = cells(taken("calls-xlsx", clerk, **query))
    assert [line[4] for line in in_xlsx] == ["call_id", *(line["call_id"] for line in in_csv)]
    in_focus = lines(taken("focus-csv", clerk, **query))
    assert sum((Decimal(line["BilledCost"]) for line in in_focus), Decimal(0)) == cost
    assert sum(int(line["x_Calls"]) for line in in_focus) == len(selected)


def test_focus_has_its_columns_and_periods(clerk: User) -> None:
    write([row(frozenset({"staff"}), micro_dollars=54_399, started_at=datetime(2026, 2, 28, 23, 59, tzinfo=UTC))])
    (line,) = lines(taken("focus-csv", clerk))
    assert line.keys() >= MANDATORY
    assert {name for name, value in line.items() if not value} == {"ChargeClass"}  # and that one must be
    assert line["BilledCost"] == line["EffectiveCost"] == "0.054399"
    assert (line["ChargePeriodStart"], line["ChargePeriodEnd"]) == ("2026-02-28T00:00:00Z", "2026-03-01T00:00:00Z")
    assert (line["BillingPeriodStart"], line["BillingPeriodEnd"]) == ("2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z")
    assert json.loads(line["Tags"]) == {"user": "u", "account": "a", "groups": "staff", "purpose": "answer"}


def test_no_cell_is_a_formula(clerk: User) -> None:
    write([row(user_id=evil, model_id=evil, started_at=datetime(2026, 2, 1, tzinfo=UTC)) for evil in EVIL])
    for name in ("calls-csv", "focus-csv"):
        values = [value for line in lines(taken(name, clerk)) for value in line.values()]
        assert not [value for value in values if value.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))]
        assert {f"'{evil}" for evil in EVIL} <= set(values)
    data = taken("calls-xlsx", clerk)
    assert b"<f>" not in zipfile.ZipFile(io.BytesIO(data)).read("xl/worksheets/sheet1.xml")
    assert "'=1+1" in {value for line in cells(data) for value in line}
    assert (safe("plain"), safe(-5)) == ("plain", -5)


def test_a_workbook_takes_any_text_and_goes_on_in_a_further_sheet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("usage.exports.sheets.SHEET_ROWS", 2)
    file = XlsxFile()
    data = file.begin(["name", "n"])
    data += file.add([["<&>\0\x1b\ud800é\uffff", 1], ["", None], [Decimal("0.000001"), True]]) + file.end()
    assert cells(data) == [["name", "n"], ["<&>é", "1"], ["", ""]]
    assert cells(data, 2) == [["name", "n"], ["0.000001", "1"]]
    with zipfile.ZipFile(io.BytesIO(data)) as book:
        for name in book.namelist():
            ElementTree.fromstring(book.read(name))


@pytest.mark.parametrize("file", [CsvFile, XlsxFile])
def test_nothing_is_kept_that_is_written(file: Any) -> None:
    one = file()
    sizes = [len(one.begin(["text"]))]
    sizes += [
        len(one.add([[f"{number * 7919 % 104_729}" * 9] for number in range(start, start + 1_000)]))
        for start in range(0, 50_000, 1_000)
    ]
    # What is ready leaves: a compressor keeps some kilobytes back, never more than it was given lately.
    assert sum(sizes[1:26]) > 0 and sum(sizes[26:]) > 0
    assert max(sizes) < 4 * (sum(sizes) / len(sizes)) + 100_000


def test_a_part_leaves_for_each_page(clerk: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("usage.exports.rows.PAGE", 5)
    moment = datetime(2026, 2, 1, tzinfo=UTC)
    write([row(started_at=moment + timedelta(seconds=second)) for second in range(20)])
    assert len(parts("calls-csv", clerk)) >= 5


def test_a_period_without_calls_is_a_file_without_rows(clerk: User) -> None:
    assert lines(taken("calls-csv", clerk)) == [] and len(cells(taken("calls-xlsx", clerk))) == 1


def test_it_streams_and_stands_in_the_audit_log(client: Client, clerk: User) -> None:
    client.force_login(clerk)
    record = row(started_at=datetime(2026, 2, 1, tzinfo=UTC))
    write([record])
    response = client.get(f"{URL}calls-csv/", QUARTER | {"user": "u"})
    assert response.status_code == 200 and response.streaming
    assert response["Content-Disposition"] == 'attachment; filename="usage-calls-2025-12-01-to-2026-03-31.csv"'
    (line,) = lines(b"".join(read_all(response)))
    assert line["call_id"] == str(record.call_id)
    entry = Entry.objects.get()
    assert (entry.actor, entry.action, entry.resource_id) == ("clerk", "exported", "calls-csv")
    assert "user=u" in entry.changes["selection"][1]


@pytest.mark.parametrize(("name", "query"), [("all-pdf", {}), ("calls-csv", {"day": "x"})])
def test_what_there_is_not_is_refused(client: Client, clerk: User, name: str, query: dict[str, str]) -> None:
    client.force_login(clerk)
    assert client.get(f"{URL}{name}/", query).status_code == 400
    assert not Entry.objects.exists()
