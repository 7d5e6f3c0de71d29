"""docs/websocket.md and docs/asyncapi.yaml say the same as the code, and their examples are true to their schemas."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from amplify_chat.env import Env
from chat import websocket
from chat.runs import Reason
from chat.schema.base import MAX_MESSAGES
from chat.schema.chat import parse_chat, parse_kill
from chat.service import Limits
from core.errors import (
    AmplifyError,
    Conflict,
    MethodNotAllowed,
    PayloadTooLarge,
    RequestTimeout,
    UnsupportedMediaType,
)

DOCS = Path(__file__).resolve().parents[2] / "docs"
PROSE = (DOCS / "websocket.md").read_text()
SPEC: dict[str, Any] = yaml.safe_load((DOCS / "asyncapi.yaml").read_text())
MESSAGES: dict[str, Any] = SPEC["components"]["messages"]
SOURCE = Path(websocket.__file__).read_text()

# What only HTTP answers: a socket has no methods and no media types, and what is too large or too slow closes it.
ONLY_HTTP = {
    error.code for error in (Conflict, MethodNotAllowed, PayloadTooLarge, RequestTimeout, UnsupportedMediaType)
}


def handled_and_sent() -> set[str]:
    """The types in the source: keys of the handlers' table, and every `"type": "…"` that is written."""
    handled = re.findall(r'^ +"([a-z.]+)": self\._\w+,$', SOURCE, re.MULTILINE)
    return {*handled, *re.findall(r'"type": ?"([a-z.]+)"', SOURCE)}


def errors(kind: type[AmplifyError]) -> Iterator[type[AmplifyError]]:
    yield kind
    for narrower in kind.__subclasses__():
        yield from errors(narrower)


def fenced(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PROSE, re.MULTILINE | re.DOTALL)


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in schema:
        return schema
    found: Any = SPEC
    for step in schema["$ref"].removeprefix("#/").split("/"):
        found = found[step]
    return resolved(found)


KINDS: dict[str, type | tuple[type, ...]] = {
    "object": dict, "array": list, "string": str, "boolean": bool, "integer": int, "number": (int, float),
}  # fmt: skip


def mistakes(value: Any, schema: dict[str, Any], where: str = "$") -> list[str]:
    """What of JSON Schema is used here: type, const, enum, required, properties, items, oneOf, minimum."""
    schema = resolved(schema)
    if "oneOf" in schema:
        fitting = sum(not mistakes(value, choice, where) for choice in schema["oneOf"])
        return [] if fitting == 1 else [f"{where} fits {fitting} of the choices"]
    kind = schema["type"]
    if not isinstance(value, KINDS[kind]) or (isinstance(value, bool) and kind != "boolean"):
        return [f"{where} is not of type {kind}"]
    if value not in schema.get("enum", [value]) or value != schema.get("const", value):
        return [f"{where} may not be {value!r}"]
    if kind in ("integer", "number") and value < schema.get("minimum", value):
        return [f"{where} is too small"]
    found = []
    if kind == "object":
        properties = schema.get("properties", {})
        found += [f"{where}.{name} is missing" for name in schema.get("required", []) if name not in value]
        found += [m for name in value.keys() & properties for m in mistakes(value[name], properties[name], name)]
    elif kind == "array":
        found += [m for n, item in enumerate(value) for m in mistakes(item, schema["items"], f"{where}[{n}]")]
    return found


def test_the_specification_has_what_asyncapi_asks_for() -> None:
    assert SPEC["asyncapi"] == "3.0.0"
    assert SPEC["info"]["title"] and SPEC["info"]["version"]
    assert {operation["action"] for operation in SPEC["operations"].values()} == {"send", "receive"}


def test_every_reference_leads_somewhere() -> None:
    references = set(re.findall(r'\$ref: "(#[^"]+)"', (DOCS / "asyncapi.yaml").read_text()))
    assert references
    for reference in references:
        assert resolved({"$ref": reference})


