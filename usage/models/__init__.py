"""What is kept: the ledger, its sums, our own prices, budgets and what is reserved against them."""

from usage.models.budgets import Budget, Reservation
from usage.models.ledger import GroupSetMember, Outcome, Purpose, UsageRecord
from usage.models.prices import Price
from usage.models.review import Overview
from usage.models.sums import Combination, Dimension, RollUp, Span, UsageDay

__all__ = [
    "Budget",
    "Combination",
    "Dimension",
    "GroupSetMember",
    "Outcome",
    "Overview",
    "Price",
    "Purpose",
    "Reservation",
    "RollUp",
    "Span",
    "UsageDay",
    "UsageRecord",
]
