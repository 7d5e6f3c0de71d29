"""A pytest plugin that writes down what is asked of each DynamoDB table: `-p tests.infra.asked_of_tables`.

Lines of `<use> <action>` go to the file that ASKED_OF_TABLES names; the tests call their tables `<random>-<use>`.
"""

import os
from pathlib import Path
from typing import Any

from core.dynamodb import Table

_ACTION = {"Put": "PutItem", "Update": "UpdateItem", "Delete": "DeleteItem"}


def _actions(operation: str, arguments: dict[str, Any]) -> list[tuple[str, str]]:
    if operation == "transact_write_items":
        writes = [next(iter(each.items())) for each in arguments["TransactItems"]]
        return [(write["TableName"], _ACTION[verb]) for verb, write in writes]
    return [(arguments["TableName"], "".join(word.capitalize() for word in operation.split("_")))]


_ask = Table._ask


def _noted(self: Table, operation: str, **arguments: Any) -> Any:
    with Path(os.environ["ASKED_OF_TABLES"]).open("a") as file:
        file.writelines(f"{name.rpartition('-')[2]} {action}\n" for name, action in _actions(operation, arguments))
    return _ask(self, operation, **arguments)


Table._ask = _noted  # type: ignore[method-assign]
