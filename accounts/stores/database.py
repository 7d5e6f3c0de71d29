"""Keys, groups and accounts in our own tables (`accounts.models`)."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import wraps
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar

import structlog
from django.db import DataError, Error, IntegrityError, models, transaction
from django.db.models import Case, Exists, OuterRef, Q, Value, When
from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver

from accounts import models as tables
from accounts.keys import hash_key
from accounts.models import limit_fields, new_version
from accounts.stores import Account, Group, KeyRecord, Role, Stores, changed
from accounts.stores.rules import check_accounts, check_group, check_key, check_replacement
from core.errors import BadRequest, Conflict, NotFound, Unavailable

P = ParamSpec("P")
T = TypeVar("T")
S = TypeVar("S")

log = structlog.get_logger(__name__)


def database_stores() -> Stores:
    return Stores(keys=DatabaseKeys(), groups=DatabaseGroups(), accounts=DatabaseAccounts(), people=DatabasePeople())


@contextmanager
def _asked(what: str) -> Iterator[None]:
    try:
        yield
    except DataError as error:  # Postgres alone says so
        raise BadRequest("One of these texts is too long, or has characters that cannot be kept.") from error
    except Error as error:  # InterfaceError, of a connection that is gone, is no DatabaseError
        # Not its text, which may quote what we wrote.
        log.warning("store_failed", store="database", what=what, reason=type(error).__name__)
        raise Unavailable from error


def _asks(method: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[S, P], T]:
    """Its database's failures are Unavailable, after a line in the log."""

    @wraps(method)
    def asks(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        with _asked(method.__qualname__):
            return method(self, *args, **kwargs)

    return asks


def _tell(what: Literal["keys", "groups", "accounts", "people"], of: str = "") -> None:
    transaction.on_commit(lambda: changed.send(sender=None, what=what, of=of))


# Rows that are saved elsewhere, in the admin say, are changes like our own.
@receiver([post_save, post_delete], sender=tables.ApiKey)
def _on_key(**_: Any) -> None:
    _tell("keys")


@receiver([post_save, post_delete], sender=tables.Group)
@receiver([post_save, post_delete], sender=tables.Membership)
@receiver([post_save, post_delete], sender=tables.Inclusion)
def _on_group(**_: Any) -> None:
    _tell("groups")


@receiver([post_save, post_delete], sender=tables.Account)
def _on_account(instance: tables.Account, **_: Any) -> None:
    _tell("accounts", of=instance.user_id)


@receiver([post_save, post_delete], sender=tables.User)
def _on_user(instance: tables.User, update_fields: Collection[str] | None = None, **_: Any) -> None:
    if update_fields and set(update_fields) == {"last_login"}:
        return  # whoever signs in changes nothing else
    _tell("people", of=instance.username)
    _tell("keys")  # those of somebody who was deactivated are not good


class DatabaseKeys:
    most_at_once = 1000
    new_keys_per_second: float | None = None  # a thousand wrong keys cost one query

    @_asks
    def find(self, keys: Collection[str]) -> Mapping[str, KeyRecord]:
        """A key of somebody who was deactivated comes back inactive."""
        by_hash = {hash_key(key): key for key in keys}
        deactivated = tables.User.objects.filter(
            Q(username=OuterRef("owner")) | Q(username=OuterRef("delegate")), is_active=False
        )
        rows = tables.ApiKey.objects.filter(key_hash__in=by_hash).annotate(blocked=Exists(deactivated))
        return {by_hash[row.key_hash or ""]: _key(row, active=row.active and not row.blocked) for row in rows}

    @_asks
    def get(self, key_id: str) -> KeyRecord | None:
        row = tables.ApiKey.objects.filter(api_owner_id=key_id).first()
        return None if row is None else _key(row, active=row.active)

    @_asks
    def of_user(self, user_id: str) -> Sequence[KeyRecord]:
        rows = tables.ApiKey.objects.filter(Q(owner=user_id) | Q(delegate=user_id))
        return [_key(row, active=row.active) for row in rows]

    @_asks
    def add(self, record: KeyRecord, key: str | None) -> None:
        check_key(record)
        try:
            with transaction.atomic():
                tables.ApiKey.objects.create(
                    api_owner_id=record.id, key_hash=None if key is None else hash_key(key), **_key_fields(record)
                )
        except IntegrityError as error:
            raise Conflict("There is an API key of that id already.") from error

    @_asks
    def replace(self, old: KeyRecord, new: KeyRecord, key: str | None = None) -> None:
        check_key(new)
        new_hash = {} if key is None else {"key_hash": hash_key(key)}
        rows = tables.ApiKey.objects.filter(api_owner_id=new.id)
        with transaction.atomic():
            row = rows.select_for_update().first()
            check_replacement(None if row is None else _key(row, active=row.active), old, new)
            rows.update(**_key_fields(new), **new_hash)
        _tell("keys")

    @_asks
    def touch(self, used: Mapping[str, datetime]) -> None:
        moments = [When(api_owner_id=key_id, then=Value(moment)) for key_id, moment in used.items()]
        if moments:
            rows = tables.ApiKey.objects.filter(api_owner_id__in=used)
            rows.update(last_used_at=Case(*moments, output_field=models.DateTimeField()))


def _key(row: tables.ApiKey, *, active: bool) -> KeyRecord:
    return KeyRecord(
        id=row.api_owner_id,
        owner=row.owner,
        delegate=row.delegate or None,
        system_id=row.system_id or None,
        name=row.name,
        description=row.description,
        account_id=row.account_id,
        account_name=row.account_name,
        access_types=frozenset(row.access_types),
        active=active,
        expires_at=row.expires_at,
        created_at=row.created_at,
        last_used_at=row.last_used_at,
        limit=row.limit,
        purpose=row.purpose or None,
    )


def _key_fields(record: KeyRecord) -> dict[str, Any]:
    created = {} if record.created_at is None else {"created_at": record.created_at}
    return {
        "owner": record.owner,
        "delegate": record.delegate or "",
        "system_id": record.system_id or "",
        "name": record.name,
        "description": record.description,
        "account_id": record.account_id,
        "account_name": record.account_name,
        "access_types": sorted(record.access_types),
        "active": record.active,
        "expires_at": record.expires_at,
        "purpose": record.purpose or "",
        **limit_fields(record.limit),
        **created,
    }


class DatabaseGroups:
    @_asks
    def all(self) -> Mapping[str, Group]:
        """Three queries, however many groups there are."""
        return _groups(tables.Group.objects.all())

    @_asks
    def get(self, group_id: str) -> Group | None:
        return _groups(tables.Group.objects.filter(group_id=group_id)).get(group_id)

    @_asks
    def put(self, group: Group) -> None:
        check_group(group)
        try:
            with transaction.atomic():
                row_id = _updated(group) if group.version else _created(group)
                _set_members(row_id, group.members)
                _set_inclusions(row_id, group.includes)
        except IntegrityError as error:
            raise Conflict from error
        _tell("groups")

    @_asks
    def remove(self, group_id: str) -> None:
        row = tables.Group.objects.filter(group_id=group_id).first()
        if row is None:
            raise NotFound(f"There is no group {group_id[:100]!r}.")
        try:
            row.delete()
        except models.RestrictedError as error:
            raise Conflict("Another group includes this one: take it out there first.") from error


_ROLES = {role.value: role for role in Role}  # a university has a hundred thousand memberships


def _groups(rows: "models.QuerySet[tables.Group]") -> dict[str, Group]:
    chosen = list(rows)
    row_ids = [row.pk for row in chosen]
    members: dict[int, dict[str, Role]] = defaultdict(dict)
    memberships = tables.Membership.objects.filter(group__in=row_ids).order_by()
    for row_id, user_id, role in memberships.values_list("group_id", "user_id", "role"):
        members[row_id][user_id] = _ROLES[role]
    includes: dict[int, set[str]] = defaultdict(set)
    inclusions = tables.Inclusion.objects.filter(group__in=row_ids)
    for row_id, included in inclusions.values_list("group_id", "included__group_id"):
        includes[row_id].add(included)
    return {row.group_id: _group(row, members[row.pk], frozenset(includes[row.pk])) for row in chosen}


def _group(row: tables.Group, members: Mapping[str, Role], includes: frozenset[str]) -> Group:
    return Group(
        id=row.group_id,
        name=row.name,
        members=members,
        includes=includes,
        system_users=frozenset(row.system_users),
        is_public=row.is_public,
        is_billing_group=row.is_billing_group,
        limit=row.limit,
        created_by=row.created_by,
        kind="amplify" if row.kind == tables.Group.Kind.AMPLIFY else "assistant",
        version=row.version,
    )


def _group_fields(group: Group) -> dict[str, Any]:
    return {
        "name": group.name,
        "system_users": sorted(group.system_users),
        "is_public": group.is_public,
        "is_billing_group": group.is_billing_group,
        "created_by": group.created_by,
        **limit_fields(group.limit),
    }


def _created(group: Group) -> int:
    row, made = tables.Group.objects.get_or_create(
        group_id=group.id, defaults={"kind": group.kind, **_group_fields(group)}
    )
    if not made:
        raise Conflict(f"There is a group {group.id[:100]!r} already: choose another id, or change that one.")
    return row.pk


def _updated(group: Group) -> int:
    state = tables.Group.objects.filter(group_id=group.id, kind=group.kind, version=group.version)
    row_id = state.values_list("pk", flat=True).first()
    # The version once more, in the statement that changes the row: of two who come this far, one finds it gone.
    if row_id is None or not state.update(version=new_version(), **_group_fields(group)):
        raise Conflict
    return row_id


def _set_members(row_id: int, members: Mapping[str, Role]) -> None:
    there = tables.Membership.objects.filter(group=row_id)
    known = dict(there.values_list("user_id", "role"))
    gone = known.keys() - members.keys()
    if gone:
        there.filter(user_id__in=gone).delete()
    tables.Membership.objects.bulk_create(
        [
            tables.Membership(group_id=row_id, user_id=user_id, role=role)
            for user_id, role in members.items()
            if known.get(user_id) != role
        ],
        update_conflicts=True,
        unique_fields=["group", "user_id"],
        update_fields=["role"],
    )


def _set_inclusions(row_id: int, includes: Collection[str]) -> None:
    there = tables.Inclusion.objects.filter(group=row_id)
    known = set(there.values_list("included__group_id", flat=True))
    there.filter(included__group_id__in=known - set(includes)).delete()
    wanted = set(includes) - known
    found = dict(tables.Group.objects.filter(group_id__in=wanted, kind="amplify").values_list("group_id", "pk"))
    for missing in sorted(wanted - found.keys()):
        raise NotFound(f"There is no amplify group {missing[:100]!r} to include.")
    tables.Inclusion.objects.bulk_create(
        tables.Inclusion(group_id=row_id, included_id=included) for included in found.values()
    )


class DatabaseAccounts:
    @_asks
    def of_user(self, user_id: str) -> Sequence[Account]:
        return [
            Account(id=row.account_id, name=row.name, is_default=row.is_default, limit=row.limit)
            for row in tables.Account.objects.filter(user_id=user_id)
        ]

    @_asks
    def save(self, user_id: str, accounts: Sequence[Account]) -> None:
        check_accounts(accounts)
        rows = [
            tables.Account(
                user_id=user_id,
                account_id=account.id,
                name=account.name,
                is_default=account.is_default,
                position=position,
                **limit_fields(account.limit),
            )
            for position, account in enumerate(accounts)
        ]
        try:
            with transaction.atomic():
                tables.Account.objects.filter(user_id=user_id).delete()
                tables.Account.objects.bulk_create(rows)
        except IntegrityError as error:  # somebody else saved theirs at the same time
            raise Conflict from error
        _tell("accounts", of=user_id)


class DatabasePeople:
    """Who has a row in `User`; whoever administers the service is a superuser there."""

    @_asks
    def knows(self, user_id: str) -> bool:
        return tables.User.objects.filter(username=user_id, is_active=True).exists()

    @_asks
    def is_admin(self, user_id: str) -> bool:
        return self._superusers().filter(username=user_id).exists()

    @_asks
    def admins(self) -> Collection[str]:
        return frozenset(self._superusers().values_list("username", flat=True))

    @staticmethod
    def _superusers() -> "models.QuerySet[tables.User]":
        return tables.User.objects.filter(is_superuser=True, is_active=True)
