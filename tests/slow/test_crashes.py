"""A thousand deaths in the middle of calls: no row lost, none doubled."""

import secrets
from pathlib import Path

import pytest

from tests.usage.conftest import database_url, postgres  # noqa: F401 - fixtures
from tests.usage.test_processes import assert_exact, killed

TRIALS = 1_000


@pytest.mark.slow
def test_a_thousand_kills(database_url: str, tmp_path: Path) -> None:  # noqa: F811 - the fixture
    seed = secrets.randbelow(10**6)
    result = killed(TRIALS, seed, database_url, tmp_path / "victims")
    print(f"seed {seed}: {result}")  # noqa: T201 - the figures of the run
    assert_exact(result)
