"""What can be done with keys, groups and accounts. Each verb asks the policy, changes the store and writes the audit
entry; all it needs is in its keywords. They block, as stores do."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import transaction

from accounts.principal import Principal
from audit.entries import By, differences, record
from audit.models import Door


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who acts, by which door, in which request."""

    principal: Principal
    door: Door = Door.REST
    request_id: str = ""

    def wrote(
        self, action: str, resource: str, resource_id: str, old: Mapping[str, Any] | None, new: Mapping[str, Any] | None
    ) -> None:
        """Write down what they did: the states before and after; None for none."""
        by = By(
            actor=self.principal.user_id,
            door=self.door,
            api_key_id=self.principal.api_key_id or "",
            request_id=self.request_id,
        )
        record(by, action, resource, resource_id, differences(old or {}, new or {}))


def one_change() -> AbstractContextManager[Any]:
    """Around a change and its audit entry: both or neither, where our database keeps both.

    DynamoDB knows nothing of our transactions: there the entry follows the change (see `audit.entries.record`).
    """
    return transaction.atomic() if settings.STATE_BACKEND == "database" else nullcontext()
