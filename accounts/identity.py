"""From claims to who somebody is. Access tokens and the login by browser ask here alike, so a person is one user.

Functions of what they are given; the caller has verified the claims.
"""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Claims = Mapping[str, Any]

# The length of the columns that a user id stands in.
MAX_LENGTH = 255


class NoUserId(ValueError):
    """The claims name nobody whom we can book under; the text says why, and quotes nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Naming:
    """How an issuer names people."""

    claim: str = ""
    """The claim that is the user id. Empty for the platform's own rule (wire-protocol §2.2, as it is today)."""
    prefix: str = ""
    """Left off Cognito's user names, with the underscore behind it: the name of the identity provider."""

    def asks_directory(self, claims: Claims) -> bool:
        """Whether it matters if there is a user whose id is `sub`."""
        return not self.claim and not claims.get("immutable_id")

    def user_id(self, claims: Claims, *, sub_is_known: bool = False) -> str:
        """Raises NoUserId."""
        if self.claim == "email" and claims.get("email_verified") in (False, "false"):
            raise NoUserId("its e-mail address has not been verified")  # whoever types an address in would be its owner
        if self.claim:
            return checked(claims.get(self.claim))
        if immutable := claims.get("immutable_id"):
            return checked(immutable)
        if sub_is_known:
            return checked(claims.get("sub"))
        return checked(without_prefix(checked(claims.get("username")), self.prefix))


def without_prefix(username: str, prefix: str) -> str:
    """`vandy_alice` is `alice` where the prefix is `Vandy`; `vandyke` stays."""
    start = f"{prefix}_"
    return username[len(start) :] if prefix and username[: len(start)].lower() == start.lower() else username


def checked(value: Any) -> str:
    """A claim as a user id. Raises NoUserId.

    `#` joins the parts of the platform's keys, so nobody's name may hold one. Letters that print alike, or not at
    all, would make two users of one or one of two (Django normalises user names: UAX #15, NFKC).
    """
    if not isinstance(value, str) or not value:
        raise NoUserId("it has no user id")
    if len(value) > MAX_LENGTH:
        raise NoUserId(f"its user id is longer than {MAX_LENGTH} characters")
    if "#" in value or value != value.strip() or not value.isprintable():
        raise NoUserId("its user id holds a character that may not be in one")
    if unicodedata.normalize("NFKC", value) != value:
        raise NoUserId("its user id is not in Unicode's normal form NFKC")
    return value


def groups_of(claims: Claims, claim: str) -> frozenset[str]:
    """The sign-in service's groups; a claim of another shape than a list of names, or one name, counts as none."""
    value = claims.get(claim)
    names = [value] if isinstance(value, str) else value
    return frozenset(name for name in names if isinstance(name, str)) if isinstance(names, list) else frozenset()
