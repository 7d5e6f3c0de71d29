"""Running counters out of our own sums: the contract, on both databases that we keep books in, and what they cost."""

import subprocess
import sys
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext

from accounts.principal import GENERAL_ACCOUNT
from tests.databases import ROOT, environment, postgres_database
from usage.counter_backends import get_counters
from usage.counters import Counters, Payer
from usage.counters_testing import NOW, CountersContract, someone
from usage.ledger import write
from usage.models import UsageRecord
from usage.own_counters import OwnCounters

pytestmark = pytest.mark.django_db


def spend_here(
    user_id: str,
    micro_dollars: int,
    *,
    at: datetime,
    account_id: str = GENERAL_ACCOUNT,
    api_key_id: str = "",
    **more: Any,
) -> None:
    write(
        [
            UsageRecord(
                call_id=uuid.uuid4(), run_id="run_1", user_id=user_id, account_id=account_id, api_key_id=api_key_id,
                provider="p", micro_dollars=micro_dollars, outcome="finished", started_at=at, ended_at=at,
                **{"model_id": "m"} | more,
            )
        ]
    )  # fmt: skip


class TestOwnCounters(CountersContract):
    @pytest.fixture
    def counters(self) -> Counters:
        return OwnCounters(lambda: NOW)

    @pytest.fixture
    def spend(self) -> Callable[..., None]:
        return spend_here

    @pytest.fixture
    def pull(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
        def away(*_: Any, **__: Any) -> Any:
            raise OperationalError("pulled")

        return lambda: monkeypatch.setattr(connection, "cursor", away)


def test_several_models_and_purposes_are_one_counter() -> None:
    ann = someone()
    for model in ("m", "n"):
        for purpose in ("answer", "title"):
            spend_here(ann, 10, at=NOW, model_id=model, purpose=purpose)
    assert [(one.payer, one.today, one.hourly[12]) for one in OwnCounters(lambda: NOW).of_user(ann)] == [
        (Payer(GENERAL_ACCOUNT, ""), 40, 40)
    ]


def test_keys_that_were_silent_today_take_no_hours() -> None:
    ann = someone()
    spend_here(ann, 3, at=NOW - timedelta(days=1), api_key_id="ann/ownerKey/1", account_id="a")
    spend_here(ann, 5, at=NOW, account_id="b")
    silent, spent = OwnCounters(lambda: NOW).of_user(ann)
    assert (sum(silent.hourly), silent.month, sum(spent.hourly)) == (0, 3, 5)


def test_a_page_costs_the_same_queries_however_many_stand_on_it() -> None:
    for number in range(40):
        spend_here(f"user-{number:03}", 1, at=NOW, api_key_id=f"user-{number:03}/ownerKey/1")
    counters = OwnCounters(lambda: NOW)
    for users in (1, 40):
        with CaptureQueriesContext(
            connection,
        ) as asked:
            assert len(counters.page("", users).counters) == users
        assert len(asked) == 3
        assert not any("usage_usagerecord" in query["sql"] for query in asked)
    with CaptureQueriesContext(connection) as asked:
        counters.of_user("user-001")
        counters.months_of("user-001", NOW.date())
        counters.months_by_payer("user-001", NOW.date())
    assert len(asked) == 4


def test_which_counters_are_read_is_the_tables_to_say(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(get_counters(), OwnCounters)
    given: list[object] = []
    monkeypatch.setattr("usage.counter_backends.platform_tables", lambda: "the platform's tables")
    monkeypatch.setattr("usage.counter_backends.import_string", lambda name: given.append(name) or given.append)
    get_counters()
    assert given == ["usage.platform.counters.PlatformCounters", "the platform's tables"]


def test_the_contract_holds_on_postgresql(postgres: tuple[object, Path]) -> None:
    """In a process of its own, as Django knows one database."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"{__file__}::TestOwnCounters"]
    done = subprocess.run(
        command, cwd=ROOT, env=environment(postgres_database(*postgres)), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-4_000:] + done.stderr[-2_000:]
