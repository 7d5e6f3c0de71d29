"""Say which accounts one may charge."""

from collections.abc import Mapping, Sequence
from typing import Any

from accounts import policies
from accounts.actions import Caller, one_change
from accounts.policies import Action
from accounts.stores import Account
from accounts.stores.backends import get_stores


def list_accounts(*, by: Caller) -> Sequence[Account]:
    """Their own, in the order in which they were saved."""
    policies.accounts.check(by.principal, Action.READ, by.principal.user_id)
    return get_stores().accounts.of_user(by.principal.user_id)


def save_accounts(*, by: Caller, accounts: Sequence[Account]) -> Sequence[Account]:
    """The whole list, in place of what there was. Raises Forbidden; BadRequest for an account that is in it twice."""
    me = by.principal.user_id
    policies.accounts.check(by.principal, Action.CHANGE, me)
    store = get_stores().accounts
    with one_change():
        old = store.of_user(me)
        store.save(me, accounts)
        by.wrote("saved", "account", me, _facts(old), _facts(accounts))
    return accounts


def _facts(accounts: Sequence[Account]) -> Mapping[str, Any]:
    return {
        account.id: {
            "name": account.name,
            "is_default": account.is_default,
            "limit": None if account.limit is None else account.limit.as_rate(),
        }
        for account in accounts
    }
