"""A job is done once when it is due, whoever dies or is away meanwhile."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.test import Client
from structlog.testing import capture_logs

from accounts.models import User
from amplify_chat.env import read_env
from amplify_chat.platform_jobs import IMPORT, ROLL, every, platform_jobs
from core.aio import BlockingPool
from core.dynamodb import DynamoFailed
from core.errors import ConfigurationError
from tests.usage.conftest import at_once
from tests.usage.platform import PlatformBooks
from tests.usage.test_imports import HEAD
from usage.jobs import LEASE, MISSED, PAUSE_AFTER_FAILURE, SAY_EVERY, Job, JobFailed, Jobs, Turn
from usage.models import ScheduledJob, UsageRecord
from usage.platform import nightly
from usage.platform.tables import PlatformTables
from usage.testing import Clock

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)


class AtHand(BlockingPool):
    """Blocking work at once, in the test's own transaction."""

    def __init__(self) -> None:
        super().__init__("unused", threads=1)

    run = staticmethod(at_once)  # type: ignore[assignment]


class Work:
    """A job's work that is counted, and whatever is put into `does` happens while it goes on."""

    def __init__(self) -> None:
        self.times = 0
        self.does: Callable[[Turn], None] = lambda _: None

    async def __call__(self, turn: Turn) -> str:
        self.times += 1
        self.does(turn)
        return f"done {self.times}"


@pytest.fixture
async def at_hand(monkeypatch: pytest.MonkeyPatch, own_connection: BaseDatabaseWrapper) -> BlockingPool:
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    connections["default"] = own_connection  # on a loop there would be another
    return AtHand()


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.fixture
def process(work: Work, clock: Clock, at_hand: BlockingPool) -> Callable[[], Jobs]:
    """One more process that has the job."""
    return lambda: Jobs([Job("job", partial(every, HOUR, timedelta(0)), work)], clock=clock, pool=at_hand)


def raises(error: Exception) -> Callable[[Turn], None]:
    def raising(turn: Turn) -> None:
        raise error

    return raising


async def test_it_is_done_when_it_is_due_and_by_one(process: Callable[[], Jobs], work: Work, clock: Clock) -> None:
    one, other = process(), process()
    await one.round()
    assert work.times == 0
    clock.now += HOUR
    for jobs in (one, other, one):
        await jobs.round()
    assert work.times == 1
    job = ScheduledJob.objects.get()
    assert (job.report, job.error, job.done_at, job.taken_until) == ("done 1", "", clock(), None)
    assert clock() < job.due_at <= clock() + HOUR
    clock.now += HOUR
    await other.round()
    assert work.times == 2


async def test_while_one_is_at_it_no_other_begins(process: Callable[[], Jobs], work: Work, clock: Clock) -> None:
    one, other = process(), process()
    await one.round()
    clock.now += HOUR

    def long(turn: Turn) -> None:
        for _ in range(10):  # longer than the lease, but it says so
            clock.now += SAY_EVERY
            turn.check()
            assert not ScheduledJob.objects.filter(taken_until__lte=clock()).exists()

    work.does = long
    await one.round()
    assert (work.times, ScheduledJob.objects.get().report) == (1, "done 1")
    work.does = lambda _: None
    await other.round()
    assert work.times == 1


async def test_who_dies_at_it_is_followed(process: Callable[[], Jobs], work: Work, clock: Clock) -> None:
    one, other = process(), process()
    await one.round()
    clock.now += HOUR

    class Died(BaseException):
        pass

    work.does = raises(Died())  # type: ignore[arg-type]
    with pytest.raises(Died):
        await one.round()
    work.does = lambda _: None
    await other.round()
    assert work.times == 1, "it could still be alive"
    clock.now += LEASE
    await other.round()
    assert (work.times, ScheduledJob.objects.get().report) == (2, "done 2")


async def test_who_was_away_too_long_leaves_it(process: Callable[[], Jobs], work: Work, clock: Clock) -> None:
    one = process()
    await one.round()
    clock.now += HOUR
    taken = datetime(2031, 1, 1, tzinfo=UTC)

    def slept(turn: Turn) -> None:
        clock.now += 2 * LEASE
        ScheduledJob.objects.update(taken_until=taken)  # by another
        turn.check()

    work.does = slept
    await one.round()
    job = ScheduledJob.objects.get()
    assert (job.taken_until, job.done_at, job.error) == (taken, None, ""), "what the other does is left alone"


