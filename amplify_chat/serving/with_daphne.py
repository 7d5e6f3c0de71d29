"""Serve with Daphne, with its mends: it drains, keeps idle connections longer than the load balancer does, sends each
token at once (see `listening_socket`), runs on uvloop (see `reactor`), and refuses large bodies before storing them."""

import asyncio
import socket
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

import daphne.server
import orjson
from daphne.http_protocol import HTTPFactory, WebRequest
from daphne.ws_protocol import WebSocketProtocol
from twisted.internet import reactor, tcp

from amplify_chat.env import Env
from amplify_chat.serving.lifecycle import Lifecycle, say
from amplify_chat.wiring import Wiring
from chat.consumer import LINGER_SECONDS, body_too_large
from core.cors import cors_headers
from core.errors import AmplifyError, RequestTimeout
from core.ids import request_id

_MB = 1024 * 1024
PING_SECONDS = 15
# Read a stored body in large pieces: each becomes a message in the application's queue.
BUFFER_BYTES = _MB


class _BoundedRequest(WebRequest):
    """Daphne stores a whole body before the application hears of the request; here it is bounded while it arrives."""

    max_body_bytes = 50 * _MB
    body_seconds = 60.0
    allowed_origins: tuple[str, ...] = ("*",)
    _body_timer: Any = None
    _received = 0
    _refused = False

    def gotLength(self, length: int | None) -> None:  # noqa: N802 - Twisted's name
        super().gotLength(length)
        if length is not None and length > self.max_body_bytes:
            self._refuse(body_too_large(self.max_body_bytes))
        elif length != 0:
            self._body_timer = reactor.callLater(self.body_seconds, self._too_slow)

    def handleContentChunk(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        self._received += len(data)
        if self._refused:
            return
        if self._received > self.max_body_bytes:
            self._refuse(body_too_large(self.max_body_bytes))
        else:
            super().handleContentChunk(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:  # noqa: N802 - Twisted's name
        """Hand the request on. Twisted's own also parses forms and uploads, which Daphne then throws away: a twelfth of
        the cost of a short request, and a second copy of a long one."""
        self._cancel_timer()
        if self._refused:
            self.channel.loseConnection()
            return
        self.content.seek(0, 0)
        self.args: dict[bytes, list[bytes]] = {}
        self.method, self.uri, self.clientproto = command, path, version
        self.path = path.partition(b"?")[0]
        self.process()

    def connectionLost(self, reason: Any) -> None:  # noqa: N802 - Twisted's name
        self._cancel_timer()
        super().connectionLost(reason)

    def _cancel_timer(self) -> None:
        if self._body_timer is not None and self._body_timer.active():
            self._body_timer.cancel()

    def _too_slow(self) -> None:
        self._refuse(RequestTimeout())

    def _refuse(self, error: AmplifyError) -> None:
        """Answer at once, then let the rest of the body run out for a while: a connection closed in the middle of it
        would be reset, and the client would not see the answer."""
        self._cancel_timer()
        self._refused = True
        if self.channel is not None:
            self.channel.transport.write(self._refusal(error))
            self._body_timer = reactor.callLater(LINGER_SECONDS, self.channel.loseConnection)

    def _refusal(self, error: AmplifyError) -> bytes:
        """The whole answer, with the headers that the application's own have."""
        named = request_id(self._header("x-request-id"))
        body = orjson.dumps(error.body(named))
        headers = [
            (b"content-type", b"application/json"),
            (b"connection", b"close"),
            (b"content-length", b"%d" % len(body)),
            (b"x-request-id", named.encode()),
            *cors_headers(self.allowed_origins, self._header("origin")),
        ]
        lines = b"".join(b"%b: %b\r\n" % header for header in headers)
        return b"HTTP/1.1 %d %b\r\n%b\r\n%b" % (error.status, HTTPStatus(error.status).phrase.encode(), lines, body)

    def _header(self, name: str) -> str | None:
        values: list[str] | None = self.requestHeaders.getRawHeaders(name)
        return values[-1] if values else None


def _bounded_factory(env: Env) -> type[HTTPFactory]:
    class BoundedRequest(_BoundedRequest):
        max_body_bytes = env.body_max_mb * _MB
        body_seconds = env.body_seconds
        allowed_origins = env.allowed_origins

    class Factory(HTTPFactory):
        def buildProtocol(self, addr: Any) -> Any:  # noqa: N802 - Twisted's name
            protocol = super().buildProtocol(addr)
            protocol.requestFactory = BoundedRequest
            # Daphne's 60 s is the load balancer's own idle timeout: the two race, and losing shows as a stray 502.
            protocol.timeOut = env.keep_alive_seconds
            return protocol

    return Factory


class _Socket(WebSocketProtocol):
    def serverClose(self, code: int | None = None) -> None:  # noqa: N802 - Daphne's name
        """Autobahn's `sendClose` refuses codes below 3000, and with them 1012, "service restart"."""
        self.sendCloseFrame(code=code or 1000, isReply=False)


class _EagerTransport(tcp.Server):
    """Send at once what the socket takes. Twisted's own waits for the loop to say that the socket is writable: a turn
    of the loop and two system calls more for every token."""

    def write(self, data: bytes) -> None:
        if not self.connected or self._writeDisconnected:
            return
        if not (self.dataBuffer or self._tempDataBuffer):
            sent = self.writeSomeData(data)
            # What is no number is an error: the ordinary way meets it again and handles it.
            if isinstance(sent, int) and sent >= 0:
                data = data[sent:]
        if data:
            super().write(data)

    def writeSequence(self, iovec: Iterable[bytes]) -> None:  # noqa: N802 - Twisted's name
        self.write(b"".join(iovec))


class _Server(daphne.server.Server):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, ready_callable=self.mend_sockets, **options)

    def listen_success(self, port: Any) -> None:
        super().listen_success(port)
        port.transport = _EagerTransport

    def mend_sockets(self) -> None:
        self.ws_factory.protocol = _Socket
        # Close a socket that sends too much with 1009, instead of dropping its connection.
        self.ws_factory.setProtocolOptions(failByDrop=False)

    def kill_all_applications(self) -> Any:
        """Cancel what is left after the drain; Daphne's own trips over a connection whose application has ended."""
        for details in self.connections.values():
            if instance := details.get("application_instance"):
                instance.cancel()


def run_daphne(application: Any, wiring: Wiring, listener: socket.socket) -> None:
    """Serve until a signal has drained it."""
    env = wiring.env
    server = _Server(
        application,
        endpoints=[f"fd:fileno={listener.fileno()}"],
        signal_handlers=False,
        request_buffer_size=BUFFER_BYTES,
        ping_interval=PING_SECONDS,
        websocket_max_message_size=env.websocket_max_mb * _MB,
        websocket_max_frame_size=env.websocket_max_mb * _MB,
        server_name="",
        verbosity=0,
    )
    # The one place where Daphne chooses its factory.
    daphne.server.HTTPFactory = _bounded_factory(env)
    lifecycle = Lifecycle(wiring, stop_server=server.stop)
    reactor.callWhenRunning(lambda: asyncio.get_event_loop().call_soon(lifecycle.watch_signals))
    server.run()
    say("Stopped.")
