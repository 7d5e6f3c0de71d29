"""Hundreds of deaths in the middle of delivering: the platform's books equal the ledger, to the micro-dollar."""

import secrets
from pathlib import Path

import pytest

from tests.moto import ISOLATED_MOTO, running_moto
from tests.usage.conftest import database_url, postgres  # noqa: F401 - fixtures
from tests.usage.platform import PlatformBooks
from tests.usage.test_deliverers import assert_exact, beside_platform, done

TRIALS = 500


@pytest.mark.slow
def test_five_hundred_kills(database_url: str, tmp_path: Path) -> None:  # noqa: F811 - the fixture
    seed = secrets.randbelow(10**6)
    with running_moto(ISOLATED_MOTO) as url:
        env = beside_platform(PlatformBooks(url), database_url)
        print(f"seed {seed}: {done(env, 'crash', TRIALS, seed)}")  # noqa: T201 - the figures of the run
        print(f"{assert_exact(env)} calls")  # noqa: T201 - the figures of the run
