"""Budgets, and the reservations that calls under way hold against them."""

from typing import ClassVar

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from accounts.limits import Period
from usage.models.ledger import Purpose


class Budget(models.Model):
    """What may be spent in a period. Every budget that applies to a call must have room for it."""

    class AppliesTo(models.TextChoices):
        EACH_USER = "each_user", "each user"
        USER = "user", "one user"
        KEY = "key", "an API key"
        GROUP_MEMBER = "group_member", "each member of a group"
        GROUP = "group", "a group together"
        ACCOUNT = "account", "an account"
        ALL = "all", "everybody together"

    applies_to = models.CharField(max_length=16, choices=AppliesTo.choices)
    subject = models.CharField(
        max_length=600,
        blank=True,
        help_text="The id of the user, key, group or account; empty for each user and for everybody together.",
    )
    period = models.CharField(
        max_length=8, choices=[(period.value, period.value) for period in Period], help_text="Periods begin in UTC."
    )
    micro_dollars = models.BigIntegerField(
        "limit", validators=[MinValueValidator(0)], help_text="Millionths of a US dollar: 50000000 is $50."
    )
    warn_at_percent = models.PositiveSmallIntegerField(
        "warn at",
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(100)],
        help_text="Per cent of the limit from which on the log warns. Empty: never.",
    )
    active = models.BooleanField(default=True)
    note = models.CharField(max_length=500, blank=True, help_text="Why, and who decided it.")
    created_by = models.CharField(max_length=255, blank=True, editable=False)
    created_at = models.DateTimeField("created", auto_now_add=True)
    changed_at = models.DateTimeField("changed", auto_now=True)

    class Meta:
        ordering: ClassVar = ["applies_to", "subject", "period", "id"]
        constraints: ClassVar = [
            models.CheckConstraint(condition=models.Q(micro_dollars__gte=0), name="usage_budget_not_negative"),
            models.CheckConstraint(
                condition=models.Q(period__in=[period.value for period in Period]),
                name="usage_budget_period_known",
            ),
            models.CheckConstraint(
                condition=models.Q(applies_to__in=["each_user", "all"], subject="")
                | (
                    models.Q(applies_to__in=["user", "key", "group_member", "group", "account"]) & ~models.Q(subject="")
                ),
                name="usage_budget_has_subject",
                violation_error_message="Name the user, key, group or account; leave it empty for all of them.",
            ),
        ]

    def __str__(self) -> str:
        whom = self.get_applies_to_display()
        return f"{whom} {self.subject}: {self.period}" if self.subject else f"{whom}: {self.period}"


class Reservation(models.Model):
    """A call under way: what it is expected to cost, and enough to book it if its process dies.

    Becomes a ledger row of the same `call_id`, in one transaction with its own removal.
    """

    call_id = models.UUIDField(primary_key=True, editable=False)
    run_id = models.CharField("run", max_length=64)
    request_id = models.CharField("request", max_length=128, blank=True)
    user_id = models.CharField("user", max_length=255, db_index=True)
    account_id = models.CharField("account", max_length=255, db_index=True)
    api_key_id = models.CharField("API key", max_length=600, blank=True, db_index=True)
    group_set = models.CharField("groups", max_length=32, blank=True, default="")
    purpose = models.CharField(max_length=32, choices=Purpose.choices, default=Purpose.ANSWER)
    model_id = models.CharField("model", max_length=255)
    provider = models.CharField(max_length=64)
    input_tokens = models.PositiveBigIntegerField("input", default=0, help_text="Estimated.")
    output_tokens = models.PositiveBigIntegerField("output", default=0, help_text="Estimated.")
    micro_dollars = models.BigIntegerField("cost", default=0, help_text="Estimated; millionths of a US dollar.")
    price_version = models.CharField(max_length=64, blank=True)
    worker = models.CharField(max_length=64, db_index=True, help_text="The process that makes the call.")
    reserved_at = models.DateTimeField("reserved")
    expires_at = models.DateTimeField(
        "expires", db_index=True, help_text="Its process puts this off as long as it lives; then the sweeper books it."
    )

    class Meta:
        ordering: ClassVar = ["reserved_at"]

    def __str__(self) -> str:
        return f"{self.model_id} for {self.user_id}"
