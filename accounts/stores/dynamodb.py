"""Keys, groups and accounts in the platform's DynamoDB tables, beside the services that write there too.

Nothing of theirs is overwritten: items are updated attribute by attribute, and what somebody else changed in the
meantime is a Conflict. `accounts.stores.rows` knows what the rows look like.
"""

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import wraps
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar

import structlog

from accounts.keys import is_well_formed
from accounts.stores import Account, Group, KeyRecord, Stores, changed, rows
from accounts.stores.rules import NO_KEY, check_accounts, check_group, check_key, check_replacement
from core.aio import BlockingPool
from core.dynamodb import ConditionFailed, DynamoFailed, Item, Path, Table
from core.errors import ConfigurationError, Conflict, NotFound, Unavailable

P = ParamSpec("P")
S = TypeVar("S")
T = TypeVar("T")

log = structlog.get_logger(__name__)

# The index on `apiKey` gives one key a query, so several are asked for at once.
QUERIES_AT_ONCE = 8
# A call takes some milliseconds, and facts are remembered: this many serve thousands of people.
THREADS = 8

_VARIABLES = {
    "keys": "API_KEYS_DYNAMODB_TABLE",
    "groups": "ASSISTANT_GROUPS_DYNAMO_TABLE",
    "admin": "AMPLIFY_ADMIN_DYNAMODB_TABLE",
    "users": "COGNITO_USERS_DYNAMODB_TABLE",
    "accounts": "ACCOUNTS_DYNAMO_TABLE",
}
_HINTS = {
    "AccessDeniedException": "Give the task role this operation on the table and its indexes.",
    "ResourceNotFoundException": "Check the table's name, its index and AWS_REGION.",
    "NoCredentialsError": "Give the service a task role, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.",
}
_AMPLIFY_GROUPS = {"config_id": "amplifyGroups"}
_ADMINS = {"config_id": "admins"}


def dynamodb_stores(tables: Mapping[str, str], *, region: str) -> Stores:
    """`tables`: their names, by the keys of `settings.STATE_TABLES`. Raises ConfigurationError if one is missing."""
    for what, variable in _VARIABLES.items():
        if not tables.get(what):
            raise ConfigurationError(f"{variable} is not set; STATE_BACKEND=dynamodb needs the name of that table.")
    by_use = {what: Table(tables[what], region=region) for what in _VARIABLES}
    return Stores(
        keys=DynamoKeys(by_use["keys"]),
        groups=DynamoGroups(by_use["groups"], by_use["admin"]),
        accounts=DynamoAccounts(by_use["accounts"]),
        people=DynamoPeople(by_use["users"], by_use["admin"]),
        ask=BlockingPool("stores", threads=THREADS).run,
    )


