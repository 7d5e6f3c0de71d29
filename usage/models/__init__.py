"""What is kept: the ledger, its sums, our own prices, budgets and what is reserved against them, what the platform has
still to hear of, and the jobs of the night."""

from usage.models.budgets import Budget, Reservation
from usage.models.jobs import ScheduledJob
from usage.models.ledger import GroupSetMember, Outcome, Purpose, UsageRecord
from usage.models.platform import Delivery, PlatformImport
from usage.models.prices import Price
from usage.models.review import Overview
from usage.models.sums import Combination, Dimension, PooledCombination, RollUp, Span

__all__ = [
    "Budget",
    "Combination",
    "Delivery",
    "Dimension",
    "GroupSetMember",
    "Outcome",
    "Overview",
    "PlatformImport",
    "PooledCombination",
    "Price",
    "Purpose",
    "Reservation",
    "RollUp",
    "ScheduledJob",
    "Span",
    "UsageRecord",
]
