"""Starting and stopping, the same for both servers.

On SIGTERM or SIGINT: readiness turns 503, new runs are refused, running streams finish, idle sockets get 1012; then
the server stops. A second signal stops it at once; the books are settled even then.
"""

import asyncio
import gc
import signal
import socket
import sys
from collections.abc import Callable

import structlog

from amplify_chat.emf import report_figures
from amplify_chat.env import Env
from amplify_chat.wiring import Wiring
from core.aio import TaskSet

log = structlog.get_logger(__name__)

BACKLOG = 2048


class AddressInUse(RuntimeError):
    """The port is taken; the message says what to do."""


def listening_socket(host: str, port: int) -> socket.socket:
    """A bound socket. Raises AddressInUse.

    TCP_NODELAY is inherited by what is accepted from it: Daphne leaves Nagle's algorithm on, which holds a token
    back until the client has acknowledged the one before.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        raise AddressInUse(f"Cannot listen on {host}:{port} ({error.strerror}). Choose another: PORT=8081.") from error
    listener.listen(BACKLOG)
    listener.setblocking(False)
    return listener


def say(line: str) -> None:
    """To the person at the terminal."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def settle_memory() -> None:
    """Take what was loaded at the start out of the garbage collector's sight, and let it look less often.

    A service that streams makes little cyclic garbage; with the defaults a tenth of its time went into looking.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


class Lifecycle:
    def __init__(self, wiring: Wiring, *, stop_server: Callable[[], None]) -> None:
        self._wiring = wiring
        self._env: Env = wiring.env
        self._stop_server = stop_server
        self._stopping: asyncio.Task[None] | None = None
        self._beside = TaskSet()

    def watch_signals(self) -> None:
        """Call from inside the running loop; begins what runs beside the requests."""
        loop = asyncio.get_running_loop()
        self._wiring.start()
        if name := self._env.service_name:
            self._beside.spawn(report_figures(self._wiring.service, service_name=name), name="figures")
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)

    def stop(self) -> None:
        if self._stopping is None:
            self._stopping = asyncio.ensure_future(self._drain_and_stop(self._env.drain_seconds))
        else:
            say("Stopping now.")
            self._stopping.cancel()
            self._stopping = asyncio.ensure_future(self._drain_and_stop(0.0))

    async def _drain_and_stop(self, within: float) -> None:
        service = self._wiring.service
        if service.runs.live and within:
            say(
                f"Draining: {service.runs.live} running answers may finish ({within:.0f} s at most; again to stop now)."
            )
        cut = await service.drain(within)
        await self._beside.aclose()
        await self._wiring.aclose()
        log.info("drained", runs_cut=cut)
        self._stop_server()
