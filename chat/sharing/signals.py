"""What processes tell each other: one stream, which each of them reads on from where it was.

So a signal that is sent while a connection is down arrives when it is up again, and one that was sent moments before a
process began is heard too.
"""

import asyncio
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

import orjson
import structlog

from core.errors import Unavailable

if TYPE_CHECKING:  # nobody pays for the client of a store that is not there
    from core.shared_store import Fields, SharedStore

log = structlog.get_logger(__name__)

STREAM = "amplify-chat:signals"
MAX_SIGNALS = 10_000
LISTEN_SECONDS = 5.0
AGAIN_SECONDS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """`kill`: stop the owner's runs of a request id; `early`: also one that is still on its way.
    `revive`: a kill need not wait any longer, it has found its run or was taken back.
    `cancel`: stop a run. `followed`: somebody reads a run by way of the sender."""

    kind: Literal["kill", "revive", "cancel", "followed"]
    owner: str = ""
    request_id: str = ""
    early: bool = False
    run_id: str = ""


class Signals:
    def __init__(self, store: "SharedStore", process_id: str) -> None:
        self._store = store
        self._me = process_id.encode()

    async def tell(self, signal: Signal) -> None:
        """To every other process. Raises Unavailable."""
        fields = {"from": self._me, "signal": orjson.dumps(asdict(signal))}
        await self._store.add(STREAM, fields, longest=MAX_SIGNALS)

    async def listen(self, hear: Callable[[Signal], None], *, since: float) -> None:
        """Hear what others tell, from so many seconds ago on and until cancelled; while the store is away, later."""
        position = ""
        while True:
            try:
                position = position or f"{int((await self._store.now() - since) * 1000)}-0"
                for entry_id, fields in await self._store.read(STREAM, position, within=LISTEN_SECONDS):
                    position = entry_id
                    if fields[b"from"] != self._me:
                        _pass_on(fields, hear)
            except Unavailable:
                await asyncio.sleep(AGAIN_SECONDS)


def _pass_on(fields: "Fields", hear: Callable[[Signal], None]) -> None:
    try:
        hear(Signal(**orjson.loads(fields[b"signal"])))
    except Exception:
        # One of a newer version, say. Whatever it is, the next ones must still be heard.
        log.exception("signal_not_understood")
