"""What is known of people, and where it is kept: API keys, groups, accounts.

Two backends behind the same protocols, chosen by `STATE_BACKEND`: `database` (`.database`, our own tables) and
`dynamodb` (`.dynamodb`, the platform's). Both pass the suite in `accounts.stores.testing`.

Methods block; the loop calls them through `Stores.ask`. A store that cannot be asked raises Unavailable, after a line
in the log: nobody is let in because a store is broken.
"""

from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, ParamSpec, Protocol, TypeVar

from django.dispatch import Signal

from accounts.limits import SpendLimit
from accounts.principal import GENERAL_ACCOUNT, KeyKind, kind_of
from core.aio import run_blocking

P = ParamSpec("P")
T = TypeVar("T")

changed = Signal()
"""Sent when this process has changed something that others may remember, in the thread that changed it. `what`: "keys",
"groups", "accounts" or "people"; `of`: the id of the user, with the last two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRecord:
    """One API key, without the key."""

    id: str
    """Its public name `<owner>/<owner|delegate|system>Key/<uuid4>`."""
    owner: str
    """The user who made it and manages it."""
    delegate: str | None = None
    """Delegate keys act as this user."""
    system_id: str | None = None
    """System keys act as this id, which is no person: `<App-Name>-<6 digits>`."""
    name: str = ""
    description: str = ""
    account_id: str = GENERAL_ACCOUNT
    account_name: str = ""
    access_types: frozenset[str] = frozenset()
    active: bool = True
    expires_at: datetime | None = None
    """The first moment at which it is no longer good."""
    created_at: datetime | None = None
    last_used_at: datetime | None = None
    """To the minute or so: see `KeyStore.touch`."""
    limit: SpendLimit | None = None
    purpose: str | None = None

    @property
    def kind(self) -> KeyKind:
        """Raises ValueError."""
        return kind_of(self.id)

    @property
    def user_id(self) -> str:
        """Whom its holder acts as. Raises ValueError if the record does not say."""
        user = {"owner": self.owner, "delegate": self.delegate, "system": self.system_id}[self.kind]
        if not user:
            raise ValueError("Invalid or unrecognized key type.")
        return user


class KeyStore(Protocol):
    most_at_once: int
    """How many keys `find` takes in one call, without being long about it."""
    new_keys_per_second: float | None
    """How many keys that may not exist this process may look up; None for as many as come. A store that reads one by
    one would be kept busy by whoever sends wrong keys."""

    def find(self, keys: Collection[str]) -> Mapping[str, KeyRecord]:
        """The records of those of these keys (as callers send them) that exist, by key; as few reads as can be."""

    def get(self, key_id: str) -> KeyRecord | None: ...

    def of_user(self, user_id: str) -> Sequence[KeyRecord]:
        """The keys that they own and those that act as them, newest first."""

    def add(self, record: KeyRecord, key: str | None) -> None:
        """Keep a new key: its record and its hash. None: nothing matches it until `replace` gives it a key, as with a
        delegate key that its delegate has yet to rotate. Raises Conflict if there is one of that id."""

    def replace(self, old: KeyRecord, new: KeyRecord, key: str | None = None) -> None:
        """Put a record in place of `old`, as it was read; with `key`, that one is good from now on and the old one is
        not.

        Raises NotFound; Conflict for an active record when `old` is not what is there any more, its last use apart:
        whoever changed a key while it was revoked or limited neither wakes it nor takes the limit back.
        """

    def touch(self, used: Mapping[str, datetime]) -> None:
        """Note when keys (by id) were used last; of ids that are no more, nothing."""


class Role(StrEnum):
    """What a member may do in a group, as the platform spells it."""

    ADMIN = "admin"
    WRITE = "write"
    READ = "read"


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """People who are given something together."""

    id: str
    name: str = ""
    members: Mapping[str, Role] = field(default_factory=dict)
    """User id to role."""
    includes: frozenset[str] = frozenset()
    """Ids of groups whose members are members too; as readers, unless they are named here."""
    system_users: frozenset[str] = frozenset()
    """System ids that may act in it."""
    is_public: bool = False
    """Whether everybody may use what it offers."""
    is_billing_group: bool = False
    limit: SpendLimit | None = None
    """What each member may spend."""
    created_by: str = ""
    kind: Literal["amplify", "assistant"] = "assistant"
    """The platform's two kinds: `amplify` groups are given models and limits by administrators, and may be included in
    others; `assistant` groups are run by their own admins and offer assistants."""
    version: str = ""
    """Which state this is; `GroupStore.put` refuses to overwrite a newer one."""


class GroupStore(Protocol):
    def all(self) -> Mapping[str, Group]:
        """Every group by id."""

    def get(self, group_id: str) -> Group | None: ...

    def put(self, group: Group) -> None:
        """Create it (`version` empty) or put it in place of the state that `version` names.

        Raises Conflict when that is not what is there any more, BadRequest for what its kind cannot have
        (`accounts.stores.rules`), NotFound if a group that it newly includes does not exist."""

    def remove(self, group_id: str) -> None:
        """Raises NotFound; Conflict while another group includes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Who pays: a charge code that a user may name."""

    id: str
    name: str = ""
    is_default: bool = False
    limit: SpendLimit | None = None


class AccountStore(Protocol):
    def of_user(self, user_id: str) -> Sequence[Account]: ...

    def save(self, user_id: str, accounts: Sequence[Account]) -> None:
        """The user's whole list, in place of what there was. Raises BadRequest if it has an account twice, or two
        defaults."""


class People(Protocol):
    def knows(self, user_id: str) -> bool:
        """Whether there is a user of that id."""

    def is_admin(self, user_id: str) -> bool:
        """Whether they administer the service."""

    def admins(self) -> Collection[str]:
        """All for whom `is_admin` holds."""


class Ask(Protocol):
    def __call__(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, T]:
        """Run what blocks in a thread and await its result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    keys: KeyStore
    groups: GroupStore
    accounts: AccountStore
    people: People
    ask: Ask = run_blocking
    """How the loop calls a method of these; a backend that is no database of ours has threads of its own for it, so
    that the ledger never waits behind it."""
