"""Who is asking."""

from dataclasses import dataclass, field

# The platform's name for spend that no account was given for (billing-and-state: accounts).
GENERAL_ACCOUNT = "general_account"


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Made once per request by `accounts.authentication`; everything else only reads it."""

    user_id: str
    account_id: str = GENERAL_ACCOUNT
    api_key_id: str | None = None
    """The key's public name `<owner>/ownerKey/<uuid>`, or None for a person with a session."""
    groups: frozenset[str] = frozenset()
    bearer: str = field(default="", repr=False)
    """The credential to pass on to sister services; never logged."""
