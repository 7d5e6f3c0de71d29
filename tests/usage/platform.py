"""The platform's tables for books on a moto server, and its other services' hands on them."""

from decimal import Decimal
from typing import Any
from uuid import uuid4

import boto3

from tests.moto import REGION

_KEYS = {
    "usage": ("id", ""),
    "costs": ("id", "accountInfo"),
    "history": ("userDate", "accountInfo"),
    "admin": ("config_id", ""),
}
_INDEXES = {
    "usage": [("UserUsageTimeIndex", "user", "time")],
    "costs": [("record-type-user-index", "record_type", "id")],
    "history": [("record-type-user-index", "record_type", "userDate")],
}


class PlatformBooks:
    """Tables of their own for each test."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._resource = boto3.resource(
            "dynamodb", region_name=REGION, endpoint_url=url, aws_access_key_id="x", aws_secret_access_key="x"
        )
        self.names = {use: f"{uuid4()}-{use}" for use in _KEYS}
        for use in _KEYS:
            self._create(use)

    def _create(self, use: str) -> None:
        keys = _KEYS[use]
        indexes = _INDEXES.get(use, [])
        attributes = dict.fromkeys([*(key for key in keys if key), *(name for _, *pair in indexes for name in pair)])
        further = {
            "GlobalSecondaryIndexes": [
                {"IndexName": name, "KeySchema": _schema(*pair), "Projection": {"ProjectionType": "ALL"}}
                for name, *pair in indexes
            ]
        }
        self._resource.create_table(
            TableName=self.names[use],
            KeySchema=_schema(*keys),
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in attributes],
            BillingMode="PAY_PER_REQUEST",
            **(further if indexes else {}),
        )

    def table(self, use: str) -> Any:
        return self._resource.Table(self.names[use])

    def put(self, use: str, **item: Any) -> None:
        self.table(use).put_item(Item=item)

    def all(self, use: str) -> list[dict[str, Any]]:
        return list(self.table(use).scan()["Items"])

    def one(self, use: str, **key: str) -> dict[str, Any]:
        return dict(self.table(use).get_item(Key=key)["Item"])

    def counter(self, user: str, info: str) -> dict[str, Any]:
        return self.one("costs", id=user, accountInfo=info)

    def spent_by_others(self, user: str, info: str, dollars: str, hour: int) -> None:
        """As the platform's other services count (billing-and-state §3.4)."""
        key = {"id": user, "accountInfo": info}
        self.table("costs").update_item(
            Key=key,
            UpdateExpression="SET dailyCost = if_not_exists(dailyCost, :z), "
            "hourlyCost = if_not_exists(hourlyCost, :h), record_type = if_not_exists(record_type, :t)",
            ExpressionAttributeValues={":z": Decimal(0), ":h": [Decimal(0)] * 24, ":t": "cost"},
        )
        self.table("costs").update_item(
            Key=key,
            UpdateExpression=f"SET dailyCost = dailyCost + :c, hourlyCost[{hour}] = hourlyCost[{hour}] + :c",
            ExpressionAttributeValues={":c": Decimal(dollars)},
        )

    @property
    def env(self) -> dict[str, str]:
        """Of a service that keeps them too."""
        return {
            "CHAT_USAGE_DYNAMO_TABLE": self.names["usage"],
            "COST_CALCULATIONS_DYNAMO_TABLE": self.names["costs"],
            "HISTORY_COST_CALCULATIONS_DYNAMO_TABLE": self.names["history"],
        }


def _schema(first: str, second: str) -> list[dict[str, str]]:
    kinds = {first: "HASH"} | ({second: "RANGE"} if second else {})
    return [{"AttributeName": name, "KeyType": kind} for name, kind in kinds.items()]
