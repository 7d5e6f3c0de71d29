"""The platform's books as the service lives with them: what it tells them, and what they tell it."""

from usage.platform.admin_limits import AdminLimits
from usage.platform.counters import PlatformCounters
from usage.platform.courier import Courier
from usage.platform.spending import SpentElsewhere
from usage.platform.tables import PlatformTables


class PlatformBooks:
    def __init__(self, tables: PlatformTables) -> None:
        self.courier = Courier(tables)
        self.limits = (AdminLimits(tables.admin),)
        """Sources of further limits."""
        self.spent_elsewhere = SpentElsewhere(PlatformCounters(tables))

    def start(self) -> None:
        self.courier.start()

    async def aclose(self) -> None:
        await self.courier.aclose()
        await self.spent_elsewhere.aclose()
        for source in self.limits:
            await source.aclose()
