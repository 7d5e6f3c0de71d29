"""What the members of billing groups cost, and how they come to be members."""

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from accounts.stores import Group
from accounts.stores.rows import iso
from usage.billing.costs import Body, dollars, user
from usage.counters import Counter

TOP_SPENDERS = 5


@dataclass(frozen=True, slots=True)
class Membership:
    """Why somebody counts in a billing group: the groups from it to the one that names them."""

    path: tuple[str, ...]

    @property
    def is_direct(self) -> bool:
        return len(self.path) == 1


def memberships(group_id: str, groups: Mapping[str, Group]) -> Mapping[str, Membership]:
    """By member, each once, by the shortest way; circles of inclusions do no harm."""
    found: dict[str, Membership] = {}
    seen, waiting = {group_id}, deque[tuple[str, ...]]([(group_id,)])
    while waiting:
        path = waiting.popleft()
        group = groups.get(path[-1])
        if group is None:  # one that it includes was removed
            continue
        for user_id in sorted(group.members):
            found.setdefault(user_id, Membership(path))
        for included in sorted(group.includes - seen):
            seen.add(included)
            waiting.append((*path, included))
    return found


def billing_groups(groups: Mapping[str, Group], counters: Iterable[Counter], now: datetime) -> Body:
    """`counters`: of everybody. Who is in two groups counts in each, and once in the summary."""
    spent: dict[str, list[Counter]] = defaultdict(list)
    for counter in counters:
        spent[counter.user_id].append(counter)
    members = {
        group_id: memberships(group_id, groups) for group_id in sorted(groups) if groups[group_id].is_billing_group
    }
    platform = _month(counter for theirs in spent.values() for counter in theirs)
    together = {user_id for theirs in members.values() for user_id in theirs}
    return {
        "billingGroups": {
            group_id: _group(groups[group_id], theirs, spent, platform) for group_id, theirs in members.items()
        },
        "summary": {
            "totalBillingGroups": len(members),
            "totalUsers": len(together),
            "totalCost": dollars(_month(counter for user_id in together for counter in spent.get(user_id, ()))),
            "timestamp": iso(now),
        },
    }


def _group(group: Group, members: Mapping[str, Membership], spent: Mapping[str, list[Counter]], platform: int) -> Body:
    counters = [counter for user_id in members for counter in spent.get(user_id, ())]
    total, today = _month(counters), sum(counter.today for counter in counters)
    shown = [_member(user_id, membership, spent.get(user_id, [])) for user_id, membership in members.items()]
    shown.sort(key=lambda member: (-member["totalCost"], member["email"]))
    direct = [member for member in shown if member["membershipType"] == "direct"]
    return {
        "groupInfo": {
            "name": group.name or group.id,
            "createdBy": group.created_by or "Unknown",
            "rateLimit": None if group.limit is None else _rate(group.limit.as_rate()),
            "directMemberCount": len(direct),
            "indirectMemberCount": len(shown) - len(direct),
            "totalMemberCount": len(shown),
        },
        "costs": {
            "total": dollars(total),
            "daily": dollars(today),
            "monthly": dollars(total - today),
            "avgPerMember": dollars(total) / len(shown) if shown else 0.0,
            "percentOfPlatform": total * 100 / platform if platform else 0.0,
        },
        "members": {
            "all": shown,
            "direct": direct,
            "indirect": [member for member in shown if member["membershipType"] == "indirect"],
            "topSpenders": shown[:TOP_SPENDERS],
        },
    }


def _member(user_id: str, membership: Membership, counters: list[Counter]) -> Body:
    return {
        **user(user_id, counters),
        "membershipType": "direct" if membership.is_direct else "indirect",
        "via": None if membership.is_direct else membership.path[-1],
        "path": list(membership.path),
    }


def _month(counters: Iterable[Counter]) -> int:
    return sum(counter.month for counter in counters)


def _rate(limit: Mapping[str, Any]) -> Body:
    return {"period": limit["period"], "rate": float(limit["rate"])}
