"""What passes between our books and the Amplify platform's."""

from typing import ClassVar

from django.db import models


class Delivery(models.Model):
    """A ledger row that the platform's books have not heard of yet: written in one transaction with it, gone when it
    has been delivered."""

    call_id = models.UUIDField(primary_key=True, editable=False)
    started_at = models.DateTimeField("started", help_text="When the call was admitted, which says where it counts.")
    due_at = models.DateTimeField("due", help_text="Nobody delivers it before.")
    tries = models.PositiveIntegerField(default=0)
    error = models.CharField(max_length=100, blank=True, help_text="Why the last try failed, in AWS's word.")
    set_aside = models.BooleanField(
        default=False, help_text="The platform's tables do not take it: somebody has to look at it."
    )

    class Meta:
        ordering: ClassVar = ["due_at"]
        verbose_name_plural = "deliveries"
        indexes: ClassVar = [models.Index(fields=["set_aside", "due_at"], name="usage_delivery_due")]

    def __str__(self) -> str:
        return f"call {self.call_id}"


class PlatformImport(models.Model):
    """How far the platform's rows have been brought into the ledger; one row."""

    until = models.DateTimeField()
    rows = models.PositiveBigIntegerField(default=0, help_text="Brought in so far.")

    def __str__(self) -> str:
        return f"until {self.until:%Y-%m-%d %H:%M}"
