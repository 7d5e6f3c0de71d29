"""Schemas that callers send for their answers: checked before use, and safe to check answers with.

The dialect is JSON Schema 2020-12. A schema comes from outside, so nothing in it may cost much or reach out: no remote
references, no Python regular expressions (`pattern` runs in Rust's engine, in linear time), bounded size and depth,
and a limit on the processor time of a check.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import orjson
from jsonschema import Draft202012Validator, FormatChecker, ValidationError, validators
from jsonschema.exceptions import SchemaError
from pydantic_core import SchemaError as PatternError
from pydantic_core import SchemaValidator, core_schema
from referencing.jsonschema import EMPTY_REGISTRY

from core.errors import BadRequest, ModelInvalidOutput

# Vendors take less: OpenAI 5,000 properties and 10 levels of objects.
MAX_SCHEMA_BYTES = 64 * 1024
MAX_SCHEMA_DEPTH = 64
# A compiled pattern may take up to 10 MB.
MAX_PATTERNS = 20
# Of processor time; an ordinary answer takes milliseconds, one of a megabyte about a second.
MAX_CHECK_SECONDS = 2.0
# Keywords looked at in a probe, and the values that they list: an ordinary one takes a few, all of these about a third
# of a second. Counted and not timed, as a garbage collection of the whole process may fall into it.
MAX_PROBE_STEPS = 20_000
# A schema that costs too much for these, or never ends, does so for whatever a model answers.
_PROBES: tuple[Any, ...] = ({}, [], "", 0, None)
_SHOWN = 200

_MAPS = ("properties", "$defs", "definitions", "dependentSchemas")
_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
_SINGLE = (
    *("items", "contains", "additionalProperties", "propertyNames"),
    *("not", "if", "then", "else", "contentSchema"),
)
# Vendors do not take these either; their cost cannot be bounded, or they reach for other documents.
_UNSUPPORTED = frozenset(
    {"patternProperties", "unevaluatedProperties", "unevaluatedItems", "dependencies"}
    | {"$dynamicRef", "$recursiveRef", "$anchor", "$dynamicAnchor"}
)
_STRING_LISTS = ("type", "required")


class _TooCostly(Exception):
    """A check has used up what it was given."""


# Called before each keyword, with how many values it lists, or 1; raises _TooCostly when enough is enough.
_Limit = Callable[[int], None]


def _seconds(seconds: float) -> _Limit:
    """Of this thread's processor time."""
    ends = time.thread_time() + seconds

    def check(_size: int) -> None:
        if time.thread_time() > ends:
            raise _TooCostly

    return check


def _steps(steps: int) -> _Limit:
    left = steps

    def check(size: int) -> None:
        nonlocal left
        left -= size
        if left < 0:
            raise _TooCostly

    return check


@dataclass(frozen=True, slots=True)
class CheckedSchema:
    """A schema that is in order."""

    schema: Mapping[str, Any]

    @classmethod
    def of(cls, schema: Mapping[str, Any]) -> "CheckedSchema":
        """Blocks for milliseconds, for a large one up to a second. Raises BadRequest, saying where it is wrong."""
        plain = _plain(schema)
        _check_form(plain)
        checked = cls({key: value for key, value in plain.items() if key not in {"$schema", "$id"}})
        try:
            for probe in _PROBES:
                checked.fault(probe, _steps(MAX_PROBE_STEPS))
        except RecursionError:
            raise BadRequest("The output schema refers to itself without end.") from None
        return checked

    def fault(self, value: Any, limit: _Limit) -> str | None:
        """Where a value does not agree and by which keyword; None if it does. Raises BadRequest for a costly schema."""
        validator = _limited(limit)(self.schema, registry=EMPTY_REGISTRY)
        try:
            error: ValidationError | None = next(validator.iter_errors(value), None)
        except _TooCostly:
            raise BadRequest("The output schema takes too long to check: it has too many branches.") from None
        return None if error is None else f"{error.json_path}: {error.validator or 'false'}"


def parsed(text: str) -> Any:
    """The value of a JSON text. Raises ModelInvalidOutput."""
    try:
        return orjson.loads(text)
    except ValueError as error:
        raise ModelInvalidOutput("The model's answer is not JSON. Please try again or choose another model.") from error


def check_answer(text: str, schema: CheckedSchema | None) -> None:
    """Raises ModelInvalidOutput unless the text is JSON that agrees with the schema; without one, any JSON object."""
    try:
        fault = (
            _object_fault(parsed(text)) if schema is None else schema.fault(parsed(text), _seconds(MAX_CHECK_SECONDS))
        )
    except RecursionError:
        fault = "nested too deeply"
    if fault is not None:
        raise ModelInvalidOutput(
            f"The model's answer does not agree with the schema ({fault[:_SHOWN]}). "
            "Please try again or choose another model."
        )


def _object_fault(value: Any) -> str | None:
    return None if isinstance(value, dict) else "$: type"


