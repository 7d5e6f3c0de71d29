"""The groups that callers are in, as sets with names, so that a ledger row says them in 32 characters.

A row must keep the groups of its time, whatever becomes of them; people share few sets, and a set never changes.
"""

import json
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from hashlib import blake2b

from usage.models import GroupSetMember

Groups = frozenset[str]

MAX_REMEMBERED = 20_000
_remembered: OrderedDict[str, Groups] = OrderedDict()


def name_of(groups: Collection[str]) -> str:
    """The name of a set of group ids, the same everywhere and always; empty for no groups."""
    if not groups:
        return ""
    name = blake2b(json.dumps(sorted(groups)).encode(), digest_size=16).hexdigest()
    remember(name, frozenset(groups))
    return name


def remember(name: str, groups: Groups) -> None:
    """So that nobody has to ask the database for it."""
    _remembered[name] = groups
    _remembered.move_to_end(name)
    while len(_remembered) > MAX_REMEMBERED:
        _remembered.popitem(last=False)


def groups_of(names: Iterable[str]) -> Mapping[str, Groups]:
    """What is in each of these sets. Blocks for those that this process has not met."""
    wanted = {name for name in names if name}
    found = {name: groups for name in wanted if (groups := _remembered.get(name)) is not None}
    if missing := wanted - found.keys():
        read: dict[str, set[str]] = {name: set() for name in missing}
        rows = GroupSetMember.objects.filter(group_set__in=missing).values_list("group_set", "group_id")
        for name, group in rows:
            read[name].add(group)
        for name, members in read.items():
            if members:  # an unknown set may become known yet
                remember(name, frozenset(members))
            found[name] = frozenset(members)
    return found


def save(names: Iterable[str]) -> None:
    """Write down what is in these sets, in the transaction of the rows that name them. Blocks."""
    sets = groups_of(names)
    if not sets:
        return
    written = set(GroupSetMember.objects.filter(group_set__in=sets).values_list("group_set", flat=True).distinct())
    GroupSetMember.objects.bulk_create(
        [
            GroupSetMember(group_set=name, group_id=group)
            for name in sorted(sets.keys() - written)
            for group in sorted(sets[name])
        ],
        ignore_conflicts=True,  # another process may write the same set at this moment
    )
