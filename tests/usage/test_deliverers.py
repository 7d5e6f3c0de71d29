"""What only processes side by side can show of deliveries, on both databases: two at once, deaths between any steps."""

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.databases import ROOT, environment
from tests.moto import REGION
from tests.usage.platform import PlatformBooks

CALLS = 50


@pytest.fixture
def env(moto: str, database_url: str) -> dict[str, str]:
    """Of processes that keep the platform's books, new ones, from a new database."""
    return beside_platform(PlatformBooks(moto), database_url)


def beside_platform(books: PlatformBooks, database_url: str) -> dict[str, str]:
    return environment(database_url) | books.env | {
        "STATE_BACKEND": "dynamodb", "AMPLIFY_ADMIN_DYNAMODB_TABLE": books.names["admin"], "AWS_REGION": REGION,
        "AWS_ENDPOINT_URL": books.url, "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x",
    }  # fmt: skip


def started(env: dict[str, str], *arguments: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.usage.deliverers", *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, env=env, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def done(env: dict[str, str], *arguments: Any) -> str:
    process = started(env, *arguments)
    said, errors = process.communicate()
    assert process.returncode == 0, errors
    return said


def assert_exact(env: dict[str, str]) -> int:
    """Both books say the same; returns how many calls they hold."""
    result = json.loads(done(env, "audit"))
    assert (result["waiting"], result["wrong"]) == (0, []), result
    return int(result["rows"])


def test_two_processes_that_deliver_the_same_calls_count_each_once(env: dict[str, str]) -> None:
    """Fifty calls of one user at the same time, all in one counter; what one has claimed the other takes as well."""
    done(env, "write", CALLS)
    processes = [started(env, "race") for _ in range(2)]
    for process in processes:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    assert assert_exact(env) == CALLS


def test_a_process_that_is_killed_while_it_delivers_counts_each_call_once(env: dict[str, str]) -> None:
    killed = json.loads(done(env, "crash", 15, 1))
    assert any(killed["left"]) and killed["told"] > 0, "nobody was killed in the middle"
    assert assert_exact(env) > 15
