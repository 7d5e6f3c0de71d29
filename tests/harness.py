"""The service as its users meet it: a process of its own with a database of its own, asked over real sockets."""

import asyncio
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 30.0
# In every place where a secret stands; must never be seen in a log, an answer or a page.
CANARY = "sk-canary-4f1d"

QUICK = {
    "HEARTBEAT_SECONDS": "0.4",
    "RUN_GRACE_SECONDS": "1",
    "RUN_DEADLINE_SECONDS": "8",
    "UPSTREAM_FIRST_BYTE_SECONDS": "2",
    "UPSTREAM_GAP_SECONDS": "2",
    "BODY_SECONDS": "2",
    "EMBEDDED_MODEL": "off",
}


@dataclass
class Answer:
    """One answer of `POST /chat`, read to its end."""

    status: int
    headers: Mapping[str, str]
    raw: bytes
    events: list[dict[str, Any]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(e["d"] for e in self.events if isinstance(e.get("d"), str))

    @property
    def error(self) -> str | None:
        return next((e["error"] for e in self.events if "error" in e), None)

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.raw)


def events_of(raw: bytes) -> list[dict[str, Any]]:
    """The `data` objects of a stream, as a strict reader sees them."""
    events = []
    for block in raw.decode().split("\n\n"):
        data = [line.removeprefix("data: ") for line in block.split("\n") if line.startswith("data: ")]
        if data:
            events.append(json.loads("\n".join(data)))
    return events


