"""The one client through which the service speaks HTTP to others."""

import asyncio
from dataclasses import dataclass

import aiohttp


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpTimeouts:
    """Seconds; every await on the network has one of these."""

    connect: float = 5.0
    first_byte: float = 60.0
    gap: float = 60.0
    """The longest silence inside a body."""


class HttpClient:
    """One connection pool for the whole process, opened at first use and again when the event loop is another.

    aiohttp because it is the fastest client measured on this path (docs/decisions/0002-aiohttp.md).
    """

    def __init__(self, *, timeouts: HttpTimeouts, connections: int = 4096, per_host: int = 0) -> None:
        self.timeouts = timeouts
        self._connections = connections
        self._per_host = per_host
        self._session: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def session(self) -> aiohttp.ClientSession:
        loop = asyncio.get_running_loop()
        if self._session is None or self._session.closed or self._loop is not loop:
            self._session, self._loop = self._open(), loop
        return self._session

    def _open(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            # No cookie of one person's request may reach another's, no redirect may carry a key elsewhere.
            cookie_jar=aiohttp.DummyCookieJar(),
            connector=aiohttp.TCPConnector(
                limit=self._connections, limit_per_host=self._per_host, ttl_dns_cache=60, keepalive_timeout=30
            ),
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=self.timeouts.connect, connect=None, sock_read=self.timeouts.gap
            ),
            auto_decompress=True,
            trust_env=False,
        )

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None


async def read_at_most(size: int, response: aiohttp.ClientResponse) -> bytes:
    """The body. Raises ValueError for one of more than so many bytes, as soon as they are there."""
    body = b""
    while chunk := await response.content.readany():
        body += chunk
        if len(body) > size:
            raise ValueError(f"More than {size} bytes.")
    return body
