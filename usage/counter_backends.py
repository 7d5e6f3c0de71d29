"""Which running counters this process reads (`usage.counters`): the platform's if it has its tables, else ours."""

from django.utils.module_loading import import_string

from usage.counters import Counters
from usage.own_counters import OwnCounters
from usage.platform.tables import platform_tables

PLATFORM = "usage.platform.counters.PlatformCounters"


def get_counters() -> Counters:
    """Raises ConfigurationError if only some of the platform's tables are named."""
    tables = platform_tables()
    if tables is None:
        return OwnCounters()
    # By its name: it brings what a service that stands alone does not need.
    counters: Counters = import_string(PLATFORM)(tables)
    return counters
