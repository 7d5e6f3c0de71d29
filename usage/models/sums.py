"""Sums of ledger rows, written in one transaction with the rows they sum: no page ever scans the ledger."""

from typing import ClassVar

from django.db import models


class Span(models.TextChoices):
    HOUR = "hour", "hour"
    DAY = "day", "day"
    MONTH = "month", "month"


class Dimension(models.TextChoices):
    """By what calls are summed up."""

    ALL = "all", "everybody"
    USER = "user", "user"
    GROUP = "group", "group"
    """A call counts in each group that its caller was in, so these sums add up to more than the whole."""
    ACCOUNT = "account", "account"
    KEY = "key", "API key"
    MODEL = "model", "model"
    ASSISTANT = "assistant", "assistant"
    PURPOSE = "purpose", "purpose"


class Sums(models.Model):
    """What is summed up of calls. Token classes are disjoint, but reasoning, which is part of the output."""

    calls = models.PositiveBigIntegerField(default=0)
    failed_calls = models.PositiveBigIntegerField("failed", default=0)
    estimated_calls = models.PositiveBigIntegerField("estimated", default=0)
    unpriced_calls = models.PositiveBigIntegerField("without a price", default=0)
    input_tokens = models.PositiveBigIntegerField(default=0)
    cache_read_tokens = models.PositiveBigIntegerField(default=0)
    cache_write_tokens = models.PositiveBigIntegerField(default=0)
    output_tokens = models.PositiveBigIntegerField(default=0)
    reasoning_tokens = models.PositiveBigIntegerField(default=0)
    micro_dollars = models.BigIntegerField("cost", default=0)
    # How many calls had their first token in which time: counts can be added up, medians cannot.
    first_token_500ms = models.PositiveBigIntegerField("first token within 0.5 s", default=0)
    first_token_1s = models.PositiveBigIntegerField("first token after 0.5 to 1 s", default=0)
    first_token_2s = models.PositiveBigIntegerField("first token after 1 to 2 s", default=0)
    first_token_5s = models.PositiveBigIntegerField("first token after 2 to 5 s", default=0)
    first_token_later = models.PositiveBigIntegerField("first token later", default=0)

    class Meta:
        abstract = True


class RollUp(Sums):
    """Sums of the calls that were *admitted* in one UTC hour, day or month, along one dimension.

    Made from the ledger and always equal to it (`manage.py check_books`); `manage.py rebuild_roll_ups` makes them anew.
    Budgets read what was spent from here.
    """

    span = models.CharField(max_length=5, choices=Span.choices)
    starts_at = models.DateTimeField("from", help_text="The beginning of the hour, day or month, UTC.")
    dimension = models.CharField(max_length=9, choices=Dimension.choices)
    value = models.CharField(
        max_length=600, blank=True, help_text="Which user, group, …; empty for everybody, for no key and no assistant."
    )

    class Meta:
        verbose_name = "roll-up"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["dimension", "value", "span", "starts_at"], name="usage_roll_up_unique")
        ]
        indexes: ClassVar = [models.Index(fields=["dimension", "span", "starts_at"], name="usage_roll_up_by_time")]

    def __str__(self) -> str:
        return f"{self.span} {self.starts_at} {self.dimension} {self.value}"


class Combination(Sums):
    """Sums of the calls that were admitted on one UTC day or in one month, for one combination of everything by which
    they are reviewed: what answers filters that combine, where `RollUp` knows but one dimension each.

    Made from the ledger like the roll-ups, in the same transaction, and checked and made anew with them.
    """

    span = models.CharField(max_length=5, choices=[(Span.DAY.value, "day"), (Span.MONTH.value, "month")])
    starts_at = models.DateTimeField("from", help_text="The beginning of the day or month, UTC.")
    user_id = models.CharField("user", max_length=255)
    account_id = models.CharField("account", max_length=255)
    api_key_id = models.CharField("API key", max_length=600, blank=True)
    group_set = models.CharField("groups", max_length=32, blank=True)
    model_id = models.CharField("model", max_length=255)
    provider = models.CharField(max_length=64)
    assistant = models.CharField(max_length=100, blank=True)
    purpose = models.CharField(max_length=32)
    outcome = models.CharField(max_length=16, default="")

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=[
                    *("span", "starts_at", "user_id", "account_id", "model_id"),
                    *("api_key_id", "group_set", "provider", "assistant", "purpose", "outcome"),
                ],
                name="usage_combination_unique",
            )
        ]
        indexes: ClassVar = [
            models.Index(fields=["user_id", "span", "starts_at"], name="usage_combination_by_user"),
            models.Index(fields=["account_id", "span", "starts_at"], name="usage_combination_by_acct"),
            models.Index(fields=["api_key_id", "span", "starts_at"], name="usage_combination_by_key"),
        ]

    def __str__(self) -> str:
        return f"{self.span} {self.starts_at} {self.user_id} {self.model_id}"


class PooledCombination(Sums):
    """The same for all users, keys and outcomes together: a quarter of the rows, for what asks for none of them."""

    span = models.CharField(max_length=5, choices=[(Span.DAY.value, "day"), (Span.MONTH.value, "month")])
    starts_at = models.DateTimeField("from", help_text="The beginning of the day or month, UTC.")
    account_id = models.CharField("account", max_length=255)
    group_set = models.CharField("groups", max_length=32, blank=True)
    model_id = models.CharField("model", max_length=255)
    assistant = models.CharField(max_length=100, blank=True)
    purpose = models.CharField(max_length=32)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["span", "starts_at", "model_id", "account_id", "group_set", "assistant", "purpose"],
                name="usage_pooled_unique",
            )
        ]
        indexes: ClassVar = [models.Index(fields=["account_id", "span", "starts_at"], name="usage_pooled_by_account")]

    def __str__(self) -> str:
        return f"{self.span} {self.starts_at} {self.account_id} {self.model_id}"
