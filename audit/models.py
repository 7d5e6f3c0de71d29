"""The audit log: who changed what. Written once, never changed: the model refuses it, and so does the database."""

from typing import Any, ClassVar

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.utils import timezone

from core.append_only import AppendOnly


class Door(models.TextChoices):
    """By which door somebody came in."""

    REST = "rest", "REST"
    ADMIN = "admin", "admin"
    COMMAND = "command", "command"


class Entry(AppendOnly):
    """One change. `audit.entries.record` writes it; triggers of the database keep it as it is."""

    at = models.DateTimeField(default=timezone.now, editable=False)
    door = models.CharField(max_length=16, choices=Door.choices)
    actor = models.CharField(max_length=255, help_text="A user's id; with a command, the operating system's user.")
    api_key_id = models.CharField("by API key", max_length=600, blank=True, default="")
    action = models.CharField(max_length=32)
    resource = models.CharField("kind", max_length=64)
    resource_id = models.CharField("which", max_length=600)
    changes: models.JSONField[dict[str, Any], dict[str, Any]] = models.JSONField(
        default=dict, encoder=DjangoJSONEncoder, help_text="Field to [before, after]; never a secret."
    )
    request_id = models.CharField("request", max_length=128, blank=True, default="")

    class Meta:
        verbose_name = "audit entry"
        verbose_name_plural = "audit entries"
        ordering: ClassVar = ["-id"]
        # One for each thing that the admin can be asked for, newest first.
        indexes: ClassVar = [
            models.Index(fields=["actor", "-id"], name="audit_by_actor"),
            models.Index(fields=["resource", "-id"], name="audit_by_kind"),
            models.Index(fields=["resource_id", "-id"], name="audit_by_id"),
            models.Index(fields=["request_id", "-id"], name="audit_by_request"),
            models.Index(fields=["at"], name="audit_by_time"),
        ]

    def __str__(self) -> str:
        return f"{self.actor} {self.action} {self.resource} {self.resource_id}"