async def test_a_failure_is_told_and_tried_again(process: Callable[[], Jobs], work: Work, clock: Clock) -> None:
    jobs = process()
    await jobs.round()
    clock.now += HOUR
    work.does = raises(JobFailed("the table is away"))
    await jobs.round()
    job = ScheduledJob.objects.get()
    assert (job.error, job.due_at, job.taken_until) == ("the table is away", clock() + PAUSE_AFTER_FAILURE, None)
    work.does = raises(ValueError("canary-secret"))
    clock.now += PAUSE_AFTER_FAILURE
    with capture_logs() as logs:
        await jobs.round()
    assert ScheduledJob.objects.get().error == "ValueError" and "canary" not in str(logs)
    work.does = lambda _: None
    clock.now += PAUSE_AFTER_FAILURE
    await jobs.round()
    assert (ScheduledJob.objects.get().error, ScheduledJob.objects.get().report) == ("", "done 3")


async def test_who_stops_gives_it_back(process: Callable[[], Jobs], work: Work, clock: Clock) -> None:
    one, other = process(), process()
    await one.round()
    clock.now += HOUR

    def stopped(turn: Turn) -> None:
        turn.stopping.set()
        turn.check()

    work.does = stopped
    await one.round()
    work.does = lambda _: None
    await other.round()
    assert (work.times, ScheduledJob.objects.get().report) == (2, "done 2")


async def test_what_was_switched_off_waits_for_its_time(process: Callable[[], Jobs], work: Work, clock: Clock) -> None:
    await process().round()
    clock.now += MISSED + 2 * HOUR
    await process().round()
    assert work.times == 0
    assert clock() < ScheduledJob.objects.get().due_at <= clock() + HOUR


async def test_it_looks_by_itself_and_stops_at_once(process: Callable[[], Jobs]) -> None:
    jobs = process()
    jobs.start()
    await jobs.aclose()


@pytest.mark.parametrize(
    ("now", "hours", "due"),
    [
        ("2026-03-03T23:59:59", 24, "2026-03-04T00:00:30"),
        ("2026-03-04T00:00:30", 24, "2026-03-05T00:00:30"),
        ("2026-03-04T00:00:10", 6, "2026-03-04T00:00:30"),
        ("2026-03-04T13:00:00", 6, "2026-03-04T18:00:30"),
    ],
)
def test_the_grid(now: str, hours: int, due: str) -> None:
    moment = datetime.fromisoformat(f"{now}+00:00")
    assert every(timedelta(hours=hours), timedelta(seconds=30), moment) == datetime.fromisoformat(f"{due}+00:00")


SWITCHED_ON = {"ROLL_PLATFORM_COSTS": "on", "IMPORT_PLATFORM_USAGE_HOURS": "6"}


def test_nothing_is_done_that_was_not_asked_for(tables: PlatformTables) -> None:
    assert platform_jobs(read_env({}), tables) == []


def test_without_a_platform_there_is_nothing_to_do() -> None:
    with pytest.raises(ConfigurationError, match="STATE_BACKEND=dynamodb"):
        platform_jobs(read_env(SWITCHED_ON), None)


async def test_both_jobs_on_the_platforms_tables(
    platform: PlatformBooks,
    tables: PlatformTables,
    clock: Clock,
    at_hand: BlockingPool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("core.remembered.run_blocking", at_once)
    platform.put("usage", **HEAD)
    platform.put("costs", id="jdoe@example.edu", accountInfo="general_account#NA", dailyCost=2)
    jobs = Jobs(platform_jobs(read_env(SWITCHED_ON), tables), clock=clock, pool=at_hand)
    await jobs.round()
    assert not UsageRecord.objects.exists()
    clock.now += timedelta(days=1)
    await jobs.round()
    reports = dict(ScheduledJob.objects.values_list("name", "report"))
    assert reports == {IMPORT: "1 rows read, 1 brought in", ROLL: "1 counters begin a new day, $2.00 moved"}
    assert UsageRecord.objects.get().model_id == HEAD["modelId"]
    assert platform.counter("jdoe@example.edu", "general_account#NA")["monthlyCost"] == 2


async def test_a_table_that_is_away(
    tables: PlatformTables, clock: Clock, at_hand: BlockingPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*args: Any, **options: Any) -> Any:
        raise DynamoFailed("costs", "Scan", "EndpointConnectionError")

    monkeypatch.setattr(nightly, "roll", away)
    jobs = Jobs(platform_jobs(read_env({"ROLL_PLATFORM_COSTS": "on"}), tables), clock=clock, pool=at_hand)
    await jobs.round()
    clock.now += timedelta(days=1)
    await jobs.round()
    error = "The platform's tables do not answer: Scan on costs: EndpointConnectionError"
    assert ScheduledJob.objects.get().error == error


@pytest.mark.usefixtures("tables")
def test_operators_see_them(client: Client, clock: Clock) -> None:
    client.force_login(User.objects.create_superuser("root"))
    ScheduledJob.objects.create(name=ROLL, due_at=clock(), report="3 counters begin a new day")
    text = client.get("/admin/usage/scheduledjob/").content.decode()
    assert "3 counters begin a new day" in text and "Scheduled jobs" in client.get("/admin/").content.decode()
