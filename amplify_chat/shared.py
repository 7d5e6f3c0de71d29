"""What processes share by way of the store that REDIS_URL names. Imported only where there is one."""

from collections.abc import Callable

from chat.runs import RunLimits
from chat.sharing.peers import Peers
from chat.sharing.signals import Signal
from core.shared_store import SharedStore
from usage.shared_rates import SharedRates


class Shared:
    def __init__(self, url: str, limits: RunLimits) -> None:
        """`url`: REDIS_URL. Raises ValueError."""
        self._store = SharedStore(url)
        self.peers = Peers(self._store, limits)
        self.rates = SharedRates(self._store)

    def start(self, hear: Callable[[Signal], None]) -> None:
        """Begin; inside the running loop. `hear` is called with what other processes tell."""
        self.peers.start(hear)
        self.rates.start()

    async def aclose(self) -> None:
        """After the last run has ended."""
        await self.peers.aclose()
        await self.rates.aclose()
        await self._store.aclose()
