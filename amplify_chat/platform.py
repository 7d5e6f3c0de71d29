"""The Amplify platform's own tables of models, where the service shares them (`STATE_BACKEND=dynamodb`)."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from amplify_chat.env import Env
from core.dynamodb import DynamoFailed, Item, Table
from llm.platform_models import PlatformModels

T = TypeVar("T")

FRESH_SECONDS = 60.0
"""Administrators' changes are felt within it."""

_DEFAULTS = {"config_id": "defaultModels"}


def platform_models(env: Env) -> PlatformModels | None:
    """The platform's models; None for a service that stands alone, or was given no table of rates."""
    if env.state_backend != "dynamodb" or not env.model_rates_table:
        return None
    rates = Table(env.model_rates_table, region=env.aws_region)
    admin = Table(env.admin_table, region=env.aws_region)
    return PlatformModels(
        read_rates=_Kept(partial(_scanned, rates)), read_defaults=partial(_asked, partial(admin.get, _DEFAULTS))
    )


def _scanned(table: Table) -> Sequence[Item]:
    return _asked(lambda: list(table.scan()))


def _asked(ask: Callable[[], T]) -> T:
    """Raises OSError when the table cannot be asked, as `PlatformModels` wants it."""
    try:
        return ask()
    except DynamoFailed as error:
        raise OSError(str(error)) from error


class _Kept:
    """One reading of the table for its two readers, the models and the prices. Threads that meet read twice."""

    def __init__(self, read: Callable[[], Sequence[Item]]) -> None:
        self._read = read
        self._kept: tuple[float, Sequence[Item]] | None = None

    def __call__(self) -> Sequence[Item]:
        now = time.monotonic()
        if self._kept is None or now - self._kept[0] > FRESH_SECONDS / 2:
            self._kept = now, self._read()
        return self._kept[1]
