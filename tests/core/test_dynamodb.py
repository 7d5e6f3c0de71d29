"""Tables in a moto server: what a write leaves there, what it refuses, and several writes together or not at all."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from uuid import uuid4

import boto3
import pytest

from core.dynamodb import ConditionFailed, DynamoFailed, Table, write_together
from tests.moto import REGION, running_moto

KEY = {"id": "ann"}
SECRET = "what somebody has asked"


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    with running_moto() as url:
        yield url


@pytest.fixture(autouse=True)
def aws(moto: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")


@pytest.fixture
def table(moto: str) -> Table:
    name = str(uuid4())
    boto3.client("dynamodb", region_name=REGION, endpoint_url=moto).create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    return Table(name, region=REGION)


def there(table: Table) -> dict[str, Any]:
    item = table.get(KEY)
    assert item is not None
    return item


def test_add_adds_to_what_is_there_or_to_nothing(table: Table) -> None:
    table.update(KEY, {("hours",): [Decimal(0)] * 3})
    for _ in range(2):
        table.update(KEY, add={("day",): Decimal("0.1"), ("hours", 2): Decimal("0.000001")})
    assert there(table) == {**KEY, "day": Decimal("0.2"), "hours": [0, 0, Decimal("0.000002")]}


def test_a_default_is_assigned_once(table: Table) -> None:
    table.update(KEY, default={("day",): Decimal(1)})
    table.update(KEY, default={("day",): Decimal(2), ("record_type",): "cost"})
    assert there(table) == {**KEY, "day": 1, "record_type": "cost"}


def test_names_may_be_reserved_or_hold_dots_and_values_may_be_anything(table: Table) -> None:
    table.update(KEY, {("time",): SECRET, ("a.b",): {"size": None}})
    table.update(KEY, {("a.b", "size"): True}, remove=[("time",)])
    assert there(table) == {**KEY, "a.b": {"size": True}}


@pytest.mark.parametrize(
    "unless", [{"equal": {("day",): Decimal(2)}}, {"exists": [("month",)]}, {"absent": [("day",)]}]
)
def test_a_condition_that_does_not_hold_changes_nothing(table: Table, unless: dict[str, Any]) -> None:
    table.update(KEY, {("day",): Decimal(1)})
    with pytest.raises(ConditionFailed):
        table.update(KEY, {("day",): Decimal(9)}, **unless)
    with pytest.raises(ConditionFailed):
        write_together([table.updating(KEY, {("day",): Decimal(9)}, **unless)])
    assert there(table)["day"] == 1


def test_an_item_is_created_once(table: Table) -> None:
    table.create({**KEY, "day": Decimal(1)}, key="id")
    with pytest.raises(ConditionFailed):
        table.create({**KEY, "day": Decimal(2)}, key="id")
    assert there(table)["day"] == 1


def test_writes_together_are_all_made_or_none(table: Table) -> None:
    def row_and_sum(row: str) -> None:
        write_together([table.creating({"id": row}, key="id"), table.updating(KEY, add={("day",): Decimal("0.5")})])

    row_and_sum("first")
    row_and_sum("second")
    with pytest.raises(ConditionFailed):
        row_and_sum("first")
    assert there(table)["day"] == 1
    assert {item["id"] for item in table.scan()} == {"ann", "first", "second"}


def test_a_hundred_writes_go_together(table: Table) -> None:
    write_together([table.creating({"id": f"row {number}"}, key="id") for number in range(100)])
    assert len(list(table.scan())) == 100


def test_a_place_that_is_not_there_is_named_as_such_and_nothing_is_written(table: Table) -> None:
    """What the deliverer goes by: the counter has to be begun first."""
    writes = [table.creating({"id": "row"}, key="id"), table.updating(KEY, add={("hours", 3): Decimal(1)})]
    with pytest.raises(DynamoFailed) as failed:
        write_together(writes)
    assert failed.value.reason in ("ValidationError", "ValidationException")
    assert list(table.scan()) == []


def test_an_error_tells_where_and_why_and_nothing_of_what_was_sent(table: Table) -> None:
    missing = Table("missing", region=REGION)
    for ask in (
        lambda: missing.create({**KEY, "text": SECRET}, key="id"),
        lambda: write_together([missing.creating({**KEY, "text": SECRET}, key="id")]),
        lambda: table.update({"id": SECRET, "other": SECRET}, {("day",): SECRET}),
    ):
        with pytest.raises(DynamoFailed) as failed:
            ask()
        assert failed.value.reason.endswith(("Exception", "Error")) and SECRET not in str(failed.value)


def test_a_server_that_is_away_is_said(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(DynamoFailed, match="EndpointConnectionError"):
        write_together([Table(table.name, region=REGION).creating(KEY, key="id")])


def test_pages_of_what_comes_after_or_has_no_such_attribute(table: Table) -> None:
    for row, further in {"old": {"time": "2024"}, "new": {"time": "2025-08"}, "none": {}}.items():
        table.create({"id": row, **further}, key="id")
    found = [item["id"] for page in table.pages_from("time", "2025-08") for item in page]
    assert sorted(found) == ["new", "none"]
