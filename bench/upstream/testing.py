"""The mock upstream for tests: `with running_upstream() as upstream: ...`."""

import http.client
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import orjson

STOP_SECONDS = 5.0
POLL_SECONDS = 0.01

_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Upstream:
    """A running mock. `url` is what OPENAI_BASE_URL wants: it ends in `/v1`. The methods block, for a millisecond."""

    url: str
    pid: int

    @property
    def root(self) -> str:
        """The URL without `/v1`, below which the other vendors' paths are."""
        return self.url.removesuffix("/v1")

    def calls(self) -> list[dict[str, Any]]:
        """What the mock recorded, oldest first; see `record.Record`."""
        return cast("list[dict[str, Any]]", self._ask("GET", "/_calls"))

    def stats(self) -> dict[str, Any]:
        return cast("dict[str, Any]", self._ask("GET", "/_stats"))

    def clear(self) -> None:
        """Forget the calls, and restart the counters behind `share` and `first`."""
        self._ask("DELETE", "/_calls")

    def wait_for_calls(
        self, when: Callable[[list[dict[str, Any]]], bool], seconds: float = 5.0
    ) -> list[dict[str, Any]]:
        """The calls as soon as `when` holds of them. Raises TimeoutError, with what there was, if it never does."""
        deadline = time.monotonic() + seconds
        while not when(calls := self.calls()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"the upstream's calls stayed {calls}")
            time.sleep(POLL_SECONDS)
        return calls

    def wait_until_ended(self, count: int = 1, seconds: float = 5.0) -> list[dict[str, Any]]:
        """The calls once there are `count` and every one has an outcome."""
        return self.wait_for_calls(
            lambda calls: len(calls) >= count and all(call["outcome"] for call in calls), seconds
        )

    def _ask(self, method: str, path: str) -> object:
        address = urlsplit(self.url)
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=5)
        try:
            connection.request(method, path)
            return orjson.loads(connection.getresponse().read())
        finally:
            connection.close()


def start_upstream(models: Sequence[str] = ("mock",), *, port: int = 0) -> tuple[subprocess.Popen[bytes], str]:
    """Start the process; returns it and its base URL. The caller stops it with `stop`."""
    command = [sys.executable, "-m", "bench.upstream", "--port", str(port), "--models", ",".join(models)]
    process = subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE)
    assert process.stdout is not None
    line = process.stdout.readline().decode()
    if "listening on " not in line:
        stop(process)
        raise RuntimeError(f"the mock upstream did not start: {line!r}")
    return process, line.removeprefix("listening on ").strip()


def stop(process: subprocess.Popen[bytes], *, seconds: float = STOP_SECONDS) -> None:
    """SIGTERM, and SIGKILL for a process that is still there after `seconds`."""
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


@contextmanager
def running_upstream(models: Sequence[str] = ("mock",), *, port: int = 0) -> Iterator[Upstream]:
    """A mock upstream in a process of its own, on a free loopback port, for the length of a `with` block."""
    process, url = start_upstream(models, port=port)
    try:
        yield Upstream(url, process.pid)
    finally:
        stop(process)