def _plain(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A copy made of nothing but JSON, of bounded size."""
    try:
        text = orjson.dumps(schema, default=dict)
    except TypeError as error:
        raise BadRequest("The output schema is not JSON, or it is nested too deeply.") from error
    if len(text) > MAX_SCHEMA_BYTES:
        raise BadRequest(f"The output schema has {len(text):,} bytes; at most {MAX_SCHEMA_BYTES:,} are allowed.")
    _check_depth(plain := orjson.loads(text))
    if not isinstance(plain, dict):
        raise BadRequest("The output schema must be a JSON object.")
    return plain


def _check_depth(value: Any) -> None:
    level, depth = [value], 0
    while level := [below for item in level for below in _below(item)]:
        depth += 1
        if depth > MAX_SCHEMA_DEPTH:
            raise BadRequest(f"The output schema is nested too deeply; {MAX_SCHEMA_DEPTH} levels are allowed.")


def _below(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def _check_form(schema: dict[str, Any]) -> None:
    places = dict(_places(schema, ""))
    for where, place in places.items():
        _check_place(where, place, places)
    _check_patterns(places)
    try:
        # Without formats: one of them would be Python's regular expressions.
        Draft202012Validator.check_schema(schema, format_checker=FormatChecker(formats=()))
    except SchemaError as error:
        raise _wrong(error.json_path, error.message[:_SHOWN]) from error


def _places(schema: Any, where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every subschema by its JSON pointer."""
    if not isinstance(schema, dict):
        return
    yield where, schema
    for keyword in _MAPS:
        if isinstance(below := schema.get(keyword), dict):
            for name, item in below.items():
                yield from _places(item, f"{where}/{keyword}/{name.replace('~', '~0').replace('/', '~1')}")
    for keyword in _LISTS:
        if isinstance(below := schema.get(keyword), list):
            for number, item in enumerate(below):
                yield from _places(item, f"{where}/{keyword}/{number}")
    for keyword in _SINGLE:
        yield from _places(schema.get(keyword), f"{where}/{keyword}")


def _check_place(where: str, place: dict[str, Any], places: Mapping[str, Any]) -> None:
    if unsupported := sorted(_UNSUPPORTED & place.keys()):
        raise _wrong(f"#{where}", f"{unsupported[0]} is not supported")
    if where and not place.keys().isdisjoint({"$id", "$schema"}):
        raise _wrong(f"#{where}", "$id and $schema are allowed at the top only")
    reference = place.get("$ref", "#")
    if not isinstance(reference, str) or reference[:1] != "#" or unquote(reference[1:]) not in places:
        raise _wrong(f"#{where}", f"$ref must point to a schema inside this one, not to {str(reference)[:_SHOWN]!r}")
    for keyword in _STRING_LISTS:
        # Before the metaschema compares all of them with each other.
        if isinstance(names := place.get(keyword), list) and not all(isinstance(name, str) for name in names):
            raise _wrong(f"#{where}/{keyword}", "must be strings")


def _check_patterns(places: Mapping[str, dict[str, Any]]) -> None:
    patterns = {place["pattern"]: where for where, place in places.items() if isinstance(place.get("pattern"), str)}
    if len(patterns) > MAX_PATTERNS:
        raise BadRequest(f"The output schema has {len(patterns)} patterns; at most {MAX_PATTERNS} are allowed.")
    for pattern, where in patterns.items():
        try:
            _matcher(pattern)
        except PatternError as error:
            raise _wrong(f"#{where}/pattern", "not a regular expression that is supported") from error


def _wrong(where: str, what: str) -> BadRequest:
    return BadRequest(f"The output schema is wrong at {where[:_SHOWN]}: {what}.")


def _matcher(pattern: str) -> Callable[[Any], bool]:
    return SchemaValidator(core_schema.str_schema(pattern=pattern)).isinstance_python


def _limited(limit: _Limit) -> Any:
    """The validator class with the keywords of ours, each of which asks the limit first."""
    matchers: dict[str, Callable[[Any], bool]] = {}

    def pattern(_validator: Any, value: str, instance: Any, _schema: Any) -> Iterator[ValidationError]:
        if isinstance(instance, str):
            if value not in matchers:
                matchers[value] = _matcher(value)
            if not matchers[value](instance):
                yield ValidationError("does not match")

    def limited(keyword: Callable[..., Any]) -> Callable[..., Any]:
        def check(*args: Any) -> Any:
            limit(max(1, len(args[1])) if isinstance(args[1], list) else 1)
            return keyword(*args)

        return check

    keywords = {**Draft202012Validator.VALIDATORS, "pattern": pattern, "uniqueItems": _unique_items}
    return validators.extend(  # type: ignore[no-untyped-call]
        Draft202012Validator, {name: limited(keyword) for name, keyword in keywords.items()}
    )


def _unique_items(_validator: Any, wanted: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    """In linear time; the library's own compares objects pair by pair."""
    if wanted and isinstance(instance, list) and len({_frozen(item) for item in instance}) < len(instance):
        yield ValidationError("has items twice")


def _frozen(value: Any) -> Any:
    match value:
        case dict():
            return frozenset((key, _frozen(item)) for key, item in value.items())
        case list():
            return tuple(_frozen(item) for item in value)
        case bool():
            return ("bool", value)  # for JSON, true is not 1
        case _:
            return value
