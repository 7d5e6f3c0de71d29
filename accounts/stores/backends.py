"""Which backend this process uses: `settings.STATE_BACKEND`, made when it is first asked for."""

from functools import cache

from django.conf import settings
from django.core.signals import setting_changed

from accounts.stores import Stores


@cache
def get_stores() -> Stores:
    """Raises ConfigurationError if a table's name is missing."""
    # Imported here: each backend brings what the other does not need.
    if settings.STATE_BACKEND == "dynamodb":
        from accounts.stores.dynamodb import dynamodb_stores  # noqa: PLC0415

        return dynamodb_stores(settings.STATE_TABLES, region=settings.AWS_REGION)
    from accounts.stores.database import database_stores  # noqa: PLC0415

    return database_stores()


def _forget(*, setting: str, **_: object) -> None:
    if setting in ("STATE_BACKEND", "STATE_TABLES"):
        get_stores.cache_clear()


setting_changed.connect(_forget)
