"""The ledger: one immutable record per model call; and its sums per day, from which every total is read."""

import uuid
from typing import Any, ClassVar

from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator
from django.db import models
from django.utils import timezone

from llm.models import Provider


class Outcome(models.TextChoices):
    FINISHED = "finished", "finished"
    FAILED = "failed", "failed"
    KILLED = "killed", "killed"
    ABANDONED = "abandoned", "abandoned"
    """Nobody came back for the answer."""
    TIMED_OUT = "timed_out", "timed out"
    SHUT_DOWN = "shut_down", "shut down"


class UsageRecord(models.Model):
    """One call of a model. Token classes are disjoint; money is whole micro-dollars (10⁻⁶ USD)."""

    call_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    run_id = models.CharField("run", max_length=64)
    request_id = models.CharField("request", max_length=128, blank=True)
    user_id = models.CharField("user", max_length=255)
    account_id = models.CharField("account", max_length=255)
    api_key_id = models.CharField("API key", max_length=255, blank=True)
    purpose = models.CharField(max_length=32, default="answer")
    assistant = models.CharField(max_length=100, blank=True)
    model_id = models.CharField("model", max_length=255)
    provider = models.CharField(max_length=64)
    input_tokens = models.PositiveBigIntegerField("input", default=0, help_text="Uncached.")
    cache_read_tokens = models.PositiveBigIntegerField("cache read", default=0)
    cache_write_tokens = models.PositiveBigIntegerField("cache write", default=0)
    output_tokens = models.PositiveBigIntegerField("output", default=0, help_text="Reasoning included.")
    reasoning_tokens = models.PositiveBigIntegerField("reasoning", default=0, help_text="Part of the output.")
    estimated = models.BooleanField(default=False, help_text="The vendor did not say; we counted.")
    raw_usage: models.JSONField[dict[str, object], dict[str, object]] = models.JSONField(
        "vendor's own words", default=dict, blank=True
    )
    micro_dollars = models.BigIntegerField("cost", default=0, help_text="Millionths of a US dollar.")
    price_version = models.CharField(max_length=64, blank=True, help_text="Empty: no price was known.")
    first_token_ms = models.PositiveIntegerField("time to first token, ms", null=True, blank=True)
    duration_ms = models.PositiveIntegerField("duration, ms", default=0)
    outcome = models.CharField(max_length=16, choices=Outcome.choices)
    error_code = models.CharField(max_length=64, blank=True)
    started_at = models.DateTimeField("started")
    ended_at = models.DateTimeField("ended", default=timezone.now)

    class Meta:
        ordering: ClassVar = ["-ended_at", "-id"]
        verbose_name = "model call"
        # Every filter of the admin walks one of these from its newest end (keyset pagination).
        indexes: ClassVar = [
            models.Index(fields=["-ended_at", "-id"], name="usage_newest"),
            models.Index(fields=["user_id", "-ended_at", "-id"], name="usage_by_user"),
            models.Index(fields=["account_id", "-ended_at", "-id"], name="usage_by_account"),
            models.Index(fields=["model_id", "-ended_at", "-id"], name="usage_by_model"),
            models.Index(fields=["outcome", "-ended_at", "-id"], name="usage_by_outcome"),
            models.Index(fields=["run_id", "-ended_at", "-id"], name="usage_by_run"),
        ]
        constraints: ClassVar = [
            models.CheckConstraint(condition=models.Q(micro_dollars__gte=0), name="usage_cost_not_negative"),
            models.CheckConstraint(
                condition=models.Q(reasoning_tokens__lte=models.F("output_tokens")), name="usage_reasoning_in_output"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.model_id} for {self.user_id}"


class UsageDay(models.Model):
    """Sums of one UTC day for one user, account, model and outcome; written with the records they sum."""

    day = models.DateField()
    user_id = models.CharField("user", max_length=255)
    account_id = models.CharField("account", max_length=255)
    model_id = models.CharField("model", max_length=255)
    outcome = models.CharField(max_length=16, choices=Outcome.choices)
    calls = models.PositiveBigIntegerField(default=0)
    input_tokens = models.PositiveBigIntegerField(default=0)
    cache_read_tokens = models.PositiveBigIntegerField(default=0)
    cache_write_tokens = models.PositiveBigIntegerField(default=0)
    output_tokens = models.PositiveBigIntegerField(default=0)
    micro_dollars = models.BigIntegerField(default=0)

    class Meta:
        verbose_name = "day of usage"
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["day", "user_id", "account_id", "model_id", "outcome"], name="usage_day_unique"
            )
        ]
        indexes: ClassVar = [
            models.Index(fields=["user_id", "day"], name="usage_day_by_user"),
            models.Index(fields=["account_id", "day"], name="usage_day_by_account"),
        ]

    def __str__(self) -> str:
        return f"{self.day} {self.user_id} {self.model_id}"


def _per_million(help_text: str) -> "models.DecimalField[Any, Any]":
    return models.DecimalField(
        max_digits=12, decimal_places=6, null=True, blank=True, validators=[MinValueValidator(0)], help_text=help_text
    )


class Price(models.Model):
    """A price of our own, which goes before the price list. Never changed: a new version follows, the old ones stay.

    Rows in the ledger say which version they were booked by, as `local <id>`.
    """

    model_id = models.CharField("model", max_length=255, help_text="What callers say.")
    provider = models.CharField(
        max_length=32, choices=Provider, blank=True, help_text="Only when it answers there; empty: wherever it does."
    )
    input = _per_million("US dollars per million tokens. Empty together with output: the price list again.")
    cache_read = _per_million("Empty: as input.")
    cache_write = _per_million("Empty: as input.")
    output = _per_million("Reasoning included.")
    valid_from = models.DateTimeField(
        default=timezone.now, help_text="UTC. Calls that are booked already keep their price."
    )
    note = models.CharField(max_length=500, blank=True, help_text="Why, or according to which contract.")
    created_by = models.CharField(max_length=255, blank=True, editable=False)
    created_at = models.DateTimeField("created", auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["model_id", "provider", "-valid_from", "-id"]
        indexes: ClassVar = [
            models.Index(fields=["model_id", "provider", "-valid_from", "-id"], name="usage_price_newest")
        ]
        constraints: ClassVar = [
            models.CheckConstraint(condition=~models.Q(model_id=""), name="usage_price_has_model"),
            models.CheckConstraint(
                condition=models.Q(provider__in=["", *Provider.values]), name="usage_price_provider_known"
            ),
            models.CheckConstraint(
                condition=models.Q(input__isnull=False, output__isnull=False)
                | models.Q(input__isnull=True, output__isnull=True, cache_read__isnull=True, cache_write__isnull=True),
                name="usage_price_whole_or_none",
            ),
            *(
                models.CheckConstraint(
                    condition=models.Q((f"{name}__isnull", True)) | models.Q((f"{name}__gte", 0)),
                    name=f"usage_price_{name}_not_negative",
                )
                for name in ("input", "cache_read", "cache_write", "output")
            ),
        ]

    def __str__(self) -> str:
        return f"{self.version}: {self.model_id}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise TypeError("A price is never changed. Add a new one with its own valid_from.")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        raise TypeError("A price is never deleted: the ledger names it. Add a new one that goes before it.")

    @property
    def version(self) -> str:
        return f"local {self.pk}"

    def clean(self) -> None:
        if (self.input is None) != (self.output is None):
            raise ValidationError("Give both input and output, or neither to go back to the price list.")
        if self.input is None and (self.cache_read is not None or self.cache_write is not None):
            raise ValidationError("Give input and output too, or leave all four empty to go back to the price list.")
