"""The ledger: one immutable record per model call."""

import uuid
from typing import ClassVar

from django.db import models
from django.utils import timezone

from core.append_only import AppendOnly


class Outcome(models.TextChoices):
    FINISHED = "finished", "finished"
    FAILED = "failed", "failed"
    KILLED = "killed", "killed"
    ABANDONED = "abandoned", "abandoned"
    """Nobody came back for the answer."""
    TIMED_OUT = "timed_out", "timed out"
    SHUT_DOWN = "shut_down", "shut down"
    CRASHED = "crashed", "crashed"
    """The process that made the call was never heard of again; booked by the sweeper as it was estimated."""


class Purpose(models.TextChoices):
    """What a model is called for."""

    ANSWER = "answer", "answer"
    TITLE = "title", "title"
    RETRIEVAL = "retrieval", "retrieval"
    TOOL = "tool", "tool"
    JUDGE = "judge", "judge"
    EMBEDDING = "embedding", "embedding"


class UsageRecord(AppendOnly):
    """One call of a model. Token classes are disjoint; money is whole micro-dollars (10⁻⁶ USD).

    Written once, never changed: not by the code, and triggers in the database refuse everybody else
    (`core.append_only`).
    """

    call_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    run_id = models.CharField("run", max_length=64)
    request_id = models.CharField("request", max_length=128, blank=True)
    user_id = models.CharField("user", max_length=255)
    account_id = models.CharField("account", max_length=255)
    api_key_id = models.CharField("API key", max_length=600, blank=True)
    group_set = models.CharField(
        "groups",
        max_length=32,
        blank=True,
        default="",
        help_text="The groups that the caller was in at that time, by the name of their set.",
    )
    purpose = models.CharField(max_length=32, choices=Purpose.choices, default=Purpose.ANSWER)
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
    started_at = models.DateTimeField(
        "started", help_text="When it was admitted: budgets and sums count it in that hour, however long it takes."
    )
    ended_at = models.DateTimeField("ended", default=timezone.now)

    class Meta:
        ordering: ClassVar = ["-started_at", "-id"]
        verbose_name = "model call"
        # Every filter of the admin walks one of these from its newest end (keyset pagination): by when a call was
        # admitted, as sums and budgets count it. Exports walk the first.
        indexes: ClassVar = [
            models.Index(fields=["started_at", "id"], name="usage_by_start"),
            models.Index(fields=["user_id", "-started_at", "-id"], name="usage_user_start"),
            models.Index(fields=["account_id", "-started_at", "-id"], name="usage_account_start"),
            models.Index(fields=["model_id", "-started_at", "-id"], name="usage_model_start"),
            models.Index(fields=["outcome", "-started_at", "-id"], name="usage_outcome_start"),
            models.Index(fields=["run_id", "-started_at", "-id"], name="usage_run_start"),
            models.Index(fields=["api_key_id", "-started_at", "-id"], name="usage_key_start"),
            models.Index(fields=["group_set", "-started_at", "-id"], name="usage_groups_start"),
            models.Index(fields=["assistant", "-started_at", "-id"], name="usage_assistant_start"),
            models.Index(fields=["purpose", "-started_at", "-id"], name="usage_purpose_start"),
        ]
        constraints: ClassVar = [
            models.CheckConstraint(condition=models.Q(micro_dollars__gte=0), name="usage_cost_not_negative"),
            models.CheckConstraint(
                condition=models.Q(reasoning_tokens__lte=models.F("output_tokens")), name="usage_reasoning_in_output"
            ),
            models.CheckConstraint(condition=models.Q(outcome__in=Outcome.values), name="usage_outcome_known"),
            models.CheckConstraint(condition=models.Q(purpose__in=Purpose.values), name="usage_purpose_known"),
        ]

    def __str__(self) -> str:
        return f"{self.model_id} for {self.user_id}"


class GroupSetMember(models.Model):
    """One group of a set of groups that a caller was in. Sets never change, so that ledger rows may name them.

    `group_set` is made from the names of all its groups (`usage.group_sets`), so that the same set has one name.
    """

    group_set = models.CharField(max_length=32)
    group_id = models.CharField("group", max_length=255, db_index=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["group_set", "group_id"], name="usage_group_set_member")
        ]

    def __str__(self) -> str:
        return f"{self.group_id} in {self.group_set}"
