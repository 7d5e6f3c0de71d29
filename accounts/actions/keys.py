"""Make, change, rotate and revoke API keys."""

import re
import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, TypedDict, Unpack
from uuid import UUID

from accounts import policies
from accounts.actions import Caller, one_change
from accounts.keys import key_id as new_key_id
from accounts.keys import new_key
from accounts.limits import SpendLimit
from accounts.policies import Action
from accounts.principal import GENERAL_ACCOUNT, KeyKind
from accounts.stores import KeyRecord, Stores
from accounts.stores.backends import get_stores
from core.errors import BadRequest, Conflict, Forbidden

_RESOURCE = "API key"


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """A key that was made or rotated."""

    record: KeyRecord
    key: str | None = field(repr=False)
    """The key itself, to be shown now and never again; None for a new delegate key, which nobody has yet."""


class KeyChanges(TypedDict, total=False):
    """What can be changed of a key. Whom it acts as cannot."""

    name: str
    description: str
    account_id: str
    access_types: Collection[str]
    limit: SpendLimit | None
    expires_at: datetime | None


def list_keys(*, by: Caller) -> Sequence[KeyRecord]:
    """Those that they own and those that act as them, newest first."""
    policies.keys.check(by.principal, Action.READ)
    return policies.keys.visible_to(by.principal, get_stores().keys.of_user(by.principal.user_id))


def find_key(*, by: Caller, key_id: UUID) -> KeyRecord:
    """The key whose public name ends in this id. Raises NotFound."""
    me = by.principal.user_id
    policies.keys.check(by.principal, Action.READ)
    store = get_stores().keys
    # Most are the caller's own, whose names are known; those of others take a search, which may be a long one.
    names = (f"{me}/{kind}Key/{key_id}" for kind in ("owner", "system"))
    found = next((key for key in map(store.get, names) if key is not None), None)
    if found is None:
        found = next((key for key in store.of_user(me) if key.id.rpartition("/")[2] == str(key_id)), None)
    return policies.keys.seen(by.principal, found)


def create_key(
    *,
    by: Caller,
    name: str,
    access_types: Collection[str],
    kind: KeyKind = "owner",
    delegate: str | None = None,
    description: str = "",
    account_id: str | None = None,
    limit: SpendLimit | None = None,
    expires_at: datetime | None = None,
) -> Issued:
    """Make a key. One for a delegate is seen by nobody until its delegate rotates it.

    Raises Forbidden for what the caller may not give away, BadRequest for a delegate who is not known.
    """
    policies.keys.check(by.principal, Action.CREATE)
    stores = get_stores()
    owner = by.principal.user_id
    _check_delegate(stores, owner, kind, delegate)
    account = account_id or by.principal.account_id
    record = KeyRecord(
        id=new_key_id(owner, kind),
        owner=owner,
        delegate=delegate,
        system_id=_system_id(name) if kind == "system" else None,
        name=name,
        description=description,
        account_id=account,
        account_name=_account_name(stores, by, account),
        access_types=frozenset(access_types),
        created_at=datetime.now(UTC),
        expires_at=expires_at,
        limit=limit,
    )
    _check_bounds(stores, by, record)
    key = None if kind == "delegate" else new_key()
    with one_change():
        stores.keys.add(record, key)
        by.wrote("created", _RESOURCE, record.id, None, key_facts(record))
    return Issued(record=record, key=key)


def change_key(*, by: Caller, key_id: UUID, **changes: Unpack[KeyChanges]) -> KeyRecord:
    """Raises NotFound, Forbidden; Conflict for a key that was revoked."""
    stores = get_stores()
    with one_change():
        old = _good_key(by, key_id, Action.CHANGE)
        new = replace(old, **_told(changes))
        if new.account_id != old.account_id:
            new = replace(new, account_name=_account_name(stores, by, new.account_id))
        _check_bounds(stores, by, new)
        stores.keys.replace(old, new)
        by.wrote("changed", _RESOURCE, new.id, key_facts(old), key_facts(new))
    return new


def rotate_key(*, by: Caller, key_id: UUID) -> Issued:
    """A new key in place of the old one, which is no longer good. Raises NotFound, Forbidden, Conflict."""
    key = new_key()
    with one_change():
        record = _good_key(by, key_id, Action.ROTATE)
        get_stores().keys.replace(record, record, key)
        by.wrote("rotated", _RESOURCE, record.id, None, None)
    return Issued(record=record, key=key)


def revoke_key(*, by: Caller, key_id: UUID) -> KeyRecord:
    """For good; a second time changes nothing. Raises NotFound, Forbidden."""
    with one_change():
        old = find_key(by=by, key_id=key_id)
        policies.keys.check(by.principal, Action.REVOKE, old)
        if not old.active:
            return old
        new = replace(old, active=False)
        get_stores().keys.replace(old, new)
        by.wrote("revoked", _RESOURCE, new.id, key_facts(old), key_facts(new))
    return new


def _good_key(by: Caller, key_id: UUID, action: Action) -> KeyRecord:
    record = find_key(by=by, key_id=key_id)
    policies.keys.check(by.principal, action, record)
    if not record.active:
        raise Conflict("This key was revoked, and stays so. Create a new one.")
    return record


def _check_delegate(stores: Stores, owner: str, kind: KeyKind, delegate: str | None) -> None:
    if (kind == "delegate") != (delegate is not None):
        raise BadRequest("delegate is the user that a delegate key acts as: give it with that kind and no other.")
    if delegate is None:
        return
    if delegate == owner:
        raise BadRequest("Your own delegate you are already: make an owner key.")
    if not stores.people.knows(delegate):
        raise BadRequest(f"There is no user {delegate[:100]!r}. Whoever is to be a delegate has to sign in once first.")


def _check_bounds(stores: Stores, by: Caller, wanted: KeyRecord) -> None:
    if by.principal.api_key_id is None:
        return
    own = stores.keys.get(by.principal.api_key_id)
    if own is None or not own.active:
        raise Forbidden("The API key that you use is no longer good. Use another one.")
    if why := policies.beyond(own, wanted):
        raise Forbidden(why)


def _account_name(stores: Stores, by: Caller, account_id: str) -> str:
    """Raises Forbidden for an account that is not theirs."""
    by.principal.charging(account_id)
    if account_id == GENERAL_ACCOUNT:
        return ""
    names = {account.id: account.name for account in stores.accounts.of_user(by.principal.user_id)}
    return names.get(account_id, "")


def _system_id(name: str) -> str:
    """The platform's form `<App-Name>-<6 digits>`."""
    words = "-".join(re.findall(r"[A-Za-z0-9]+", name)) or "System"
    return f"{words[:100]}-{secrets.randbelow(10**6):06d}"


def _told(changes: KeyChanges) -> dict[str, Any]:
    told: dict[str, Any] = dict(changes)
    if "access_types" in told:
        told["access_types"] = frozenset(told["access_types"])
    return told


def key_facts(record: KeyRecord) -> dict[str, Any]:
    """What the audit log says of a key."""
    return {
        "name": record.name,
        "description": record.description,
        "delegate": record.delegate,
        "system_id": record.system_id,
        "account_id": record.account_id,
        "access_types": sorted(record.access_types),
        "limit": None if record.limit is None else record.limit.as_rate(),
        "expires_at": record.expires_at,
        "active": record.active,
    }
