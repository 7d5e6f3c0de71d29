"""What every backend refuses to keep, so that both keep the same: mostly what the platform's rows have no place for."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from accounts.stores import Account, Group, KeyRecord, Role
from core.errors import BadRequest, Conflict, NotFound

# The ledger's column for it.
_LONGEST_KEY_ID = 255

NO_KEY = "API key not found. It may have been deleted: read your keys again."
REVOKED = "This key has been revoked, and stays so. Make a new one."


def check_key(record: KeyRecord) -> None:
    """Raises BadRequest for a key that could never be used."""
    try:
        record.user_id  # noqa: B018 - raises
    except ValueError as error:
        raise BadRequest("A key acts as its owner, as a delegate or as a system: give that one's id.") from error
    if len(record.id) > _LONGEST_KEY_ID:
        raise BadRequest("The owner's id is too long to be part of a key's name.")


def check_replacement(there: KeyRecord | None, old: KeyRecord, new: KeyRecord) -> None:
    """Whether `new` may go in place of what is there. Raises NotFound, Conflict."""
    if there is None:
        raise NotFound(NO_KEY)
    if new.active and not there.active:
        raise Conflict(REVOKED)
    if new.active and replace(there, last_used_at=None) != replace(old, last_used_at=None):
        raise Conflict


def check_group(group: Group) -> None:
    """Raises BadRequest for what a group of its kind cannot have."""
    if not group.id:
        raise BadRequest("A group needs an id.")
    if group.id in group.includes:
        raise BadRequest("A group cannot include itself.")
    if group.kind == "assistant":
        if group.is_billing_group or group.limit is not None:
            raise BadRequest("Only amplify groups are billed or limited: give limit and billing to one of those.")
        return
    if any(role is not Role.READ for role in group.members.values()):
        raise BadRequest("Members of an amplify group are readers, because administrators run it: give them `read`.")
    if group.is_public or group.system_users:
        raise BadRequest("Only assistant groups are public or have system users.")


def check_accounts(accounts: Sequence[Account]) -> None:
    """Raises BadRequest for a list that names an account twice, or two defaults."""
    twice = [account_id for account_id, times in Counter(account.id for account in accounts).items() if times > 1]
    if twice:
        raise BadRequest(f"The account {twice[0][:100]!r} is in the list twice.")
    if any(not account.id for account in accounts):
        raise BadRequest("An account needs an id.")
    if sum(account.is_default for account in accounts) > 1:
        raise BadRequest("Only one account can be the default.")
