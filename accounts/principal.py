"""Who is asking."""

from dataclasses import dataclass, field, replace
from typing import Literal

from accounts.limits import SpendLimit
from core.errors import Forbidden

# The platform's name for spend that no account was given for (billing-and-state: accounts).
GENERAL_ACCOUNT = "general_account"

FULL_ACCESS = "full_access"

KeyKind = Literal["owner", "delegate", "system"]


def kind_of(key_id: str) -> KeyKind:
    """What kind of key a public name `<owner>/<owner|delegate|system>Key/<uuid>` is of; an owner may hold slashes.

    Raises ValueError for an id of another form: such a key is refused, not guessed at.
    """
    match key_id.rsplit("/", 2):
        case [_, "ownerKey", _]:
            return "owner"
        case [_, "delegateKey", _]:
            return "delegate"
        case [_, "systemKey", _]:
            return "system"
    raise ValueError("Invalid or unrecognized key type.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Made once per request by `accounts.authentication`; everything else only reads it."""

    user_id: str
    account_id: str = GENERAL_ACCOUNT
    """Who pays, unless the request names another of `accounts`."""
    accounts: frozenset[str] = frozenset()
    """The accounts that a person may charge; a key charges its own and no other."""
    api_key_id: str | None = None
    """The key's public name `<owner>/ownerKey/<uuid>`, or None for a person who signed in."""
    scopes: frozenset[str] = frozenset({FULL_ACCESS})
    """What the credential may be used for: `full_access`, or `chat`, `assistants`, … A person may use all."""
    groups: frozenset[str] = frozenset()
    """Ids of the groups that they are in, directly or through a group that another one includes."""
    is_admin: bool = False
    """Whether they administer the service. Never so by an API key: a key does not administer."""
    limit: SpendLimit | None = None
    """What the key may spend; None for no limit of its own."""
    bearer: str = field(default="", repr=False)
    """The credential to pass on to sister services; never logged."""

    @property
    def is_system(self) -> bool:
        """Whether `user_id` is a system's and no person's: one may be called like the other.

        Raises ValueError for a key's id of no known form."""
        return self.api_key_id is not None and kind_of(self.api_key_id) == "system"

    def has_scope(self, scope: str) -> bool:
        return not self.scopes.isdisjoint({FULL_ACCESS, scope})

    def charging(self, account_id: str | None) -> "Principal":
        """The same caller, with the account that the request names. Raises Forbidden for one that is not theirs.

        A key charges its own account, whatever its caller says.
        """
        if account_id is None or self.api_key_id is not None or account_id == self.account_id:
            return self
        if account_id != GENERAL_ACCOUNT and account_id not in self.accounts:
            raise Forbidden(f"{account_id[:100]!r} is not one of your accounts. See them at /api/accounts/.")
        return replace(self, account_id=account_id)
