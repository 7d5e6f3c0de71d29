"""A server that plays AWS, in a process of its own."""

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile

from tests.harness import START_SECONDS

REGION = "eu-west-1"
MOTO = "from moto.server import main; main(['-H', '127.0.0.1', '-p', '0'])"
ISOLATED_MOTO = """
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple
run_simple("127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=False)
"""
"""Answers one request after the other. DynamoDB's transactions are isolated; moto undoes a failed one by putting back
the tables as they were before it, and with several threads what others have written meanwhile would be gone."""


@contextmanager
def running_moto(program: str = MOTO) -> Iterator[str]:
    """The address of a moto server of its own process."""
    with NamedTemporaryFile() as log:
        process = subprocess.Popen([sys.executable, "-c", program], stderr=log.fileno(), stdout=subprocess.DEVNULL)
        try:
            yield _address(process, Path(log.name))
        finally:
            process.terminate()
            process.wait(10)


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if found := re.search(r"Running on (http://\S+)", log.read_text()):
            return found.group(1)
        assert process.poll() is None, log.read_text()
        time.sleep(0.02)  # polls another process's log
    raise AssertionError(f"moto did not start: {log.read_text()}")
