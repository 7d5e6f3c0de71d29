"""Serve with uvicorn: the second server, an extra (requirements/uvicorn.txt)."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from amplify_chat.serving.lifecycle import Lifecycle, say
from amplify_chat.serving.reactor import new_event_loop
from amplify_chat.wiring import Wiring

PING_SECONDS = 15.0


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the lifecycle's: it drains first."""
        yield


def run_uvicorn(application: Any, wiring: Wiring, listener: socket.socket) -> None:
    """Serve until a signal has drained it."""
    env = wiring.env
    config = uvicorn.Config(
        application,
        http="httptools",
        ws="websockets-sansio",
        lifespan="off",
        timeout_keep_alive=round(env.keep_alive_seconds),
        timeout_graceful_shutdown=1,
        ws_max_size=env.websocket_max_mb * 1024 * 1024,
        ws_ping_interval=PING_SECONDS,
        log_config=None,
        access_log=False,
        server_header=False,
    )
    server = _Server(config)

    def stop() -> None:
        server.should_exit = True

    async def serve() -> None:
        Lifecycle(wiring, stop_server=stop).watch_signals()
        await server.serve(sockets=[listener])

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(serve())
    say("Stopped.")
