"""Writing the audit log."""

import getpass
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from django.db import DatabaseError, connection

from audit.models import Door, Entry

log = structlog.get_logger(__name__)

Changes = dict[str, list[Any]]
"""Field to `[before, after]`; of lists and objects only those parts that differ."""

REDACTED = "(not shown)"
_SECRET = re.compile(r"passw|secret|hash|credential|authorization|api_?key$|token(?!s)", re.IGNORECASE)
# What looks like one of our keys, wherever somebody may have pasted it.
_KEY = re.compile(r"amp-[A-Za-z0-9_-]{16,}")
# Long texts (a system prompt) are cut: an entry says that they changed and how they begin.
_MAX_TEXT = 500
_EMPTY: tuple[Any, ...] = (None, "", [], {})


@dataclass(frozen=True, slots=True, kw_only=True)
class By:
    """Who did it, and how they came in."""

    actor: str
    door: Door
    api_key_id: str = ""
    request_id: str = ""


def by_command() -> By:
    """Whoever runs the present management command."""
    try:
        actor = getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        actor = "unknown"
    return By(actor=actor, door=Door.COMMAND)


def record(by: By, action: str, resource: str, resource_id: str, changes: Changes | None = None) -> None:
    """Write down one change, as `differences` describes it.

    Within a transaction the entry is part of it: if it cannot be written, the error goes up and undoes the change
    too. Outside of one the change has been made by now, somewhere that knows no transaction of ours: then an entry
    that cannot be written goes to the log whole, as event `audit_entry_lost`, and the caller goes on.
    """
    entry = Entry(
        door=by.door,
        actor=by.actor[:255],
        api_key_id=by.api_key_id[:600],
        action=action,
        resource=resource,
        resource_id=resource_id[:600],
        changes=changes or {},
        request_id=by.request_id[:128],
    )
    if connection.in_atomic_block:
        entry.save()
        return
    try:
        entry.save()
    except DatabaseError as error:
        fields = {field.attname: getattr(entry, field.attname) for field in Entry._meta.concrete_fields[1:]}
        # No traceback: these fields say all of it.
        log.error("audit_entry_lost", reason=type(error).__name__, **fields)  # noqa: TRY400


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Changes:
    """The fields in which two states of a thing differ; a thing that is new or gone has the state `{}`.

    Values of fields that may hold a secret, by their name, are not shown.
    """
    return {
        name: [_shown(name, side) for side in _parted(old.get(name), new.get(name))]
        for name in dict.fromkeys((*old, *new))
        if _filled(old.get(name)) != _filled(new.get(name))
    }


def _parted(old: Any, new: Any) -> tuple[Any, Any]:
    """Without what they have in common: who joins a group of thousands is one name and not thousands."""
    match old, new:
        case Mapping(), Mapping():
            return _without(old, new), _without(new, old)
        case list(), list():
            return _missing_from(new, old), _missing_from(old, new)
    return old, new


def _missing_from(other: list[Any], items: list[Any]) -> list[Any]:
    there = {repr(item) for item in other}  # items need not have a hash
    return [item for item in items if repr(item) not in there]


def _without(state: Mapping[Any, Any], other: Mapping[Any, Any]) -> dict[Any, Any]:
    missing = object()
    return {name: value for name, value in state.items() if other.get(name, missing) != value}


def _filled(value: Any) -> Any:
    return None if value in _EMPTY else value


def _shown(name: str, value: Any) -> Any:
    if value in _EMPTY:
        return value
    if _SECRET.search(name):
        return REDACTED
    match value:
        case str():
            # PostgreSQL keeps no NUL.
            text = _KEY.sub("amp-…", value.replace("\0", ""))
            return text if len(text) <= _MAX_TEXT else text[:_MAX_TEXT] + "…"
        case Mapping():
            return {_shown("", str(key)): _shown(str(key), inner) for key, inner in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_shown("", inner) for inner in value]
    return value
