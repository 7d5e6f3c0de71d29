"""Make, change and remove groups, and say who is in them."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, TypedDict, Unpack
from uuid import uuid4

from accounts import policies
from accounts.actions import Caller, one_change
from accounts.limits import SpendLimit
from accounts.policies import Action
from accounts.stores import Group, Role
from accounts.stores.backends import get_stores
from core.errors import BadRequest, Conflict

_RESOURCE = "group"


class GroupFacts(TypedDict, total=False):
    """What may be said of a group, beside its name and its members."""

    includes: Collection[str]
    system_users: Collection[str]
    is_public: bool
    is_billing_group: bool
    limit: SpendLimit | None


class GroupChanges(GroupFacts, total=False):
    """What can be changed of a group, its members apart. Its id and its kind cannot."""

    name: str


def list_groups(*, by: Caller) -> Sequence[Group]:
    """Those that they may see, by id."""
    policies.groups.check(by.principal, Action.READ)
    every = get_stores().groups.all()
    return policies.groups.visible_to(by.principal, (every[group_id] for group_id in sorted(every)))


def find_group(*, by: Caller, group_id: str) -> Group:
    """Raises NotFound."""
    return policies.groups.seen(by.principal, get_stores().groups.get(group_id))


def create_group(
    *,
    by: Caller,
    name: str,
    kind: Literal["amplify", "assistant"] = "assistant",
    members: Mapping[str, Role] | None = None,
    **facts: Unpack[GroupFacts],
) -> Group:
    """Make a group. Who makes an assistant group is its admin; an amplify group is known by its name.

    Members need not have been here before: people whose tokens come from elsewhere leave no trace until then.
    Raises Forbidden, BadRequest for groups that are not theirs to include, Conflict for a name that is taken.
    """
    me = by.principal.user_id
    first = Group(
        id=name if kind == "amplify" else _new_id(name),
        name=name,
        kind=kind,
        members={**(members or {}), **({me: Role.ADMIN} if kind == "assistant" else {})},
        created_by=me,
    )
    policies.groups.check(by.principal, Action.CREATE, first)
    group = replace(first, **_told(facts))
    _check_included(by, group.includes)
    with one_change():
        get_stores().groups.put(group)
        by.wrote("created", _RESOURCE, group.id, None, _facts(group))
    return find_group(by=by, group_id=group.id)


def change_group(*, by: Caller, group_id: str, version: str | None = None, **changes: Unpack[GroupChanges]) -> Group:
    """Raises NotFound, Forbidden, BadRequest; Conflict if `version` is given and not what is there."""
    with one_change():
        old = _group_to(Action.CHANGE, by, group_id, version)
        new = replace(old, **_told(changes))
        _check_included(by, new.includes - old.includes)
        return _put(by, "changed", old, new)


def set_member(*, by: Caller, group_id: str, user_id: str, role: Role, version: str | None = None) -> Group:
    """Take somebody in, whether or not they have been here before, or give them another role. Raises as
    `change_group`."""
    with one_change():
        old = _group_to(Action.SET_MEMBERS, by, group_id, version)
        return _put(by, "members changed", old, replace(old, members={**old.members, user_id: role}))


def remove_member(*, by: Caller, group_id: str, user_id: str, version: str | None = None) -> None:
    """Everybody may take themselves out; who is not in is out already. Raises as `change_group`."""
    leaves = user_id == by.principal.user_id
    with one_change():
        old = _group_to(Action.LEAVE if leaves else Action.SET_MEMBERS, by, group_id, version)
        members = {member: role for member, role in old.members.items() if member != user_id}
        if len(members) < len(old.members):
            _put(by, "members changed", old, replace(old, members=members), read=False)


def remove_group(*, by: Caller, group_id: str, version: str | None = None) -> None:
    """Raises NotFound, Forbidden; Conflict while another group includes it, or for another version."""
    with one_change():
        old = _group_to(Action.REMOVE, by, group_id, version)
        get_stores().groups.remove(group_id)
        by.wrote("removed", _RESOURCE, group_id, _facts(old), None)


def _group_to(action: Action, by: Caller, group_id: str, version: str | None) -> Group:
    group = find_group(by=by, group_id=group_id)
    policies.groups.check(by.principal, action, group)
    if version is not None and version != group.version:
        raise Conflict
    return group


def _put(by: Caller, action: str, old: Group, new: Group, *, read: bool = True) -> Group:
    if new.kind == "assistant" and Role.ADMIN in old.members.values() and Role.ADMIN not in new.members.values():
        raise BadRequest("This would leave the group without an admin. Make somebody else one first, or remove it.")
    get_stores().groups.put(new)
    by.wrote(action, _RESOURCE, new.id, _facts(old), _facts(new))
    return find_group(by=by, group_id=new.id) if read else new


def _check_included(by: Caller, group_ids: Collection[str]) -> None:
    """Only groups that they may see: others are not to be found out by trying."""
    groups = get_stores().groups
    for group_id in sorted(group_ids):
        group = groups.get(group_id)
        if group is None or group.kind != "amplify" or not policies.groups.can(by.principal, Action.READ, group):
            raise BadRequest(f"There is no amplify group {group_id[:100]!r} among yours to include.")


def _new_id(name: str) -> str:
    """Readable at its start, like the platform's `Chem_3f…`."""
    words = "-".join(re.findall(r"[A-Za-z0-9]+", name)) or "group"
    return f"{words[:60]}_{uuid4()}"


def _told(changes: Mapping[str, Any]) -> dict[str, Any]:
    sets = ("includes", "system_users")
    return {name: frozenset(value) if name in sets else value for name, value in changes.items()}


def _facts(group: Group) -> dict[str, Any]:
    """What the audit log says of a group."""
    return {
        "name": group.name,
        "kind": group.kind,
        "members": {user_id: str(role) for user_id, role in sorted(group.members.items())},
        "includes": sorted(group.includes),
        "system_users": sorted(group.system_users),
        "is_public": group.is_public,
        "is_billing_group": group.is_billing_group,
        "limit": None if group.limit is None else group.limit.as_rate(),
    }
