"""Who asks for a model."""

from accounts.principal import Principal


def member_of(*groups: str) -> Principal:
    return Principal(user_id="somebody", groups=frozenset(groups))
