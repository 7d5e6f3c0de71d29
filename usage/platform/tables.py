"""The platform's tables for books, where the service shares them (`STATE_BACKEND=dynamodb`)."""

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from django.conf import settings
from django.core.signals import setting_changed

from core.errors import ConfigurationError

if TYPE_CHECKING:
    from core.dynamodb import Table

_VARIABLES = {
    "usage": "CHAT_USAGE_DYNAMO_TABLE",
    "costs": "COST_CALCULATIONS_DYNAMO_TABLE",
    "history": "HISTORY_COST_CALCULATIONS_DYNAMO_TABLE",
    "admin": "AMPLIFY_ADMIN_DYNAMODB_TABLE",
}


@dataclass(frozen=True, slots=True)
class PlatformTables:
    usage: "Table"
    """One row per model call (billing-and-state §2.1)."""
    costs: "Table"
    """Running counters (§2.2)."""
    history: "Table"
    """Days and months that are over (§2.3)."""
    admin: "Table"
    """Settings of the administrators (§2.8)."""


@cache
def platform_tables() -> PlatformTables | None:
    """None for a service that stands alone, or was given none of the three tables for books. Raises ConfigurationError
    if only some of the names are there."""
    names = settings.PLATFORM_BOOKS
    if settings.STATE_BACKEND != "dynamodb" or not any(names[use] for use in _VARIABLES if use != "admin"):
        return None
    if missing := [variable for use, variable in _VARIABLES.items() if not names[use]]:
        raise ConfigurationError(
            f"STATE_BACKEND is dynamodb: set {', '.join(missing)} to the names of the platform's tables."
        )
    from core.dynamodb import Table  # noqa: PLC0415 - every command imports this module, and AWS's library takes 0.3 s

    return PlatformTables(**{use: Table(names[use], region=settings.AWS_REGION) for use in _VARIABLES})


def _forget(*, setting: str, **_: object) -> None:
    if setting in ("STATE_BACKEND", "PLATFORM_BOOKS"):
        platform_tables.cache_clear()


setting_changed.connect(_forget)
