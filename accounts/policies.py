"""Who may do what with what. One policy a kind of thing; those of models, runs, assistants, data sources and budgets
stand in their own apps, on the same base.

A *person* has signed in. A *key of one's own* is an owner key. Delegate and system keys are held by somebody else than
who answers for them: they read what they may see, and manage nothing.

| API keys (scope `api_key`)     | its owner | by a key of one's own                       | its delegate | others |
|--------------------------------|-----------|---------------------------------------------|--------------|--------|
| read                           | yes       | yes                                         | yes          | 404    |
| create, change                 | yes       | a key without a limit, up to what it is (¹) | 403          | 404    |
| rotate, an owner or system key | yes       | itself                                      |              | 404    |
| rotate, a delegate key         | 403 (²)   | 403                                         | yes          | 404    |
| revoke                         | yes       | yes                                         | yes          | 404    |

(¹) No more access, no other account, no later end; and no limit, as each key would have that limit anew (`beyond`).
(²) Whoever rotates a key sees it, and would act as its delegate.

| groups (scope `assistants`)  | members | admins of an `assistant` group | administrators | others                |
|------------------------------|---------|--------------------------------|----------------|-----------------------|
| read                         | yes     | yes                            | yes            | public ones, else 404 |
| see the members              | yes     | yes                            | yes            | no                    |
| leave an `assistant` group   | yes     | yes                            | yes            |                       |
| change, set members, remove  | 403     | yes                            | yes            | 403 or 404            |

Everybody may create `assistant` groups; `amplify` groups are the administrators'. An API key never administers the
service, whoever owns it.

| accounts (scope `full_access`) | oneself | by a key of one's own | others           |
|--------------------------------|---------|-----------------------|------------------|
| read                           | yes     | yes                   | nobody else's    |
| save                           | yes     | 403: who pays is a person's word | nobody else's |
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from enum import StrEnum
from typing import ClassVar, Generic, TypeVar

from accounts.principal import FULL_ACCESS, Principal, kind_of
from accounts.stores import Group, KeyRecord, Role
from core.errors import Forbidden, NotFound

T = TypeVar("T")


class Action(StrEnum):
    READ = "read"
    CREATE = "create"
    CHANGE = "change"
    REMOVE = "remove"
    ROTATE = "rotate"
    REVOKE = "revoke"
    SEE_MEMBERS = "see the members of"
    SET_MEMBERS = "set the members of"
    LEAVE = "leave"


_READS = frozenset({Action.READ, Action.SEE_MEMBERS})


class Policy(ABC, Generic[T]):
    """Decides about one kind of thing. Subclasses say why not, in `_why_not`."""

    noun: ClassVar[str]
    """What such a thing is called in sentences."""
    scope: ClassVar[str]
    """The access type that an API key needs, unless it has `full_access`."""
    where: ClassVar[str] = "See yours by a GET of the list."
    """What somebody does who has not found such a thing."""

    def can(self, principal: Principal, action: Action, thing: T | None = None) -> bool:
        """Whether they may; without a thing, whether it is for them at all."""
        return not self.why_not(principal, action, thing)

    def visible_to(self, principal: Principal, things: Iterable[T]) -> list[T]:
        """Those that they may read, in their order."""
        return [thing for thing in things if self.can(principal, Action.READ, thing)]

    def seen(self, principal: Principal, thing: T | None) -> T:
        """The thing. Raises NotFound alike if there is none and if it is not theirs to see; Forbidden for a credential
        that is not for such things at all."""
        self.check(principal, Action.READ)
        if thing is None or not self.can(principal, Action.READ, thing):
            raise NotFound(f"{self.noun} not found. {self.where}")
        return thing

    def check(self, principal: Principal, action: Action, thing: T | None = None) -> None:
        """Raises Forbidden, with what to do instead. A thing comes out of `seen`, so that it is no secret any more."""
        if why := self.why_not(principal, action, thing):
            raise Forbidden(why)

    def why_not(self, principal: Principal, action: Action, thing: T | None = None) -> str:
        """A sentence; empty if they may."""
        if not principal.has_scope(self.scope):
            return f"This API key has no access to this. Use one with the access type `{self.scope}`, or sign in."
        if action not in _READS and not _is_their_own(principal):
            return "Delegate and system keys manage nothing. Sign in, or use a key of your own."
        return self._why_not(principal, action, thing)

    @abstractmethod
    def _why_not(self, principal: Principal, action: Action, thing: T | None) -> str:
        """As `why_not`, for a credential that is good for this kind of things."""


def _is_their_own(principal: Principal) -> bool:
    """Whether a person has signed in, or sent a key that acts as its owner."""
    return principal.api_key_id is None or kind_of(principal.api_key_id) == "owner"


class KeyPolicy(Policy[KeyRecord]):
    noun = "API key"
    scope = "api_key"

    def _why_not(self, principal: Principal, action: Action, thing: KeyRecord | None) -> str:
        if thing is None:
            return ""
        owns, delegated = thing.owner == principal.user_id, thing.delegate == principal.user_id
        match action:
            case Action.READ | Action.REVOKE:
                return "" if owns or delegated else "This is not your key."
            case Action.ROTATE if thing.kind == "delegate":
                person = principal.api_key_id is None
                return (
                    "" if delegated and person else "Only its delegate rotates this key, signed in: who does sees it."
                )
            case Action.ROTATE if principal.api_key_id not in (None, thing.id):
                return "A key rotates itself and no other, because who does sees the new one. Sign in for others."
        return "" if owns else "Only its owner may do this."


def beyond(own: KeyRecord, wanted: KeyRecord) -> str:
    """Why the holder of the key `own` may not make `wanted`, or make a key so; empty if they may."""
    if own.limit is not None:
        return "A key with a limit makes and changes no keys, as each would have that limit anew. Sign in for it."
    if FULL_ACCESS not in own.access_types and not wanted.access_types <= own.access_types:
        return "A key cannot give more access than it has. Leave some access types out, or sign in."
    if wanted.account_id != own.account_id:
        return "A key charges its own account, and so do those that it makes. Leave accountId out, or sign in."
    if own.expires_at is not None and (wanted.expires_at is None or wanted.expires_at > own.expires_at):
        return "A key cannot make one that outlives it. Give an expiresAt that is no later than its own, or sign in."
    return ""


class GroupPolicy(Policy[Group]):
    noun = "Group"
    scope = "assistants"

    def _why_not(self, principal: Principal, action: Action, thing: Group | None) -> str:
        if thing is None or principal.is_admin:
            return ""
        match action:
            case Action.READ:
                return "" if thing.is_public or _is_member(principal, thing) else "You are not in this group."
            case Action.SEE_MEMBERS:
                return "" if _is_member(principal, thing) else "You are not in this group."
        if thing.kind == "amplify":  # which nobody leaves either: its limit would not hold them any more
            return "Amplify groups are run by administrators. Ask one of them."
        if action is Action.LEAVE:
            return "" if principal.user_id in thing.members else "You are not a member of this group yourself."
        may = action is Action.CREATE or thing.members.get(principal.user_id) is Role.ADMIN
        return "" if may else "Only the group's admins may do this. Ask one of them."


def _is_member(principal: Principal, group: Group) -> bool:
    """Asks the group itself first: what the principal's groups say may be some seconds old."""
    systems = group.system_users if principal.is_system else ()
    named = principal.user_id in group.members or principal.user_id in systems
    return named or not principal.groups.isdisjoint(group.includes)


class AccountPolicy(Policy[str]):
    """The thing is the id of the user whose accounts they are."""

    noun = "Accounts"
    scope = FULL_ACCESS

    def _why_not(self, principal: Principal, action: Action, thing: str | None) -> str:
        if thing is not None and thing != principal.user_id:
            return "These are not your accounts."
        if action is not Action.READ and principal.api_key_id is not None:
            return "An API key does not say who pays. Sign in to change your accounts."
        return ""


keys = KeyPolicy()
groups = GroupPolicy()
accounts = AccountPolicy()
