"""DynamoDB tables with plain Python values. Calls block; the loop comes here through `core.aio`.

Numbers are `Decimal`, as the service keeps them. Every call gives up after seconds: whoever waits has a person waiting.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from functools import cached_property
from threading import Lock
from typing import Any, NamedTuple

import boto3  # type: ignore[import-untyped]
from boto3.dynamodb.types import TypeDeserializer, TypeSerializer  # type: ignore[import-untyped]
from botocore.config import Config  # type: ignore[import-untyped]
from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]

# Seconds; and tries in all.
CONNECT = 2.0
READ = 3.0
TRIES = 2

Item = dict[str, Any]
Path = tuple[str | int, ...]
"""From an attribute down into its maps and lists: ("data", "Chemistry"), ("hourlyCost", 14)."""

_to_wire = TypeSerializer().serialize
_from_wire = TypeDeserializer().deserialize
# A session is not for several threads at once, the clients that it makes are (boto3: "Multithreading").
_making = Lock()


class DynamoFailed(Exception):
    """The table did not answer, or refused; `reason` is AWS's code, or the name of what went wrong on the way there."""

    def __init__(self, table: str, operation: str, reason: str) -> None:
        super().__init__(f"{operation} on {table}: {reason}")
        self.table = table
        self.operation = operation
        self.reason = reason


class ConditionFailed(Exception):
    """The item is not in the state that the write asked for; nothing was written."""


class Table:
    """One table."""

    def __init__(self, name: str, *, region: str) -> None:
        self.name = name
        self._region = region

    @cached_property
    def _client(self) -> Any:
        timeouts = Config(
            connect_timeout=CONNECT,
            read_timeout=READ,
            retries={"total_max_attempts": TRIES, "mode": "standard"},
            max_pool_connections=16,
        )
        with _making:
            return boto3.client("dynamodb", region_name=self._region, config=timeouts)

    def get(self, key: Mapping[str, Any]) -> Item | None:
        """The item as it is after every write that has succeeded (a consistent read)."""
        found = self._call("get_item", Key=_wired(key), ConsistentRead=True).get("Item")
        return None if found is None else _plain(found)

    def query(self, index: str, attribute: str, value: Any) -> list[Item]:
        """The items of an index that have this value, its first page; a write shows there after a moment."""
        words = _Words()
        condition = f"{words.path((attribute,))} = {words.value(value)}"
        answer = self._call("query", IndexName=index, KeyConditionExpression=condition, **words.arguments)
        return [_plain(item) for item in answer["Items"]]

    def items_of(self, attribute: str, value: Any) -> list[Item]:
        """All items of a partition of the table itself, as they are after every write that has succeeded."""
        words = _Words()
        arguments: Item = {
            "KeyConditionExpression": f"{words.path((attribute,))} = {words.value(value)}",
            "ConsistentRead": True,
            **words.arguments,
        }
        return [item for page in self._pages("query", arguments) for item in page]

    def scan(self, *, any_of: Mapping[str, Any] | None = None) -> Iterator[Item]:
        """Every item, or those that have one of these attributes' values. Reads the whole table either way, as it is
        after every write that has succeeded: who reads again after a change of his own finds it."""
        words = _Words()
        arguments: Item = {"ConsistentRead": True}
        if any_of:
            filters = [f"{words.path((name,))} = {words.value(value)}" for name, value in any_of.items()]
            arguments |= {"FilterExpression": " OR ".join(filters), **words.arguments}
        for page in self._pages("scan", arguments):
            yield from page

    def pages_from(self, attribute: str, least: str) -> Iterator[list[Item]]:
        """Reads the whole table, page by page: the items whose attribute is `least` or comes after it, and those that
        lack it, as they were a moment ago. A page may have none of them."""
        words = _Words()
        path = words.path((attribute,))
        condition = f"{path} >= {words.value(least)} OR attribute_not_exists({path})"
        return self._pages("scan", {"FilterExpression": condition, **words.arguments})

    def create(self, item: Mapping[str, Any], *, key: str) -> None:
        """Raises ConditionFailed if there is an item of this `key` (an attribute's name) already."""
        self._call("put_item", **_creating(item, key))

    def update(self, key: Mapping[str, Any], assign: Mapping[Path, Any] | None = None, **further: Any) -> None:
        """Change an item, or make it; all of it or nothing. `further`: as `updating` has it.

        Raises ConditionFailed unless what must be `equal`, exist and be absent does so.
        """
        self._call("update_item", **self._updating(key, assign or {}, **further))

    def updating(self, key: Mapping[str, Any], assign: Mapping[Path, Any] | None = None, **further: Any) -> "Write":
        """The same as one of several writes, for `write_together`."""
        return Write(self, "Update", self._updating(key, assign or {}, **further))

    def creating(self, item: Mapping[str, Any], *, key: str) -> "Write":
        """As `create`, for `write_together`."""
        return Write(self, "Put", _creating(item, key))

    def _updating(
        self,
        key: Mapping[str, Any],
        assign: Mapping[Path, Any],
        *,
        default: Mapping[Path, Any] | None = None,
        add: Mapping[Path, Decimal] | None = None,
        remove: Iterable[Path] = (),
        equal: Mapping[Path, Any] | None = None,
        exists: Iterable[Path] = (),
        absent: Iterable[Path] = (),
    ) -> Item:
        """`default` is assigned where nothing is; `add` adds to a number, or to 0. No path stands in two of them."""
        words = _Words()
        sets = [f"{words.path(path)} = {words.value(value)}" for path, value in assign.items()]
        for path, value in (default or {}).items():
            sets.append(f"{words.path(path)} = if_not_exists({words.path(path)}, {words.value(value)})")
        for path, number in (add or {}).items():
            # ADD is for attributes of the item itself; this is the form for what is inside a list too.
            sets.append(
                f"{words.path(path)} = if_not_exists({words.path(path)}, {words.value(0)}) + {words.value(number)}"
            )
        parts = [("SET", sets), ("REMOVE", [words.path(path) for path in remove])]
        expression = " ".join(f"{verb} {', '.join(some)}" for verb, some in parts if some)
        condition = words.condition(equal or {}, exists, absent)
        return {"Key": _wired(key), "UpdateExpression": expression, **condition, **words.arguments}

    def ensure_map(self, key: Mapping[str, Any], attribute: str) -> None:
        """Make the item, and the attribute an empty map, if they are not there."""
        words = _Words()
        path = words.path((attribute,))
        expression = f"SET {path} = if_not_exists({path}, {words.value({})})"
        self._call("update_item", Key=_wired(key), UpdateExpression=expression, **words.arguments)

    def delete(self, key: Mapping[str, Any]) -> None:
        """Raises ConditionFailed if it is not there."""
        words = _Words()
        condition = words.condition({}, [(name,) for name in key], [])
        self._call("delete_item", Key=_wired(key), **condition, **words.arguments)

    def _pages(self, operation: str, arguments: Item) -> Iterator[list[Item]]:
        while True:
            page = self._call(operation, **arguments)
            yield [_plain(item) for item in page["Items"]]
            if "LastEvaluatedKey" not in page:
                return
            arguments = {**arguments, "ExclusiveStartKey": page["LastEvaluatedKey"]}

    def _call(self, operation: str, **arguments: Any) -> Any:
        return self._ask(operation, TableName=self.name, **arguments)

    def _ask(self, operation: str, **arguments: Any) -> Any:
        try:
            call: Callable[..., Any] = getattr(self._client, operation)
            return call(**arguments)
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "ClientError")
            reasons = [reason.get("Code") for reason in error.response.get("CancellationReasons", ())]
            if "ConditionalCheckFailed" in reasons or code == "ConditionalCheckFailedException":
                raise ConditionFailed from None
            reason = next((each for each in reasons if each not in (None, "None")), code)
            raise DynamoFailed(self.name, operation, reason) from None
        except (BotoCoreError, ValueError) as error:  # ValueError: AWS_ENDPOINT_URL is no address
            # Never its text: it may quote what was sent.
            raise DynamoFailed(self.name, operation, type(error).__name__) from None


