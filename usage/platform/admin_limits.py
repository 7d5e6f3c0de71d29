"""The limits on everybody that the platform's administrators have set: `rateLimit` of the admin table.

Source: billing-and-state §2.8, §4.2.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import structlog

from accounts.directory import Fact
from accounts.limits import Period, SpendLimit, limit_of_rate
from accounts.principal import Principal
from core.aio import BlockingPool, TaskSet
from core.dynamodb import DynamoFailed, Table
from core.errors import Unavailable
from usage.limits import Line
from usage.models import Dimension

log = structlog.get_logger(__name__)

_KEY = {"config_id": "rateLimit"}
_NOTHING = SpendLimit(period=Period.TOTAL, micro_dollars=0)
_UNKNOWN = "Your budget cannot be checked at the moment. Please try again in a few seconds."


class AdminLimits:
    """A source of limits for the budget book: each user may spend so much."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._tasks = TaskSet()
        self._pool = BlockingPool("admin limits", threads=1)
        self._limits = Fact(self._read, self._tasks)

    async def __call__(self, principal: Principal) -> list[Line]:
        """Raises Unavailable when they were not known some seconds ago either."""
        try:
            limits = await self._limits.get()
        except Unavailable:
            raise Unavailable(_UNKNOWN) from None
        return [
            Line(dimension=Dimension.USER, value=principal.user_id, limit=limit, source="admin") for limit in limits
        ]

    async def aclose(self) -> None:
        await self._tasks.aclose()

    async def _read(self) -> Sequence[SpendLimit]:
        try:
            return admin_limits(await self._pool.run(self._table.get, _KEY))
        except DynamoFailed as error:
            log.warning("admin_limits_not_read", reason=error.reason)
            raise Unavailable(_UNKNOWN) from None


def admin_limits(item: Mapping[str, Any] | None) -> list[SpendLimit]:
    """Of the item `rateLimit`: an object, a list of objects, or either of them under `limits`. What cannot be read
    counts as a limit of nothing: a slip of the pen must not open the purse.

    `honorPersonalRateLimit`, by which a personal limit would go before these, is not followed: people set that one
    themselves, so that each could lift the administrators' limit.
    """
    data = (item or {}).get("data")
    if isinstance(data, Mapping) and "limits" in data:
        data = data["limits"]
    if not data:
        return []
    each = data if isinstance(data, Iterable) and not isinstance(data, Mapping | str | bytes) else [data]
    return [limit for rate in each if (limit := _limit(rate)) is not None]


def _limit(rate: Any) -> SpendLimit | None:
    try:
        return limit_of_rate(rate)
    except ValueError as error:
        log.warning("admin_limit_not_read", reason=str(error), hint="Nobody may spend until it is corrected.")
        return _NOTHING
