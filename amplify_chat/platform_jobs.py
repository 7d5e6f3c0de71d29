"""What the service does at night beside an Amplify platform, where it is told to; the commands do the same by hand."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial

from amplify_chat.env import Env
from amplify_chat.platform import platform_models
from core.dynamodb import DynamoFailed
from core.errors import ConfigurationError
from llm.events import Usage
from llm.model import ModelCard
from llm.shipped import known_card
from usage.jobs import Job, JobFailed, Turn
from usage.limits import dollars
from usage.platform import nightly
from usage.platform.imports import Importer
from usage.platform.imports import Report as Imported
from usage.platform.tables import PlatformTables
from usage.prices import PRICES, Cost

ROLL, IMPORT = "roll_platform_costs", "import_platform_usage"
# A little after midnight, as clocks differ; calls are delivered again from ten past on.
AFTER_MIDNIGHT = timedelta(seconds=30)
# The first import of a day: by then the night's other work is done.
AFTER_THE_NIGHT = timedelta(minutes=90)


def platform_jobs(env: Env, tables: PlatformTables | None) -> list[Job]:
    """Those that are switched on. Raises ConfigurationError where there is no platform for them."""
    hours = env.import_platform_usage_hours
    if not env.roll_platform_costs and not hours:
        return []
    if tables is None:
        raise ConfigurationError(
            "ROLL_PLATFORM_COSTS and IMPORT_PLATFORM_USAGE_HOURS are for a service beside an Amplify platform: set "
            "STATE_BACKEND=dynamodb and the tables' names, or leave both away."
        )
    found = []
    if env.roll_platform_costs:
        found.append(Job(ROLL, partial(every, timedelta(days=1), AFTER_MIDNIGHT), partial(_roll, tables)))
    if hours:
        due = partial(every, timedelta(hours=hours), AFTER_THE_NIGHT)
        found.append(Job(IMPORT, due, partial(_import, env, tables)))
    return found


def every(step: timedelta, after_midnight: timedelta, now: datetime) -> datetime:
    """The first time after `now` on a grid through that time of the day, UTC; `step` parts a day."""
    first = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + after_midnight
    return first + ((now - first) // step + 1) * step


async def _roll(tables: PlatformTables, turn: Turn) -> str:
    with _in_words():
        report = await turn.blocking(nightly.roll, tables, turn.clock(), check=turn.check)
    if report.failed:
        raise JobFailed(f"{sum(report.failed.values()):,} counters were left: see counter_not_rolled in the log.")
    return f"{report.rolled:,} counters begin a new day, ${dollars(report.micro_dollars)} moved"


async def _import(env: Env, tables: PlatformTables, turn: Turn) -> str:
    await PRICES.refresh()

    def bring_in() -> Imported:
        return importer(env, tables).run(None, progress=lambda _: turn.check())

    with _in_words():
        report = await turn.blocking(bring_in)
    return f"{report.read:,} rows read, {report.new:,} brought in"


@contextmanager
def _in_words() -> Iterator[None]:
    try:
        yield
    except (DynamoFailed, OSError) as error:
        raise JobFailed(f"The platform's tables do not answer: {error}") from error


def importer(env: Env, tables: PlatformTables) -> Importer:
    """Priced by the platform's own models, which say who answers them, and then by our list. Blocks."""
    platform = platform_models(env)
    cards = {} if platform is None else {name: entry.card for name, entry in platform.table().entries.items()}
    return Importer(tables, _priced(cards))


def _priced(cards: dict[str, ModelCard]) -> Callable[[str, Usage, datetime], tuple[ModelCard, Cost]]:
    def priced(model_id: str, usage: Usage, moment: datetime) -> tuple[ModelCard, Cost]:
        card = cards.get(model_id) or known_card(model_id, provider="")
        return card, PRICES.cost_of(card, usage, now=moment)

    return priced