class Write(NamedTuple):
    """One of several writes that are made together; `Table.creating` and `Table.updating` make them."""

    table: Table
    verb: str
    arguments: Item


def write_together(writes: Sequence[Write]) -> None:
    """Make all of these writes or none (TransactWriteItems: 100 at most, each of another item).

    Raises ConditionFailed if one of them found its item in another state.
    """
    writes[0].table._ask(
        "transact_write_items",
        TransactItems=[{each.verb: {"TableName": each.table.name, **each.arguments}} for each in writes],
    )


class _Words:
    """The names and values that an expression refers to: any text may be an attribute's name, reserved words too."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._values: Item = {}

    def path(self, path: Path) -> str:
        """A whole number is a place in a list."""
        parts = (
            f"[{part}]" if isinstance(part, int) else f".{self._names.setdefault(part, f'#n{len(self._names)}')}"
            for part in path
        )
        return "".join(parts).removeprefix(".")

    def value(self, value: Any) -> str:
        word = f":v{len(self._values)}"
        self._values[word] = _to_wire(value)
        return word

    def condition(self, equal: Mapping[Path, Any], exists: Iterable[Path], absent: Iterable[Path]) -> Item:
        parts = [
            *(f"{self.path(path)} = {self.value(value)}" for path, value in equal.items()),
            *(f"attribute_exists({self.path(path)})" for path in exists),
            *(f"attribute_not_exists({self.path(path)})" for path in absent),
        ]
        return {"ConditionExpression": " AND ".join(parts)} if parts else {}

    @property
    def arguments(self) -> Item:
        values = {"ExpressionAttributeValues": self._values} if self._values else {}
        return {"ExpressionAttributeNames": {word: name for name, word in self._names.items()}, **values}


def _creating(item: Mapping[str, Any], key: str) -> Item:
    words = _Words()
    condition = f"attribute_not_exists({words.path((key,))})"
    return {"Item": _wired(item), "ConditionExpression": condition, **words.arguments}


def _wired(item: Mapping[str, Any]) -> Item:
    return {name: _to_wire(value) for name, value in item.items()}


def _plain(item: Mapping[str, Any]) -> Item:
    return {name: _from_wire(value) for name, value in item.items()}
