"""Posting to the mock and keeping what comes back as it was cut."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson
from yarl import URL

from bench.upstream.testing import Upstream
from tests.bench.readers import Heard
from tests.bench.vendors import Vendor

PATIENCE = 5.0  # seconds


@dataclass
class Answer:
    """`ended`: end, broken or silent. `chunks` are the server's, `rest` what came of one that was never whole."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    chunks: list[bytes] = field(default_factory=list)
    rest: bytes = b""
    ended: str = "end"

    @property
    def data(self) -> bytes:
        return b"".join(self.chunks) + self.rest

    @property
    def json(self) -> Any:
        return orjson.loads(self.data)


async def _post(
    answer: Answer, url: str, body: bytes, headers: dict[str, str], *, patience: float, first: float
) -> None:
    now = asyncio.get_running_loop().time
    async with aiohttp.ClientSession() as session:
        try:
            async with (
                asyncio.timeout(first) as timer,
                session.post(URL(url, encoded=True), data=body, headers=headers) as got,
            ):
                timer.reschedule(now() + patience)
                answer.status = got.status
                answer.headers = {name.lower(): value for name, value in got.headers.items()}
                async for data, ends_chunk in got.content.iter_chunks():
                    timer.reschedule(now() + patience)
                    answer.rest += data
                    if ends_chunk and answer.rest:  # the body's end may be told with nothing in hand
                        answer.chunks.append(answer.rest)
                        answer.rest = b""
        except TimeoutError:
            answer.ended = "silent"
        except (aiohttp.ClientError, OSError):
            answer.ended = "broken"


def post(
    upstream: Upstream,
    path: str,
    body: dict[str, Any],
    headers: dict[str, str],
    *,
    patience: float = PATIENCE,
    first: float = PATIENCE,
) -> Answer:
    """The answer as far as it comes: `first` is how long to wait for its head, `patience` for anything more."""
    answer = Answer()
    headers = {"content-type": "application/json"} | headers
    asyncio.run(_post(answer, upstream.root + path, orjson.dumps(body), headers, patience=patience, first=first))
    return answer


def call(
    upstream: Upstream,
    vendor: Vendor,
    model: str,
    *,
    stream: bool = True,
    more: list[Any] | None = None,
    patience: float = PATIENCE,
    first: float = PATIENCE,
) -> Answer:
    """One call in a vendor's language, with a key where the vendor wants it."""
    path, body = vendor.path(model, stream), vendor.body(model, stream, more or [])
    headers = vendor.headers(upstream.root + path, orjson.dumps(body))
    return post(upstream, path, body, headers, patience=patience, first=first)


def heard(
    upstream: Upstream, vendor: Vendor, model: str, *, stream: bool = True, more: list[Any] | None = None
) -> Heard:
    """What a caller understands of a call that is answered."""
    answer = call(upstream, vendor, model, stream=stream, more=more)
    assert answer.status == 200, answer.data
    assert answer.headers["content-type"].partition(";")[0] == (vendor.content_type if stream else "application/json")
    return vendor.listen(answer.data) if stream else vendor.read(answer.data)
