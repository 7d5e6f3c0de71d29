"""The platform's rows and what they mean: both ways, without asking anybody (billing-and-state §2.8 to 2.10, §5, §6).

Other services write these rows too, and not all alike: what is missing has a meaning here, and what cannot be read
never opens a door. A row that is written carries the attributes that are ours; the platform's others stay with it.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, time
from typing import Any

import structlog

from accounts.keys import PREFIX, hash_key
from accounts.limits import Period, SpendLimit, limit_of_rate
from accounts.stores import Account, Group, KeyRecord, Role
from core.errors import BadRequest

Row = Mapping[str, Any]

log = structlog.get_logger(__name__)

MIGRATED = "MIGRATED"
"""Stands where a delegate key's hash will stand once its delegate has rotated it."""
_NOTHING = SpendLimit(period=Period.TOTAL, micro_dollars=0)
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


def stored_form(key: str) -> str:
    """What the attribute `apiKey` holds for it: legacy and group keys stand there as they are."""
    return hash_key(key) if key.startswith(PREFIX) else key


def key_of(row: Row) -> KeyRecord:
    """An account that is missing comes back as an empty id: such a key pays for nothing."""
    account = row.get("account")
    account = account if isinstance(account, Mapping) else {}
    key_id = _text(row.get("api_owner_id"))
    return KeyRecord(
        id=key_id,
        owner=_text(row.get("owner")),
        delegate=_text(row.get("delegate")) or None,
        system_id=_text(row.get("systemId")) or None,
        name=_text(row.get("applicationName")),
        description=_text(row.get("applicationDescription")),
        account_id=_text(account.get("id")),
        account_name=_text(account.get("name")),
        access_types=frozenset(_flat(row.get("accessTypes"))),
        active=bool(row.get("active")),
        expires_at=_expiry(row.get("expirationDate")),
        created_at=_moment(row.get("createdAt")),
        last_used_at=_moment(row.get("lastAccessed")),
        limit=_limit(row.get("rateLimit"), of=key_id),
        purpose=_text(row.get("purpose")) or None,
    )


def key_row(record: KeyRecord, previous: Row) -> dict[str, Any]:
    """The attributes of `record`, on those of `previous` inside the account. Raises BadRequest for an expiry that the
    platform's other services cannot read."""
    account = previous.get("account")
    account = account if isinstance(account, Mapping) else {}
    return {
        "owner": record.owner,
        "delegate": record.delegate,
        "systemId": record.system_id,
        "applicationName": record.name,
        "applicationDescription": record.description,
        "account": {**account, "id": record.account_id, "name": record.account_name},
        "accessTypes": sorted(record.access_types),
        "active": record.active,
        "expirationDate": _date(record.expires_at),
        "rateLimit": _rate(record.limit),
        "purpose": record.purpose,
    }


def iso(moment: datetime) -> str:
    """As JavaScript writes it, which every service reads."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def amplify_group_of(group_id: str, entry: Any) -> Group:
    """An entry of the map `amplifyGroups`; its members are all readers."""
    entry = entry if isinstance(entry, Mapping) else {}
    return Group(
        id=group_id,
        name=_text(entry.get("groupName")),
        members=dict.fromkeys(_texts(entry.get("members")), Role.READ),
        includes=frozenset(_texts(entry.get("includeFromOtherGroups"))),
        is_billing_group=entry.get("isBillingGroup") is True,
        limit=_limit(entry.get("rateLimit"), of=group_id),
        created_by=_text(entry.get("createdBy")),
        kind="amplify",
    )


def amplify_group_entry(group: Group, previous: Any) -> dict[str, Any]:
    """What stands for it in the map, on what stood there."""
    previous = previous if isinstance(previous, Mapping) else {}
    name = {"groupName": group.name} if group.name or "groupName" in previous else {}
    return {
        **previous,
        **name,
        "createdBy": group.created_by,
        "members": sorted(group.members),
        "includeFromOtherGroups": sorted(group.includes),
        "rateLimit": _rate(group.limit),
        "isBillingGroup": group.is_billing_group,
    }


def assistant_group_of(row: Row) -> Group:
    members = row.get("members")
    members = members if isinstance(members, Mapping) else {}
    return Group(
        id=_text(row.get("group_id")),
        name=_text(row.get("groupName")),
        members={user_id: _role(role) for user_id, role in members.items()},
        includes=frozenset(_texts(row.get("amplifyGroups"))),
        system_users=frozenset(_texts(row.get("systemUsers"))),
        is_public=row.get("isPublic") is True,
        created_by=_text(row.get("createdBy")),
        kind="assistant",
    )


def assistant_group_row(group: Group) -> dict[str, Any]:
    return {
        "groupName": group.name,
        "members": {user_id: role.value for user_id, role in group.members.items()},
        "amplifyGroups": sorted(group.includes),
        "systemUsers": sorted(group.system_users),
        "isPublic": group.is_public,
        "createdBy": group.created_by,
    }


def accounts_of(row: Row | None) -> list[Account]:
    return [
        Account(
            id=_text(entry.get("id")),
            name=_text(entry.get("name")),
            is_default=entry.get("isDefault") is True,
            limit=_limit(entry.get("rateLimit"), of=_text(entry.get("id"))),
        )
        for entry in account_entries(row)
        if entry.get("id")
    ]


def account_entries(row: Row | None) -> list[Row]:
    """The user's accounts as they stand in the row."""
    entries = (row or {}).get("accounts")
    return [entry for entry in entries if isinstance(entry, Mapping)] if isinstance(entries, list) else []


def account_entry(account: Account, previous: Row) -> dict[str, Any]:
    return {
        **previous,
        "id": account.id,
        "name": account.name,
        "isDefault": account.is_default,
        "rateLimit": _rate(account.limit),
    }


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _texts(value: Any) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list | set) else []


def _flat(value: Any) -> Iterable[str]:
    """Lists may be nested in the list, one level deep."""
    for item in value if isinstance(value, list | set) else ():
        yield from [item] if isinstance(item, str) else _texts(item)


def _role(value: Any) -> Role:
    """A word that we do not know makes a member, and no more."""
    return Role(value) if value in list(Role) else Role.READ


def _limit(rate: Any, *, of: str) -> SpendLimit | None:
    """A limit that cannot be read lets nothing be spent."""
    try:
        return limit_of_rate(rate)
    except ValueError as error:
        log.warning("limit_not_readable", of=of, reason=str(error), hint="Until it is put right, nothing may be spent.")
        return _NOTHING


def _rate(limit: SpendLimit | None) -> dict[str, Any]:
    return {"period": "Unlimited", "rate": None} if limit is None else limit.as_rate()


def _moment(value: Any) -> datetime | None:
    """A date is its midnight, and what names no zone means UTC."""
    try:
        moment = datetime.fromisoformat(_text(value))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _expiry(value: Any) -> datetime | None:
    """What is there and cannot be read has been."""
    return (_moment(value) or _LONG_AGO) if value else None


def _date(expires_at: datetime | None) -> str | None:
    if expires_at is None:
        return None
    utc = expires_at.astimezone(UTC)
    if utc.time() != time():
        # With a time of day in it, the platform's Python services fail instead of reading it.
        raise BadRequest("Keys expire at the beginning of a day in UTC: give a date like 2027-01-31.")
    return utc.date().isoformat()
