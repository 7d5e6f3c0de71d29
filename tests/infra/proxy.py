"""HAProxy in front of two services, as the load balancer stands before two tasks; told what to do while it runs."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tests.infra.ports import free_port

HAPROXY = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
WAIT_SECONDS = 20.0

# Least outstanding requests, readiness asked for on /readyz, the same idle time as the load balancer's. No request is
# sent twice: what a client sees is what the service did.
CONFIG = """
global
    stats socket {admin} mode 600 level admin
defaults
    mode http
    retries 0
    timeout connect 5s
    timeout client 120s
    timeout server 120s
    timeout check 5s
frontend door
    bind 127.0.0.1:{port}
    default_backend chat
backend chat
    balance leastconn
    option httpchk GET /readyz
    http-response set-header X-Task %s
    default-server check inter 100ms fall 1 rise 1 disabled
    server one 127.0.0.1:1
    server two 127.0.0.1:1
"""


@dataclass(frozen=True)
class Proxy:
    """`url` is the door. A task is named `one` or `two`."""

    url: str
    admin: Path

    def take_in(self, task: str, url: str) -> None:
        """Register a task; it gets requests once it says that it is ready."""
        address = urlsplit(url)
        self.tell(f"set server chat/{task} addr {address.hostname} port {address.port}")
        # Down until its own answer says otherwise: HAProxy would send requests before the first check.
        self.tell(f"set server chat/{task} health down")
        self.tell(f"enable server chat/{task}")
        self.wait_for(task, "UP")

    def deregister(self, task: str) -> None:
        """No new requests; those that it has go on."""
        self.tell(f"set server chat/{task} state drain")
        self.wait_for(task, "DRAIN")

    def status(self, task: str) -> str:
        return self._row(task)["status"]

    def sessions(self, task: str) -> int:
        """How many requests it has now."""
        return int(self._row(task)["scur"])

    def wait_for(self, task: str, status: str) -> None:
        deadline = time.monotonic() + WAIT_SECONDS
        while not self.status(task).startswith(status):
            assert time.monotonic() < deadline, self._row(task)
            time.sleep(0.02)  # polls a fact of another process

    def _row(self, task: str) -> dict[str, str]:
        names, *rows = (line.split(",") for line in self.tell("show stat").lstrip("# ").splitlines() if line)
        return next(row for row in (dict(zip(names, row, strict=False)) for row in rows) if row["svname"] == task)

    def tell(self, command: str) -> str:
        with socket.socket(socket.AF_UNIX) as admin:
            admin.connect(str(self.admin))
            admin.sendall(f"{command}\n".encode())
            return b"".join(iter(lambda: admin.recv(65536), b"")).decode().strip()


@contextmanager
def running_proxy() -> Iterator[Proxy]:
    assert HAPROXY is not None
    # Not in pytest's folder: the path of a Unix socket may have 107 characters.
    with tempfile.TemporaryDirectory() as folder:
        port, admin, config = free_port(), Path(folder) / "admin", Path(folder) / "haproxy.cfg"
        config.write_text(CONFIG.format(port=port, admin=admin))
        process = subprocess.Popen([HAPROXY, "-db", "-q", "-f", str(config)], env=dict(os.environ))
        try:
            deadline = time.monotonic() + WAIT_SECONDS
            while not admin.exists():
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.02)  # polls a fact of another process
            yield Proxy(f"http://127.0.0.1:{port}", admin)
        finally:
            process.terminate()
            process.wait(5)
