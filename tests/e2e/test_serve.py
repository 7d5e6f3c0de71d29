"""Starting and stopping: drains, refuses, says what is wrong; on both servers."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Origin

from bench.upstream.testing import Upstream
from tests.e2e.conftest import LONG, PACED, SHORT
from tests.e2e.test_runs import ROUTING_EVENTS
from tests.harness import (
    ROOT,
    Service,
    environment,
    events_of,
    manage,
    question,
    read_events,
    running_service,
    texts,
    wait_until,
)

# Long enough for three more requests on a machine that is busy.
SECONDS_LONG = "mock+tokens=200+gap=20+text=plain"
MODELS = [SHORT, PACED, LONG, SECONDS_LONG]


async def test_a_drain_cuts_nothing_and_lets_nothing_in(server: str, upstream: Upstream, tmp_path: Path) -> None:
    with running_service(tmp_path, server=server, upstream=upstream.url, models=MODELS) as service:
        async with (
            connect(service.ws_url, additional_headers=service.headers()) as idle,
            service.opened(question(SECONDS_LONG)) as response,
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
        assert texts(seen + rest) == "".join(f"w{n} " for n in range(200))
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
    # One line, which names the variable and does not repeat its value: that may be a secret in the wrong place.
    assert done.stderr.startswith(f"Cannot start: {name} should be")
    assert "Traceback" not in done.stderr and value not in done.stderr.replace(name, "")


def test_runserver_is_daphne() -> None:
    command = [sys.executable, "manage.py", "runserver", "--help"]
    env = os.environ | {"SECRET_KEY": "x"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=30, check=False)
    assert "ASGI" in done.stdout


async def test_origins_that_are_listed_and_that_are_not(server: str, upstream: Upstream, tmp_path: Path) -> None:
    ours, other = "https://chat.example.edu", "https://evil.example"
    with running_service(
        tmp_path, server=server, upstream=upstream.url, models=MODELS, ALLOWED_ORIGINS=ours
    ) as service:
        allowed = await service.chat(SHORT, headers={"Origin": ours})
        assert allowed.headers["Access-Control-Allow-Origin"] == ours
        assert allowed.headers["Access-Control-Allow-Credentials"] == "true"
        assert "Access-Control-Allow-Origin" not in (await service.chat(SHORT, headers={"Origin": other})).headers
        async with connect(service.ws_url, additional_headers=service.headers(), origin=Origin(ours)):
            pass
        with pytest.raises(InvalidStatus) as refused:
            async with connect(service.ws_url, additional_headers=service.headers(), origin=Origin(other)):
                pass
        assert refused.value.response.status_code == 403


async def test_a_session_counts_only_for_our_own_pages(server: str, upstream: Upstream, tmp_path: Path) -> None:
    with running_service(tmp_path, server=server, upstream=upstream.url, models=MODELS) as service:
        password = {"DJANGO_SUPERUSER_PASSWORD": "a long password"}
        manage(service.env | password, "createsuperuser", "--noinput", "--username", "ada", "--email", "a@example.edu")
        cookie = await _signed_in_cookie(service, "ada", "a long password")

        async def ask(**headers: str) -> int:
            return (await service.chat(SHORT, headers={"Authorization": "", "Cookie": cookie, **headers})).status

        assert await ask(Origin=service.url) == 200
        assert await ask(Origin="https://evil.example") == 401
        assert await ask() == 401
        with_cookie = {"Cookie": cookie}
        async with connect(service.ws_url, additional_headers=with_cookie, origin=Origin(service.url)) as socket:
            assert "ada" in str(await socket.recv())
        evil = Origin("https://evil.example")
        async with connect(service.ws_url, additional_headers=with_cookie, origin=evil) as socket:
            await socket.send('{"type":"run.cancel","run":"x"}')
            assert "unauthorized" in str(await socket.recv())


async def _signed_in_cookie(service: Service, name: str, password: str) -> str:
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(cookie_jar=jar) as session:
        page = await (await session.get(f"{service.url}/login/")).text()
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
        assert token is not None
        form = {"username": name, "password": password, "csrfmiddlewaretoken": token.group(1), "next": "/"}
        referer = {"Referer": f"{service.url}/login/"}
        async with session.post(f"{service.url}/login/", data=form, headers=referer) as answer:
            assert answer.status == 200 and answer.url.path == "/"
            await answer.read()
        return "; ".join(f"{morsel.key}={morsel.value}" for morsel in jar)


async def test_a_socket_does_not_outlive_its_key(server: str, upstream: Upstream, tmp_path: Path) -> None:
    with running_service(tmp_path, server=server, upstream=upstream.url, models=MODELS) as service:
        async with connect(service.ws_url, additional_headers=service.headers()) as socket:
            await socket.recv()
            service.sql("UPDATE accounts_apikey SET active = 0")
            await asyncio.sleep(1.1)  # the promised time, in which a key is remembered
            await socket.send('{"type":"run.cancel","run":"x"}')
            assert "inactive" in str(await socket.recv())
            with pytest.raises(ConnectionClosed):
                await socket.recv()


@pytest.mark.parametrize("content", ["{", '{"models":[{"m":{}}]}'])
def test_a_wrong_endpoints_file_is_explained(tmp_path: Path, content: str) -> None:
    path = tmp_path / "endpoints.json"
    path.write_text(content)
    done = _serve(tmp_path, LLM_ENDPOINTS_FILE=str(path))
    assert done.returncode != 0
    assert "LLM_ENDPOINTS_FILE: " in done.stderr and "Traceback" not in done.stderr


async def test_models_from_an_endpoints_file_and_from_a_list(server: str, upstream: Upstream, tmp_path: Path) -> None:
    path = tmp_path / "endpoints.json"
    endpoint = {"url": f"{upstream.url}/chat/completions", "key": "k"}
    path.write_text(json.dumps({"models": [{"mock+tokens=2+text=plain": {"endpoints": [endpoint, endpoint]}}]}))
    # Without OPENAI_MODELS, the server is asked for its list.
    more = {"OPENAI_BASE_URL": upstream.url, "LLM_ENDPOINTS_FILE": str(path)}
    with running_service(tmp_path / "run", server=server, **more) as service:
        assert (await service.chat("mock+tokens=2+text=plain")).text == "w0 w1 "
        assert (await service.chat(SHORT)).text == "w0 w1 w2 "
