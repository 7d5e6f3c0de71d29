"""Starting and stopping: drains, refuses, says what is wrong; on both servers."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from bench.upstream.testing import Upstream
from tests.e2e.conftest import LONG, PACED, SHORT
from tests.e2e.test_runs import ROUTING_EVENTS
from tests.harness import ROOT, environment, events_of, question, read_events, running_service, texts, wait_until

MODELS = [SHORT, PACED, LONG]


async def test_a_drain_cuts_nothing_and_lets_nothing_in(server: str, upstream: Upstream, tmp_path: Path) -> None:
    with running_service(tmp_path, server=server, upstream=upstream.url, models=MODELS) as service:
        async with (
            connect(service.ws_url, additional_headers=service.headers()) as idle,
            service.opened(question(PACED)) as response,
        ):
            seen = await read_events(response, ROUTING_EVENTS + 2)
            service.process.send_signal(signal.SIGTERM)
            with pytest.raises(ConnectionClosed) as closed:
                async with asyncio.timeout(5):
                    while True:
                        await idle.recv()
            refused = await service.chat(SHORT)
            ready, health = [await service.ask(path=p, method="GET") for p in ("/readyz", "/health")]
            rest = events_of(await response.content.read())
        run = response.headers["X-Run-Id"]
        assert texts(seen + rest) == "".join(f"w{n} " for n in range(30))
        assert rest[-1] == {"s": 0, "type": "end"}
        assert (refused.status, refused.json["code"]) == (503, "draining")
        assert "Retry-After" in refused.headers
        assert (ready.status, ready.json["error"], health.status) == (503, "draining", 200)
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1012
        assert service.process.wait(15) == 0
        assert service.record(run)["outcome"] == "finished"
        assert "Traceback" not in service.log


async def test_what_outlasts_the_drain_is_told_and_booked(server: str, upstream: Upstream, tmp_path: Path) -> None:
    with running_service(tmp_path, server=server, upstream=upstream.url, models=MODELS, DRAIN_SECONDS="0.5") as service:
        async with service.opened(question(LONG)) as response:
            await read_events(response, ROUTING_EVENTS + 2)
            service.process.send_signal(signal.SIGTERM)
            rest = events_of(await response.content.read())
        assert "restarted" in rest[-1]["error"]
        assert service.process.wait(15) == 0
        assert service.record(response.headers["X-Run-Id"])["outcome"] == "shut_down"


async def test_a_second_signal_stops_at_once(server: str, upstream: Upstream, tmp_path: Path) -> None:
    with running_service(tmp_path, server=server, upstream=upstream.url, models=MODELS) as service:
        async with service.opened(question(LONG)) as response:
            await read_events(response, ROUTING_EVENTS + 2)
            service.process.send_signal(signal.SIGINT)
            await wait_until(lambda: "Draining" in service.log)
            service.process.send_signal(signal.SIGINT)
            await response.content.read()
        assert service.process.wait(15) == 0
        assert service.record(response.headers["X-Run-Id"])["outcome"] == "shut_down"


async def test_a_thousand_open_streams_need_few_threads(server: str, upstream: Upstream, tmp_path: Path) -> None:
    """Threads stay as many as they were, however many streams are open; 200 here, 1,000 in `make bench`."""
    silent = "mock+fault=silent"
    more = {"UPSTREAM_GAP_SECONDS": "60", "UPSTREAM_FIRST_BYTE_SECONDS": "60", "RUN_DEADLINE_SECONDS": "60"}
    with running_service(tmp_path, server=server, upstream=upstream.url, models=[silent], **more) as service:
        if service.threads() is None:
            pytest.skip("threads are counted in /proc, which only Linux has")
        async with asyncio.TaskGroup() as group:
            opened = asyncio.Semaphore(0)

            async def hold() -> None:
                async with service.opened(question(silent)) as response:
                    await read_events(response, ROUTING_EVENTS)
                    opened.release()
                    await response.content.read()

            streams = [group.create_task(hold()) for _ in range(200)]
            for _ in streams:
                await opened.acquire()
            threads = service.threads()
            for stream in streams:
                stream.cancel()
        assert threads is not None and threads <= 32


def _serve(folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    full = environment(folder, **env)
    command = [sys.executable, "manage.py", "serve"]
    return subprocess.run(command, cwd=ROOT, env=full, capture_output=True, text=True, timeout=30, check=False)


def test_a_taken_port_is_said(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = _serve(tmp_path, PORT=str(taken.getsockname()[1]))
    assert done.returncode != 0
    assert "Choose another: PORT=" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [("PORT", "many"), ("EMBEDDED_MODEL", "maybe"), ("OPENAI_BASE_URL", "localhost:1"), ("RUN_GRACE_SECONDS", "-1")],
)
def test_a_wrong_variable_is_named(tmp_path: Path, name: str, value: str) -> None:
    done = _serve(tmp_path, **{name: value})
    assert done.returncode != 0
    assert f"{name} should be" in done.stderr and value not in done.stderr.splitlines()[-1].replace(name, "")


def test_runserver_is_daphne() -> None:
    command = [sys.executable, "manage.py", "runserver", "--help"]
    env = os.environ | {"SECRET_KEY": "x"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=30, check=False)
    assert "ASGI" in done.stdout
