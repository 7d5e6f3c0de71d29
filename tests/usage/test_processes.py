"""What only processes side by side can show, on both databases: a race for the last room, and deaths in mid-call."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.databases import ROOT, environment

PROCESSES = 2
CALLS = 50


def command(*arguments: Any) -> list[str]:
    return [sys.executable, "-m", "tests.usage.processes", *map(str, arguments)]


def test_a_hundred_calls_race_for_room_for_ten(database_url: str) -> None:
    """From two processes, let go at once; the user has never been seen before. There is room for ten and a bit."""
    estimate, limit = 1_000, 10_900
    processes = [
        subprocess.Popen(
            command("race", CALLS, limit, estimate),
            cwd=ROOT, env=environment(database_url), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for _ in range(PROCESSES)
    ]  # fmt: skip
    for process in processes:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [json.loads(process.communicate(timeout=120)[0]) for process in processes]
    assert [process.returncode for process in processes] == [0] * PROCESSES
    assert sum(answer.get("in", 0) for answer in answers) == 10
    assert sum(answer.get("BudgetExceeded", 0) for answer in answers) == PROCESSES * CALLS - 10


def killed(trials: int, seed: int, url: str, folder: Path) -> dict[str, Any]:
    done = subprocess.run(
        command("crash", trials, seed, folder),
        cwd=ROOT,
        env=environment(url),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout) | {"log": done.stderr[-2_000:]}
    return result


def assert_exact(result: dict[str, Any]) -> None:
    """Exactly one row for every call that the vendor saw, and nothing left over."""
    faults = ("lost", "doubled", "told but not finished", "reservations", "journals", "differences")
    assert {name: result[name] for name in faults} == dict.fromkeys(faults, 0), result
    assert result["called"] > 0


def test_a_process_that_is_killed_leaves_one_row_for_each_call(database_url: str, tmp_path: Path) -> None:
    assert_exact(killed(20, 1, database_url, tmp_path / "victims"))
