"""Who may see what was spent; on the base of `accounts.policies`.

| spending of …                   | themselves | its own key | a key of one's own, `full_access` | administrators |
|---------------------------------|------------|-------------|-----------------------------------|----------------|
| a user                          | yes        | no          | yes                               | yes            |
| one API key                     | (¹)        | yes         | (¹); `api_key` is enough          | yes            |
| a group and each of its members | (²)        | no          | (²); `assistants` is enough       | yes            |

(¹) Its owner and its delegate. (²) Admins of an `assistant` group.

What a key has spent itself its holder may know, whatever else it is for. An API key never administers the service.
"""

from dataclasses import dataclass

from accounts import policies
from accounts.policies import Action, Policy
from accounts.principal import FULL_ACCESS, Principal, kind_of
from accounts.stores import Group, KeyRecord, Role


@dataclass(frozen=True, slots=True)
class Spending:
    """All that a user has spent, or with `api_key_id` that part of it that went by one key."""

    user_id: str
    api_key_id: str | None = None


class SpendingPolicy(Policy[Spending]):
    noun = "Usage"
    scope = FULL_ACCESS
    where = "See yours at /api/usage/."

    def own(self, principal: Principal) -> Spending:
        """What they are shown when they ask for theirs: all of it, or by what credential they have that part."""
        whole = Spending(principal.user_id)
        return whole if self.can(principal, Action.READ, whole) else Spending(principal.user_id, principal.api_key_id)

    def why_not(self, principal: Principal, action: Action, thing: Spending | None = None) -> str:
        if principal.api_key_id is not None and thing == Spending(principal.user_id, principal.api_key_id):
            return ""
        return super().why_not(principal, action, thing)

    def _why_not(self, principal: Principal, action: Action, thing: Spending | None) -> str:
        if thing is None or principal.is_admin:
            return ""
        if thing.user_id != principal.user_id:
            return "These are somebody else's costs. Ask an administrator."
        return "" if _acts_for_all(principal) else "Delegate and system keys see what they have spent themselves."


class KeySpendingPolicy(Policy[KeyRecord]):
    noun = "API key"
    scope = "api_key"

    def why_not(self, principal: Principal, action: Action, thing: KeyRecord | None = None) -> str:
        if thing is not None and (principal.is_admin or principal.api_key_id == thing.id):
            return ""
        return policies.keys.why_not(principal, action, thing)

    def _why_not(self, principal: Principal, action: Action, thing: KeyRecord | None) -> str:
        return ""


class GroupSpendingPolicy(Policy[Group]):
    noun = "Group"
    scope = "assistants"

    def _why_not(self, principal: Principal, action: Action, thing: Group | None) -> str:
        if thing is None or principal.is_admin:
            return ""
        if not _acts_for_all(principal):
            return "Delegate and system keys see what they have spent themselves. Sign in, or use a key of your own."
        if thing.kind == "amplify":
            return "What an amplify group spends is for administrators. Ask one of them."
        if thing.members.get(principal.user_id) is Role.ADMIN:
            return ""
        return "Only the group's admins see what it spends. Ask one of them."


def _acts_for_all(principal: Principal) -> bool:
    """Whether a person has signed in, or sent a key that acts as its owner."""
    return principal.api_key_id is None or kind_of(principal.api_key_id) == "owner"


spending = SpendingPolicy()
keys = KeySpendingPolicy()
groups = GroupSpendingPolicy()