class Service:
    """A running service. `key` belongs to user `alice`, `stranger` to user `mallory`."""

    def __init__(
        self, process: subprocess.Popen[bytes], url: str, env: dict[str, str], folder: Path, keys: "Keys | None" = None
    ) -> None:
        """`keys`: those that its database has already."""
        self.process = process
        self.url = url
        self.env = env
        self.folder = folder
        self.key, self.stranger = keys or _usual_keys(env)

    @property
    def ws_url(self) -> str:
        return self.url.replace("http", "ws", 1) + "/ws/chat"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def threads(self) -> int | None:
        """How many the process has, where the system says."""
        tasks = Path(f"/proc/{self.process.pid}/task")
        return len(list(tasks.iterdir())) if tasks.exists() else None

    def create_key(self, user: str, *options: str) -> str:
        return manage(self.env, "create_api_key", "--user", user, *options).strip()

    def sql(self, query: str, *values: Any) -> list[sqlite3.Row]:
        with closing(sqlite3.connect(self.folder / "db.sqlite3", timeout=10)) as database:
            database.row_factory = sqlite3.Row
            with database:
                return database.execute(query, values).fetchall()

    def records(self, run: str) -> list[dict[str, Any]]:
        """The ledger's rows of a run."""
        return [dict(row) for row in self.sql("SELECT * FROM usage_usagerecord WHERE run_id = ?", run)]

    def record(self, run: str, seconds: float = 10.0) -> dict[str, Any]:
        """The one row of a run, as soon as it is there; asserts that it is one."""
        deadline = time.monotonic() + seconds
        while not (rows := self.records(run)) and time.monotonic() < deadline:
            time.sleep(0.02)  # polls a fact of another process; the assertion below does not depend on its length
        assert len(rows) == 1, rows
        return rows[0]

    def headers(self, key: str | None = None, **more: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {key or self.key}", **more}

    @asynccontextmanager
    async def opened(
        self, body: Any = None, *, data: bytes | None = None, path: str = "/chat", method: str = "POST", **options: Any
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A request whose answer is still to be read; `headers` and `key` may be given."""
        headers = self.headers(options.pop("key", None)) | options.pop("headers", {})
        content = data if data is not None else (None if body is None else json.dumps(body).encode())
        async with (
            aiohttp.ClientSession(read_bufsize=2**20) as session,
            session.request(
                method, self.url + path, data=BytesIO(content or b""), headers=headers, **options
            ) as response,
        ):
            yield response

    async def ask(self, body: Any = None, **options: Any) -> Answer:
        """A request, read to its end."""
        async with self.opened(body, **options) as response:
            answer = Answer(response.status, response.headers, b"")
            async for chunk in response.content.iter_any():
                answer.raw += chunk
                answer.times.append(time.monotonic())
        if response.content_type == "text/event-stream":
            answer.events = events_of(answer.raw)
        return answer

    async def chat(self, model: str, content: str = "hi", options: dict[str, Any] | None = None, **more: Any) -> Answer:
        return await self.ask(question(model, content, **(options or {})), **more)

    def stop(self, seconds: float = 20.0) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)


def question(model: str, content: str = "hi", **options: Any) -> dict[str, Any]:
    """A body as the web client sends it."""
    return {
        "messages": [{"role": "user", "content": content}],
        "dataSources": [],
        "options": {"model": {"id": model}, **options},
    }


async def read_events(response: aiohttp.ClientResponse, count: int) -> list[dict[str, Any]]:
    """The next `count` events of an open stream."""
    events: list[dict[str, Any]] = []
    while len(events) < count:
        line = await response.content.readline()
        assert line, f"the stream ended after {events}"
        if line.startswith(b"data: "):
            events.append(json.loads(line.removeprefix(b"data: ")))
    return events


def manage(env: dict[str, str], *arguments: str) -> str:
    """Run a management command; returns what it printed."""
    command = [sys.executable, "manage.py", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


Keys = tuple[str, str]
"""Of alice and mallory."""


_CREATE_KEYS = """
from django.core.management import call_command
for options in %r:
    call_command("create_api_key", **options)
"""


def create_keys(env: dict[str, str], *wanted: dict[str, Any]) -> list[str]:
    """One with each of these options, by one command: each command starts Django anew."""
    return manage(env, "shell", "--verbosity", "0", "-c", _CREATE_KEYS % (wanted,)).split()


def _usual_keys(env: dict[str, str]) -> Keys:
    alice, mallory = create_keys(env, {"user": "alice", "account": "lab-7"}, {"user": "mallory"})
    return alice, mallory


@cache
def _migrated() -> bytes:
    """An SQLite file; made once, as every command starts Django anew."""
    with tempfile.TemporaryDirectory() as folder:
        manage(environment(Path(folder)), "migrate", "--verbosity", "0")
        return _content(Path(folder) / "db.sqlite3")


@cache
def _with_keys() -> tuple[bytes, Keys]:
    """The same with both keys."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "db.sqlite3"
        file.write_bytes(_migrated())
        keys = _usual_keys(environment(Path(folder)))
        return _content(file), keys


def _content(database: Path) -> bytes:
    with closing(sqlite3.connect(database)) as connection:
        return connection.serialize()


def _prepare(env: dict[str, str]) -> Keys | None:
    """Make the database of a service ready. Returns the keys that it has."""
    scheme, _, path = env["DATABASE_URL"].partition(":///")
    if scheme != "sqlite" or Path(path).exists():
        manage(env, "migrate", "--verbosity", "0")
        return None
    if "STATE_BACKEND" in env:  # keys are in its tables
        Path(path).write_bytes(_migrated())
        return None
    content, keys = _with_keys()
    Path(path).write_bytes(content)
    return keys


def environment(folder: Path, **more: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return {
        **kept,
        "HOST": "127.0.0.1",
        "PORT": "0",
        "DATABASE_URL": f"sqlite:///{folder}/db.sqlite3",
        "SECRET_KEY": f"{CANARY}-secret",
        "JOURNAL_DIR": f"{folder}/journal",
        **QUICK,
        **more,
    }


@contextmanager
def running_service(
    folder: Path, *, server: str = "daphne", upstream: str | None = None, models: Iterable[str] = (), **env: str
) -> Iterator[Service]:
    """The service on a free port, stopped at the end of the `with` block."""
    folder.mkdir(parents=True, exist_ok=True)
    if upstream is not None:
        env = {
            "OPENAI_BASE_URL": upstream,
            "OPENAI_API_KEY": f"{CANARY}-vendor",
            "OPENAI_MODELS": ",".join(models),
            **env,
        }
    full = environment(folder, **env)
    keys = _prepare(full)
    with (folder / "log").open("wb") as log:
        command = [sys.executable, "manage.py", "serve", "--server", server]
        process = subprocess.Popen(command, cwd=ROOT, env=full, stdout=log, stderr=log, start_new_session=True)
    try:
        yield Service(process, _address(process, folder / "log"), full, folder, keys)
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if found := re.search(r"ready on (http://\S+)", log.read_text()):
            return found.group(1)
        assert process.poll() is None, log.read_text()
        time.sleep(0.05)  # polls another process's log
    raise AssertionError(f"not ready in {START_SECONDS} s: {log.read_text()}")


async def wait_until(holds: Any, seconds: float = 10.0) -> None:
    """Until `holds()` is true; fails if it does not come."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - the fact is another process's
            await asyncio.sleep(0.02)


def texts(events: Sequence[dict[str, Any]]) -> str:
    return "".join(event["d"] for event in events if isinstance(event.get("d"), str))
