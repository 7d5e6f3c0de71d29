"""What is measured, and how each is started: the mock itself, the raw relay, the service on either server."""

import http.client
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bench.load import Target
from bench.process import pin
from bench.upstream.testing import Upstream, stop

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 30.0
COMMAND_SECONDS = 60.0
STOP_SECONDS = 1.0  # the last measure leaves a thousand streams open: a subject that drains them is not waited for
LOG_LINES = 15  # of a subject that did not start

SUBJECT_CORE = 0
LOAD_CORE = 1  # the mock and the load generator

Body = Callable[[str], Mapping[str, Any]]


class SubjectError(RuntimeError):
    """A subject did not start; the message ends with the last lines of its log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A running subject: where to send requests, and which process to watch."""

    pid: int
    url: str
    key: str
    body: Body

    def target(self, model: str, tokens: int | None = None) -> Target:
        return Target.post(self.url, self.body(model), key=self.key, tokens=tokens)


Start = Callable[[], AbstractContextManager[Subject]]


def _openai_body(model: str) -> Mapping[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "hi"}], "stream": True}


def _chat_body(model: str) -> Mapping[str, Any]:
    messages = [{"role": "user", "content": "hi"}]
    return {"messages": messages, "dataSources": [], "options": {"model": {"id": model}}}


def mock_alone(upstream: Upstream) -> Subject:
    """The load generator straight at the mock: the ceiling of every figure."""
    return Subject(pid=upstream.pid, url=f"{upstream.url}/chat/completions", key="mock", body=_openai_body)


def starts(upstream: Upstream, models: Sequence[str]) -> dict[str, Start]:
    """How to start each subject, by the name it has on the command line."""
    return {
        "relay": partial(_relay, upstream),
        "daphne": partial(service, "daphne", upstream, models),
        "uvicorn": partial(service, "uvicorn", upstream, models),
    }


@contextmanager
def _relay(upstream: Upstream) -> Iterator[Subject]:
    port = _free_port()
    env = os.environ | {"OPENAI_BASE_URL": upstream.url, "HOST": "127.0.0.1", "PORT": str(port)}
    command = [sys.executable, "-m", "bench.relay"]
    with (
        tempfile.TemporaryDirectory() as folder,
        _running(command, env, Path(folder), port, path="/") as pid,
    ):
        yield Subject(pid=pid, url=f"http://127.0.0.1:{port}/chat/completions", key="mock", body=_openai_body)


@contextmanager
def service(server: str, upstream: Upstream, models: Sequence[str], *, module: str = "") -> Iterator[Subject]:
    """The service on `server`; with `module`, as that module of ours starts it."""
    port = _free_port()
    manage = [sys.executable, str(ROOT / "manage.py")]
    with tempfile.TemporaryDirectory() as folder:
        env = _service_env(Path(folder), port, upstream, models)
        _run([*manage, "migrate", "--verbosity", "0"], env)
        key = _run([*manage, "create_api_key", "--user", "bench"], env).strip()
        start = [sys.executable, "-m", module] if module else [*manage, "serve", "--server", server]
        with _running(start, env, Path(folder), port, path="/health") as pid:
            yield Subject(pid=pid, url=f"http://127.0.0.1:{port}/chat", key=key, body=_chat_body)


def _service_env(folder: Path, port: int, upstream: Upstream, models: Sequence[str]) -> dict[str, str]:
    """The service as it comes: authentication, budgets and the ledger on, on SQLite."""
    return os.environ | {
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "DATABASE_URL": f"sqlite:///{folder}/bench.sqlite3",
        "SECRET_KEY": secrets.token_urlsafe(50),
        "OPENAI_BASE_URL": upstream.url,
        "OPENAI_API_KEY": "mock",
        "OPENAI_MODELS": ",".join(models),
        "EMBEDDED_MODEL": "off",
        "ALLOWED_ORIGINS": "*",
    }


def _run(command: Sequence[str], env: Mapping[str, str]) -> str:
    done = subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False
    )
    if done.returncode:
        raise SubjectError(f"`manage.py {command[2]}` failed:\n{_tail(done.stderr)}")
    return done.stdout


@contextmanager
def _running(command: Sequence[str], env: Mapping[str, str], folder: Path, port: int, *, path: str) -> Iterator[int]:
    """Run a server on the subject's core until the block ends; yields its process id once it answers on `path`."""
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=output, stderr=subprocess.STDOUT)
    try:
        pin(process.pid, SUBJECT_CORE)
        _await_answer(process, port, path, log)
        yield process.pid
    finally:
        stop(process, seconds=STOP_SECONDS)


def _await_answer(process: subprocess.Popen[bytes], port: int, path: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not _answers(port, path):
        if process.poll() is not None or time.monotonic() > deadline:
            raise SubjectError(f"no answer on {path}:\n{_tail(log.read_text(errors='replace'))}")
        time.sleep(0.05)


def _answers(port: int, path: str) -> bool:
    """Whether `path` is answered well. Of the relay, which has no such path, any connection will do."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.connect()
        if path == "/":
            return True
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _tail(text: str) -> str:
    return "\n".join(text.splitlines()[-LOG_LINES:])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