def test_every_message_is_described_and_no_other() -> None:
    assert {"chat.start", "event", "run.ended"} <= handled_and_sent()
    assert set(MESSAGES) == handled_and_sent()
    assert set(SPEC["channels"]["chat"]["messages"]) == set(MESSAGES)
    used = {
        message["$ref"].rpartition("/")[2]
        for operation in SPEC["operations"].values()
        for message in [*operation["messages"], *operation.get("reply", {}).get("messages", [])]
    }
    assert used == set(MESSAGES)


@pytest.mark.parametrize("name", MESSAGES)
def test_examples_in_the_specification(name: str) -> None:
    message = MESSAGES[name]
    assert message["name"] == name == message["payload"]["properties"]["type"]["const"]
    assert message["examples"]
    for example in message["examples"]:
        payload = json.loads(json.dumps(example["payload"], allow_nan=False))
        assert mistakes(payload, message["payload"]) == []


def test_examples_in_the_prose() -> None:
    examples = [json.loads(line) for block in fenced("json") for line in block.splitlines()]
    assert {example["type"] for example in examples} == set(MESSAGES)
    for example in examples:
        assert mistakes(example, MESSAGES[example["type"]]["payload"]) == []


def test_the_service_takes_the_questions_of_the_examples() -> None:
    bodies = [example["payload"]["body"] for example in MESSAGES["chat.start"]["examples"]]
    for body in bodies:
        assert parse_kill(body["killSwitch"]) if "killSwitch" in body else parse_chat(body)


@pytest.mark.parametrize(
    "broken",
    [
        {"type": "event", "run": "run_1", "seq": 0, "event": {"d": "x", "s": 0}},
        {"type": "event", "run": "run_1", "seq": 1, "event": {"s": 0}},
        {"type": "event", "run": "run_1", "seq": True, "event": {"d": "x", "s": 0}},
        {"type": "event", "run": "run_1", "event": {"d": "x", "s": 0}},
    ],
)
def test_the_check_itself_sees_mistakes(broken: dict[str, Any]) -> None:
    assert mistakes(broken, MESSAGES["event"]["payload"])


def test_errors_and_reasons() -> None:
    codes = {kind.code for kind in errors(AmplifyError) if kind.__module__ in ("core.errors", "chat.websocket")}
    assert set(SPEC["components"]["schemas"]["ErrorCode"]["enum"]) == codes - ONLY_HTTP
    assert set(SPEC["components"]["schemas"]["Reason"]["enum"]) == set(get_args(Reason))
    rows = set(re.findall(r"^\| `([a-z_]+)` \|", PROSE, re.MULTILINE))
    assert rows == codes - ONLY_HTTP | set(get_args(Reason))


def test_limits_and_close_codes() -> None:
    defaults = Env()
    assert websocket.SUBPROTOCOL in PROSE
    for said in (
        f"at most {websocket.MAX_RUNS} runs",
        f"WEBSOCKET_MAX_MB ({defaults.websocket_max_mb}) megabytes",
        f"{websocket.CLOSE_RESTARTING} the server restarts",
        f"{websocket.CLOSE_UNAUTHORIZED} nobody signed in within {Limits().sign_in_seconds:.0f} seconds",
    ):
        assert said in SPEC["channels"]["chat"]["description"]
    for said in (
        f"| {websocket.MAX_RUNS} |",
        f"{defaults.websocket_max_mb} MB (`WEBSOCKET_MAX_MB`)",
        f"| {Limits().sign_in_seconds:.0f} s |",
        f"| {MAX_MESSAGES} |",
        f"| {websocket.CLOSE_RESTARTING} |",
        f"| {websocket.CLOSE_UNAUTHORIZED} |",
        f"`RUN_DEADLINE_SECONDS` ({defaults.run_deadline_seconds:.0f})",
        f"`RUN_GRACE_SECONDS` ({defaults.run_grace_seconds:.0f})",
        f"{defaults.run_keep_seconds:.0f} seconds (`RUN_KEEP_SECONDS`)",
    ):
        assert said in PROSE


def test_the_python_example_is_python() -> None:
    (example,) = fenced("python")
    compile(example, "websocket.md", "exec")