def _asks(method: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[S, P], T]:
    """Its table's failures are Unavailable, after one line in the log."""

    @wraps(method)
    def asks(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return method(self, *args, **kwargs)
        except DynamoFailed as error:
            log.warning(
                "store_failed",
                store="dynamodb",
                what=error.operation,
                table=error.table,
                reason=error.reason,
                hint=_HINTS.get(error.reason, "Is DynamoDB reachable from here, and not throttling the table?"),
            )
            raise Unavailable from error

    return asks


def _tell(what: Literal["keys", "groups", "accounts"], of: str = "") -> None:
    changed.send(sender=None, what=what, of=of)


def _now() -> str:
    return rows.iso(datetime.now(UTC))


class DynamoKeys:
    most_at_once = 100
    new_keys_per_second: float | None = 200.0

    def __init__(self, table: Table) -> None:
        self._table = table
        self._threads = ThreadPoolExecutor(QUERIES_AT_ONCE, thread_name_prefix="keys")

    @_asks
    def find(self, keys: Collection[str]) -> Mapping[str, KeyRecord]:
        found = zip(keys, self._threads.map(self._find, keys), strict=True)
        return {key: rows.key_of(row) for key, row in found if row is not None}

    def _find(self, key: str) -> Item | None:
        if not is_well_formed(key):  # neither a hash nor MIGRATED opens what it stands in
            return None
        stored = rows.stored_form(key)
        # The index may be behind, and by more than a moment: what it says of a key that has been rotated or revoked
        # since is not believed. The platform's service takes the first as well: there is one, or somebody has put two.
        for entry in self._table.query("ApiKeyIndex", "apiKey", stored):
            row = self._table.get({"api_owner_id": entry["api_owner_id"]})
            if row is not None and row.get("apiKey") == stored:
                return row
        return None

    @_asks
    def get(self, key_id: str) -> KeyRecord | None:
        row = self._table.get({"api_owner_id": key_id})
        return None if row is None else rows.key_of(row)

    @_asks
    def of_user(self, user_id: str) -> Sequence[KeyRecord]:
        """Reads the whole table, which has no index on these: for pages that people look at, not for requests."""
        found = map(rows.key_of, self._table.scan(any_of={"owner": user_id, "delegate": user_id}))
        return sorted(found, key=lambda record: record.created_at or _LONG_AGO, reverse=True)

    @_asks
    def add(self, record: KeyRecord, key: str | None) -> None:
        check_key(record)
        created = rows.iso(record.created_at or datetime.now(UTC))
        stored = rows.MIGRATED if key is None else rows.stored_form(key)
        row = {"api_owner_id": record.id, "apiKey": stored, "createdAt": created, **rows.key_row(record, {})}
        try:
            self._table.create(row, key="api_owner_id")
        except ConditionFailed:
            raise Conflict("There is an API key of that id already.") from None

    @_asks
    def replace(self, old: KeyRecord, new: KeyRecord, key: str | None = None) -> None:
        check_key(new)
        row_key = {"api_owner_id": new.id}
        previous = self._table.get(row_key)
        check_replacement(None if previous is None else rows.key_of(previous), old, new)
        previous = previous or {}
        row = rows.key_row(new, previous) | ({} if key is None else {"apiKey": rows.stored_form(key)})
        kept = row if new.active else {}  # a revocation counts whatever else has changed
        equal = _assigned({name: previous[name] for name in kept if name in previous})
        absent = [(name,) for name in kept if name not in previous]
        try:
            self._table.update(row_key, _assigned(row), equal=equal, exists=[("api_owner_id",)], absent=absent)
        except ConditionFailed:
            raise (Conflict() if new.active else NotFound(NO_KEY)) from None
        _tell("keys")

    @_asks
    def touch(self, used: Mapping[str, datetime]) -> None:
        list(self._threads.map(self._touch, used.items()))

    def _touch(self, used: tuple[str, datetime]) -> None:
        key_id, moment = used
        with suppress(ConditionFailed):  # deleted meanwhile: an update would bring a stump of it back
            row_key = {"api_owner_id": key_id}
            self._table.update(row_key, {("lastAccessed",): rows.iso(moment)}, exists=[("api_owner_id",)])


_LONG_AGO = datetime.min.replace(tzinfo=UTC)


def _assigned(row: Mapping[str, Any]) -> dict[Path, Any]:
    return {(name,): value for name, value in row.items()}


class DynamoGroups:
    """Assistant groups are items of a table; amplify groups are entries in the map of one item, `amplifyGroups`.

    A group's version is a hash of what was read. A write asks for just that to be there still, so it does not matter
    that other services know nothing of versions.
    """

    def __init__(self, table: Table, admin: Table) -> None:
        self._table = table
        self._admin = admin

    @_asks
    def all(self) -> Mapping[str, Group]:
        amplify = {group_id: _amplify_group(group_id, entry) for group_id, entry in self._entries().items()}
        return amplify | {group.id: group for group in map(_assistant_group, self._table.scan())}

    @_asks
    def get(self, group_id: str) -> Group | None:
        row = self._table.get({"group_id": group_id})
        if row is not None:
            return _assistant_group(row)
        entries = self._entries()
        return _amplify_group(group_id, entries[group_id]) if group_id in entries else None

    @_asks
    def put(self, group: Group) -> None:
        check_group(group)
        put = self._put_amplify if group.kind == "amplify" else self._put_assistant
        try:
            put(group)
        except ConditionFailed:
            raise Conflict from None
        _tell("groups")

    @_asks
    def remove(self, group_id: str) -> None:
        # One that includes it at this very moment keeps the name of a group that is no more, which gives nothing.
        groups = self.all()
        if group_id not in groups:
            raise NotFound(f"There is no group {group_id[:100]!r}.")
        if any(group_id in group.includes for group in groups.values()):
            raise Conflict("Another group includes this one: take it out there first.")
        try:
            self._remove(groups[group_id])
        except ConditionFailed:
            raise NotFound(f"There is no group {group_id[:100]!r} any more.") from None
        _tell("groups")

    def _remove(self, group: Group) -> None:
        if group.kind == "assistant":
            self._table.delete({"group_id": group.id})
            return
        entry = ("data", group.id)
        self._admin.update(_AMPLIFY_GROUPS, {("last_updated",): _now()}, remove=[entry], exists=[entry])

    def _put_amplify(self, group: Group) -> None:
        entries = self._entries()
        previous = entries.get(group.id)
        _check_version(group, "" if previous is None else _version(previous))
        _check_inclusions(group, rows.amplify_group_of(group.id, previous).includes, entries)
        entry: Path = ("data", group.id)
        assigned: dict[Path, Any] = {entry: rows.amplify_group_entry(group, previous), ("last_updated",): _now()}
        if previous is not None:
            self._admin.update(_AMPLIFY_GROUPS, assigned, equal={entry: previous})
            return
        self._admin.ensure_map(_AMPLIFY_GROUPS, "data")
        self._admin.update(_AMPLIFY_GROUPS, assigned, absent=[entry])

    def _put_assistant(self, group: Group) -> None:
        row_key = {"group_id": group.id}
        previous = self._table.get(row_key)
        _check_version(group, "" if previous is None else _version(_owned(previous)))
        known = rows.assistant_group_of(previous or {}).includes
        if group.includes - known:
            _check_inclusions(group, known, self._entries())
        row = rows.assistant_group_row(group)
        if previous is None:
            self._table.create(
                {**row_key, "createdAt": _now(), "assistants": [], "groupTypes": [], **row}, key="group_id"
            )
            return
        equal = _assigned({name: previous[name] for name in row if name in previous})
        absent = [(name,) for name in row if name not in previous]
        self._table.update(row_key, _assigned(row), equal=equal, exists=[("group_id",)], absent=absent)

    def _entries(self) -> Mapping[str, Any]:
        """The map of the amplify groups."""
        entries = (self._admin.get(_AMPLIFY_GROUPS) or {}).get("data")
        return entries if isinstance(entries, Mapping) else {}


def _amplify_group(group_id: str, entry: Any) -> Group:
    return replace(rows.amplify_group_of(group_id, entry), version=_version(entry))


def _assistant_group(row: Item) -> Group:
    return replace(rows.assistant_group_of(row), version=_version(_owned(row)))


def _owned(row: Item) -> Item:
    """What a write of ours replaces."""
    return {name: row[name] for name in rows.assistant_group_row(_NO_GROUP) if name in row}


_NO_GROUP = Group(id="")


def _version(content: Any) -> str:
    text = json.dumps(
        content, sort_keys=True, default=lambda value: sorted(value) if isinstance(value, set) else str(value)
    )
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _check_version(group: Group, there: str) -> None:
    """Whether `group` is meant to go in place of the state that is there, or of none."""
    if there and not group.version:
        raise Conflict(f"There is a group {group.id[:100]!r} already: choose another id, or change that one.")
    if group.version != there:
        raise Conflict


def _check_inclusions(group: Group, before: Iterable[str], entries: Mapping[str, Any]) -> None:
    for missing in sorted(group.includes - set(before) - entries.keys()):
        raise NotFound(f"There is no amplify group {missing[:100]!r} to include.")


class DynamoAccounts:
    def __init__(self, table: Table) -> None:
        self._table = table

    @_asks
    def of_user(self, user_id: str) -> Sequence[Account]:
        return rows.accounts_of(self._table.get({"user": user_id}))

    @_asks
    def save(self, user_id: str, accounts: Sequence[Account]) -> None:
        check_accounts(accounts)
        row_key = {"user": user_id}
        previous = {entry.get("id"): entry for entry in rows.account_entries(self._table.get(row_key))}
        entries = [rows.account_entry(account, previous.get(account.id, {})) for account in accounts]
        self._table.update(row_key, {("accounts",): entries})
        _tell("accounts", of=user_id)


class DynamoPeople:
    """Who has signed in at the platform, and who stands in its list of administrators."""

    def __init__(self, users: Table, admin: Table) -> None:
        self._users = users
        self._admin = admin

    @_asks
    def knows(self, user_id: str) -> bool:
        return self._users.get({"user_id": user_id}) is not None

    def is_admin(self, user_id: str) -> bool:
        return user_id in self.admins()

    @_asks
    def admins(self) -> Collection[str]:
        listed = (self._admin.get(_ADMINS) or {}).get("data")
        return frozenset(name for name in listed if isinstance(name, str)) if isinstance(listed, list) else frozenset()
